"""Several connections for the same subscriptions, on the fake clock and for real: one may be lost, and nothing is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, evolve
from far_end import ask, far_end, ids, settings_for
from lines import SHUTDOWN, Line, Lines, bids, numbers, quotes, stream_of, together, trade, trades

from trioagg.exchanges import Subscription
from trioagg.model import Broken, Channel, Record, Session
from trioagg.pipeline.flow import Outlet
from trioagg.pipeline.lead import Lead
from trioagg.pipeline.relay import Relay
from trioagg.pipeline.run import Job, run
from trioagg.pipeline.supervise import supervise
from trioagg.simulator.server import Urls
from trioagg.store import database
from trioagg.transport.backoff import Attempts, Backoff
from trioagg.views.verify import show_differences

BOTH = [Subscription("S0", Channel.TRADES, "S0"), Subscription("S0", Channel.TICKER, "S0")]
MARKET = together(trades(every=1, until=200), quotes(every=1, until=200))


@define
class Came:
    """What the paths brought, and when each of them connected."""

    records: list[Record]
    opened: Mapping[str, list[float]]

    @property
    def missed(self) -> dict[str, list[int | None]]:
        """What each connection lacked, in the order in which they ended."""
        told: dict[str, list[int | None]] = {}
        for record in self.records:
            if isinstance(record, Session) and record.closed:
                told.setdefault(record.connection, []).append(record.missed)
        return told

    @property
    def torn(self) -> list[tuple[str, ...]]:
        """The markets that nobody brought for a while, each time that this was so, but for the last: there all stop."""
        return [record.symbols for record in self.records if isinstance(record, Broken)][:-1]


async def carried(monkeypatch: pytest.MonkeyPatch, *, seconds: float, **paths: list[Line]) -> Came:
    """Run the paths beside each other; the first of them opens first, and so leads."""
    far = {name: Lines(lines) for name, lines in paths.items()}

    @asynccontextmanager
    async def connect(url: str, **options: Any) -> AsyncIterator[Line]:
        async with far[url.split("/")[2]].connect(url, **options) as line:
            yield line

    monkeypatch.setattr("trioagg.transport.websocket.connect", connect)
    outlets: list[Outlet[Record]] = []
    stream = stream_of(outlets, subscriptions=BOTH)
    lead = Lead(stream.intake)
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for name in paths:
                attempts = Attempts(Backoff(1, 60), random=lambda: 0.0)
                relay = Relay(evolve(stream, name=name, ws_url=f"ws://{name}"), attempts, lead)
                nursery.start_soon(partial(supervise, relay.live, attempts, hint=dict))
                await trio.sleep(0.001)
    opened = {name: [round(at, 2) for at, _ in lines.taken] for name, lines in far.items()}
    return Came(outlets[0].take_waiting(), opened)


async def test_two_bring_each_trade_twice_and_each_quote_once(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of them is the quicker."""
    came = await carried(monkeypatch, seconds=50.2, a=[Line(MARKET, lag=0.1)], b=[Line(MARKET)])

    assert sorted(numbers(came.records)) == sorted([*range(1, 51)] * 2)
    assert bids(came.records) == list(range(1, 51))
    assert came.missed == {"a": [0], "b": [0]} and came.opened == {"a": [0], "b": [0]}


