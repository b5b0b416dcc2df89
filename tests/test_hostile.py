"""A hostile far end costs its own feed and no more: an honest one's rows are exactly what was sent; the run ends."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path

import outcome
import pytest
import trio
from far_end import ask
from hostile import CASES, HONEST, RATE, ROWS, Attack, play

from trioagg.cli import main
from trioagg.pipeline.heap import MOST
from trioagg.simulator import SCALE, load
from trioagg.simulator.market import Market
from trioagg.store import database as opened
from trioagg.store import open_gaps_of
from trioagg.transport.frames import _BYTES as INBOX
from trioagg.transport.websocket import MAX_SIZE

TOGETHER = 8
"""Cases that play at the same time."""
MS = 10**6
MEGABYTE = 2**20
Played = outcome.Value[Attack] | outcome.Error


async def play_all(names: list[str], folder: Path) -> dict[str, Played]:
    """Play cases, some at a time."""
    attacks: dict[str, Played] = {}
    places = trio.CapacityLimiter(TOGETHER)

    async def one(name: str, number: int) -> None:
        async with places:
            attacks[name] = await outcome.acapture(play, CASES[name], folder / f"{number}.db")

    async with trio.open_nursery() as nursery:
        for number, name in enumerate(names):
            nursery.start_soon(one, name, number)
    return attacks


def memory(name: str) -> int:
    """What Linux tells of this process's memory, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


@pytest.fixture(scope="module")
def grown() -> list[int]:
    """By how many bytes the process grew while all of them played; empty where that cannot be known."""
    return []


@pytest.fixture(scope="module")
def attacks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, grown: list[int]
) -> Mapping[str, Played]:
    """The cases that are asked for, in a thread where no signals are listened for."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    wanted = {item.callspec.params["name"] for item in items if hasattr(item, "callspec")}
    peak, before = Path("/proc/self/clear_refs"), 0
    if peak.exists():
        peak.write_text("5", encoding="utf-8")
        before = memory("VmRSS")
    with ThreadPoolExecutor(1) as thread:
        playing = partial(play_all, [name for name in CASES if name in wanted], tmp_path_factory.mktemp("hostile"))
        played = thread.submit(trio.run, playing).result()
    if peak.exists():
        grown.append(memory("VmHWM") - before)
    return played


@pytest.fixture
def attack(name: str, attacks: Mapping[str, Played]) -> Attack:
    """One case after its end."""
    result = attacks[name]
    if isinstance(result, outcome.Value):
        return result.value
    raise result.error


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_the_honest_rows_are_what_was_sent(name: str, attack: Attack) -> None:
    """Every trade from the first connection to the end, digit for digit, once, on one connection."""
    rows = ask(attack.file, ROWS.format(HONEST))
    source = Market(symbols=["BTC/USDT"], rate=RATE, lists=load(HONEST).lists)
    first, last = rows[0][0], rows[-1][0]

    there = source.prints("BTC/USDT", first, last + 1)
    wanted = [(n, Decimal(p) / SCALE, Decimal(a) / SCALE, "buy" if b else "sell", at // MS) for n, at, p, a, b in there]
    assert [(n, Decimal(p), Decimal(a), side, at // MS) for n, p, a, side, at in rows] == wanted
    assert 0 < attack.due <= last
    assert attack.statistics.connections == 1


@pytest.mark.parametrize("name", CASES)
def test_the_hostile_feed_bears_it_alone(name: str, attack: Attack) -> None:
    """What means something is stored, what does not is in quarantine, the rest is a lost link; nobody is redirected."""
    case, told = attack.case, attack.outcome
    prices = [price for _, price, *_ in ask(attack.file, ROWS.format(case.exchange))]
    [(frames, size)] = ask(attack.file, "SELECT count(*), coalesce(sum(length(payload)), 0) FROM quarantine")

    assert prices == list(case.prices)
    assert (frames > 0) == case.garbled
    assert size <= MOST + attack.tried * (MAX_SIZE + INBOX), "and one read of each connection"
    assert attack.tried > 1 or not case.returns
    assert not case.ends or any(reason.startswith(case.ends) for reason in attack.reasons())
    assert attack.trapped == 0
    assert told is not None
    assert told.problems == []
    t = told.tally
    assert t.received == t.stored + t.duplicates + t.quarantined + t.conflated + t.lost
    assert (t.lost, t.quarantined) == (0, frames)


@pytest.mark.parametrize("name", CASES)
def test_the_ledger_stays_small(name: str, attack: Attack) -> None:
    """However far away an id is: one entry says how many are missing, and nobody asks for all of them."""
    gaps = ask(attack.file, f"SELECT missing, status FROM gaps WHERE exchange = '{attack.case.exchange}'")

    assert gaps == ([(attack.case.missing, "open")] if attack.case.missing else [])
    with opened(attack.file) as db:
        assert open_gaps_of(db).get(HONEST, 0) == 0


def test_memory_is_bounded(attacks: Mapping[str, Played], grown: list[int]) -> None:
    """All of them together take less than one of the bodies that they send."""
    if not grown:
        pytest.skip("this system does not tell the peak")
    assert grown[0] < 800 * MEGABYTE


@pytest.mark.parametrize("name", ["1970 and 2100", "an id far away", "an extension that nobody offered"])
@pytest.mark.parametrize(
    "words",
    [
        ("show", "trades"),
        ("show", "trades", "--format", "json"),
        ("show", "bars", "--interval", "1d"),
        ("show", "best"),
        ("show", "sessions"),
        ("gaps",),
        ("verify",),
        ("chart", "BTC/USDT"),
        ("export", "trades", "--output", "rows.parquet"),
        ("export", "bars", "--interval", "1m", "--output", "rows.csv"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("elsewhere")
def test_what_is_stored_can_be_looked_at(
    name: str, words: tuple[str, ...], attack: Attack, capsys: pytest.CaptureFixture[str]
) -> None:
    """Times and ids out of this world break no view."""
    with pytest.raises(SystemExit) as end:
        main([*words, "--database", str(attack.file)])

    told = capsys.readouterr()
    assert end.value.code in {0, 1}
    assert told.err == ""
    assert told.out
