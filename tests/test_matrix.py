"""The fault matrix: whatever befalls a run, its rows are what the far end had, each once, and the ledger knows why."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import outcome
import pytest
import trio
from far_end import Names, ask
from matrix import CASES, COMMIT_DELAY, RATE, Case, Known, Stage, market, play

from trioagg.integrity.agreement import differences
from trioagg.simulator import SCALE
from trioagg.sinks import sqlite
from trioagg.store import database, examine

resource = pytest.importorskip("resource", reason="the matrix needs POSIX")

LOSING = {"killed sink", "ENOSPC at the stop"}
"""Those after which a run says what it could not store; the next one asks for it."""
TOGETHER = 12
"""Cases that play at the same time."""
MS = 10**6
STAGGER = 0.3
"""Seconds between the beginnings of two cases."""
Played = outcome.Value[Stage] | outcome.Error
SLACK = 1.0
"""Seconds that one commit may take: what was told before the kill has nothing else to wait for."""
ROWS = "SELECT CAST(trade_id AS INTEGER), price, amount, side, timestamp FROM trade ORDER BY 1"


def possible(case: Case) -> bool:
    """Whether this system can be made to fail like that."""
    return not case.needs or hasattr(signal, case.needs) or hasattr(resource, case.needs)


async def play_all(cases: Mapping[str, Case], folder: Path) -> dict[str, Played]:
    """Play cases at the same time, each beginning a little after the one before: to begin is what costs most."""
    names = Names()
    trio.socket.set_custom_hostname_resolver(names)
    stages: dict[str, Played] = {}

    places = trio.CapacityLimiter(TOGETHER)

    async def one(name: str) -> None:
        async with places:
            stages[name] = await outcome.acapture(play, cases[name], folder / f"{name}.db", names)

    async with trio.open_nursery() as nursery:
        for name in sorted(cases, key=lambda name: not cases[name].process):
            nursery.start_soon(one, name)
            await trio.sleep(STAGGER)
    return stages


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Played]:
    """The cases that are asked for, in a thread where no signals are listened for."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    wanted = {item.callspec.params["name"] for item in items}
    cases = {name: case for name, case in CASES.items() if name in wanted and possible(case)}
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as thread:
        patch.setattr(sqlite, "Writer", Known)
        return thread.submit(trio.run, play_all, cases, tmp_path_factory.mktemp("matrix")).result()


@pytest.fixture
def stage(name: str, played: Mapping[str, Played]) -> Stage:
    """One case after its end."""
    if name not in played:
        pytest.skip(f"this system has no {CASES[name].needs}")
    result = played[name]
    if isinstance(result, outcome.Value):
        return result.value
    raise result.error


@pytest.mark.parametrize("name", CASES)
def test_the_rows_are_what_the_far_end_had(name: str, stage: Stage) -> None:
    """Every trade from the first connection to the end, digit for digit, none twice, and nothing else."""
    rows = ask(stage.file, ROWS)
    source, first, last = market(stage.exchange), rows[0][0], rows[-1][0]
    (begin, end), (lost, *_) = *stage.statistics.told.values(), [*stage.statistics.lost.values(), set[int]()]

    assert set(range(begin, first)) <= lost, "what never came before the first cannot be known to be missing"
    assert 0 < stage.due <= last <= end, "what the far end had told while the run waited for it was not stored"
    there = source.prints("BTC/USDT", first, last + 1)
    wanted = [(n, Decimal(p) / SCALE, Decimal(a) / SCALE, "buy" if b else "sell", at // MS) for n, at, p, a, b in there]
    assert [(n, Decimal(p), Decimal(a), side, at // MS) for n, p, a, side, at in rows] == wanted


@pytest.mark.parametrize("name", CASES)
def test_the_ledger_agrees_and_knows_why(name: str, stage: Stage) -> None:
    """Nothing is missing any more, the file is sound, and each hole's cause is the one that it had."""
    with database(stage.file) as db:
        found = examine(db, {stage.exchange})

    assert not found.damage
    (held,) = found.markets
    assert differences(stored=held.stored, named=held.named, filled=held.filled) == [] == list(held.named)
    causes = {cause for (cause,) in ask(stage.file, "SELECT cause FROM gaps")}
    assert causes - {"not running"} <= CASES[name].causes
    assert not CASES[name].long or causes & CASES[name].causes


@pytest.mark.parametrize("name", CASES)
def test_the_account_is_exact(name: str, stage: Stage) -> None:
    """Each run says what became of all that it received; nothing is lost but with the database itself."""
    for ended in stage.outcomes:
        t = ended.tally
        assert t.received == t.stored + t.duplicates + t.quarantined + t.conflated + t.lost
        assert (t.lost > 0) == bool(ended.problems)
    lost = [ended.tally.lost for ended in stage.outcomes]
    assert (lost[0] > 0 == sum(lost[1:])) if name in LOSING else sum(lost) == 0
    if not stage.lost and name not in {"SIGTERM", "EIO", "slow reader"}:
        assert sum(ended.tally.stored for ended in stage.outcomes) == len(ask(stage.file, ROWS))


@pytest.mark.parametrize("name", CASES)
def test_the_fault_struck(name: str, stage: Stage) -> None:
    """No case passes because nothing happened."""
    struck = stage.statistics.faults
    assert all(struck[kind] for kind in CASES[name].kinds)
    first, quarantined = stage.outcomes[0].tally, sum(ended.tally.quarantined for ended in stage.outcomes)
    match name:
        case "duplicate":
            assert first.duplicates == struck["repeat"] > 0
        case "garble" | "unknown kind":
            assert 0 < quarantined == sum(struck.values())
        case "10 MB frame":
            assert quarantined == struck["huge"] == 1 == stage.statistics.connections
            assert ask(stage.file, "SELECT length(payload) FROM quarantine") == [(10_000_000,)]
        case "TLS":
            assert stage.facts == {"received": 0}
        case "DNS":
            assert stage.facts["failures"] > 1
        case "SIGTERM":
            assert stage.facts == {"exit": 0}
        case "SIGKILL":
            assert stage.facts == {"sessions": 4}
        case "ENOSPC" | "EIO" | "locked database" | "sink down" | "slow reader":
            assert stage.facts == {"stood still": True}
            assert name != "EIO" or "disk I/O error" in stage.told()
        case "killed sink" | "ENOSPC at the stop":
            assert "were not stored in the database" in stage.outcomes[0].problems[0]


@pytest.mark.parametrize("name", ["SIGKILL"])
def test_a_kill_loses_no_more_than_the_window(name: str, stage: Stage) -> None:
    """What a crash can lose is told at the start, and it is not more than that."""
    told = stage.told().splitlines()

    assert (
        sum("a crash loses at most" in line and f"milliseconds={COMMIT_DELAY * 1000:.0f}" in line for line in told) == 4
    )
    assert len(stage.lost) == 4
    assert all(0 <= lost <= RATE / 2 * (COMMIT_DELAY + SLACK) for lost in stage.lost)