async def test_when_the_leader_dies_the_other_leads(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and not when the good-bye is over; the dead one comes back in its own time, and stays behind."""
    lines = [Line(MARKET, until=20.2, farewell=2), Line(refuses="no"), Line(MARKET, lag=0.2)]
    came = await carried(monkeypatch, seconds=100.1, a=lines, b=[Line(MARKET)])

    assert bids(came.records) == list(range(1, 101))
    assert sorted(set(numbers(came.records))) == list(range(1, 101))
    assert came.opened == {"a": [0, 23.2, 25.2], "b": [0]} and came.torn == []
    assert came.missed == {"a": [0, 0], "b": [0]}


async def test_a_silent_leader_is_replaced(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until that is known, its quotes are missed; no trade is."""
    silent = Line([say for say in MARKET if say[0] < 20.2])
    came = await carried(monkeypatch, seconds=100.1, a=[silent, Line(MARKET)], b=[Line(MARKET)])

    assert bids(came.records) == [*range(1, 21), *range(51, 101)]
    assert sorted(set(numbers(came.records))) == list(range(1, 101))


async def test_a_late_leader_misses_no_more_than_its_lag(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the leader is 3 s behind, 3 quotes are neither here nor there when it dies."""
    lines = [Line(MARKET, lag=3, until=30), Line(MARKET)]
    came = await carried(monkeypatch, seconds=60.1, a=lines, b=[Line(MARKET)])

    assert bids(came.records) == [*range(1, 28), *range(31, 61)]
    assert sorted(set(numbers(came.records))) == list(range(1, 61))


async def test_both_may_die_and_come_back(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits as it would alone; what came while neither was there is missing."""
    a = [Line(MARKET, until=20.2), Line(refuses="no"), Line(refuses="no"), Line(MARKET)]
    b = [Line(MARKET, until=22.2), Line(refuses="no"), Line(MARKET)]
    came = await carried(monkeypatch, seconds=60.2, a=a, b=b)

    assert came.opened == {"a": [0, 21.2, 23.2, 27.2], "b": [0, 23.2, 25.2]} and came.torn == [("S0",)]
    assert bids(came.records) == [*range(1, 23), *range(26, 61)]
    assert sorted(set(numbers(came.records))) == [*range(1, 23), *range(26, 61)]


async def test_what_each_lacked_is_counted(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly, though the other one brought it; what comes late is not lacking."""
    lacking = [say for say in MARKET if say not in [(at, trade(at, at=at)) for at in (7, 8, 30)]]
    late = together(lacking, [(9.5, trade(8, at=8))])
    came = await carried(monkeypatch, seconds=50.2, a=[Line(lacking)], b=[Line(late)], c=[Line(MARKET)])

    assert came.missed == {"a": [3], "b": [2], "c": [0]}
    assert sorted(set(numbers(came.records))) == list(range(1, 51))


@pytest.mark.parametrize("dying", ["a", "b"])
async def test_an_announced_end_is_handed_over_within_a_path(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, dying: str
) -> None:
    """Of the one that leads and of the one that does not: the lead stays in the path, and nothing comes twice."""
    paths = {name: [Line(MARKET)] for name in "ab"}
    paths[dying] = [Line(together(MARKET, [(20.2, SHUTDOWN)])), Line(MARKET)]
    came = await carried(monkeypatch, seconds=60.2, **paths)

    assert came.opened[dying] == [0, 20.2] and paths[dying][0].closed == pytest.approx(25.5, abs=1)
    assert bids(came.records) == list(range(1, 61))
    assert sorted(set(numbers(came.records))) == list(range(1, 61))


async def test_links_that_are_cut_in_turn_open_no_gap(tmp_path: Path) -> None:
    """For real: whichever is the oldest is cut, again and again, and the ledger has nothing to tell; exact account."""
    file = tmp_path / "a.db"
    async with far_end(faults=["cut,every=0.25,oldest=1"]) as urls:
        outcome = await run(Job(settings_for(urls, file, redundancy=2), duration=1.6))
        assert urls.statistics.faults["cut"] >= 5

    t = outcome.tally
    assert t.received == t.stored + t.duplicates + t.quarantined + t.conflated + t.lost and t.duplicates > 100
    stored = ids(file)
    assert stored == list(range(stored[0], stored[-1] + 1)) and ask(file, "SELECT count(*) FROM gaps") == [(0,)]
    names = ask(file, "SELECT connection, min(missed), max(missed) FROM sessions GROUP BY 1 ORDER BY 1")
    assert names == [("ws-1", 0, 0), ("ws-1b", 0, 0)]


async def test_of_two_processes_on_one_database_one_may_be_killed(tmp_path: Path) -> None:
    """With SIGKILL in full flow: not one trade is missing from then on, and the rows agree with the ledger."""
    file = tmp_path / "a.db"
    async with far_end() as urls, trio.open_nursery() as nursery:
        other = await nursery.start(partial(trio.run_process, **another(urls, file)))
        await trio.to_thread.run_sync(wait_for, file, 50, "trades")
        nursery.start_soon(run, Job(settings_for(urls, file), duration=1.5))
        await trio.to_thread.run_sync(wait_for, file, 2, "sessions")
        await trio.sleep(0.3)
        other.kill()
        killed = time.time_ns()

    assert other.returncode == -signal.SIGKILL
    lives = ask(file, "SELECT closed IS NULL, missed FROM sessions ORDER BY opened")
    assert lives == [(1, None), (0, 0)]
    found = ids(file)
    assert found == list(range(found[0], found[-1] + 1))
    assert ask(file, f"SELECT count(*) FROM trades WHERE received > {killed}") > [(50,)]
    assert ask(file, f"SELECT count(*) FROM gaps WHERE status <> 'filled' OR closed > {killed}") == [(0,)]
    with database(file) as db:
        assert not show_differences(db, "json")


def another(urls: Urls, database: Path) -> dict[str, Any]:
    """A run in a process of its own, as ``trio.run_process`` takes it."""
    there = {"TRIOAGG_EXCHANGE_BINANCE_REST_URL": urls.rest, "TRIOAGG_EXCHANGE_BINANCE_WS_URL": urls.ws}
    words = [sys.executable, "-m", "trioagg", "run", "-s", "BTC/USDT", "-d", str(database), "--no-display"]
    return {"command": words, "env": os.environ | there, "check": False, "stderr": subprocess.DEVNULL}


def wait_for(database: Path, count: int, view: str) -> None:
    """Look until so many are stored, for ten seconds at most."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        time.sleep(0.02)
        there = database.exists() and ask(database, f"SELECT 1 FROM sqlite_schema WHERE name = '{view}'")
        if there and ask(database, f"SELECT count(*) FROM {view}")[0][0] >= count:
            return
    raise TimeoutError(f"{count} {view} never came")
