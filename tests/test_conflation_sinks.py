"""Backpressure by value, sink by sink: exact accounts under a stalled store, at a stop, and with a locked database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import trio
from attrs import define, evolve, field
from far_end import ask, far_end, ids, settings_for
from plain_sql import plain
from test_conflation import ticker, tickers, trades
from trio.testing import MockClock

from trioagg.exchanges import Feed, Output
from trioagg.exchanges.binance import Adapter
from trioagg.integrity.continuity import Run as Ids
from trioagg.integrity.ledger import Draft, Known
from trioagg.model import STATES, Event, Instrument, Nanos, Ticker, Trade
from trioagg.pipeline.replay import Choice, replay
from trioagg.pipeline.run import CAUSES, Job, run
from trioagg.pipeline.storing import Producing, Stores, storing
from trioagg.pipeline.tally import Outcome, Tally
from trioagg.settings import Buffers, Run, Settings, at
from trioagg.sinks.sqlite import url_of
from trioagg.store import Counts
from trioagg.transport.frames import Frames

SOURCE = "wss://stream.binance.com:9443/stream"
FRAME = '{"stream":"btcusdt@bookTicker","data":{"u":%d,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"%d"}}'


@define(eq=False)
class Shelf:
    """A sink in memory that takes nothing until it is opened."""

    opened: trio.Event = field(factory=trio.Event)
    events: list[Event] = field(factory=list)

    async def write(self, batch: Sequence[Event], draft: Draft, /) -> Counts:
        """Keep the batch, when it is opened."""
        await self.opened.wait()
        draft.entries(lambda exchange, symbol: Known(None, None, ()), stale=False)
        self.events += batch
        return Counts(stored=len(batch))

    async def around(self, exchange: str, symbol: str, run: Ids, /) -> tuple[Nanos | None, Nanos | None]:
        """Nothing from before."""
        return None, None

    async def tend(self) -> None:
        """Nothing is out of order."""

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        """Keep nothing."""


class Ready(Adapter):
    """An adapter that gives out the events that it is handed."""

    events: Sequence[Event] = ()

    def digest(self, frames: Iterable[bytes], at: Nanos) -> list[Output]:
        """Whatever the frames say."""
        return list(self.events)


@define(eq=False)
class Producer:
    """Puts events as a stream does: what one read brought, and then it waits for room."""

    producing: Producing
    adapter: Ready = field(factory=lambda: Ready(Feed()))
    put: int = 0

    async def bring(self, events: Sequence[Event]) -> None:
        """One read."""
        self.adapter.events = events
        self.producing.intake.frames(self.adapter, "", Frames(0, []))
        self.put += len(events)
        await self.producing.intake.room()


@asynccontextmanager
async def storing_in(outcome: Outcome, *shelves: Shelf, drain: float = 1.0) -> AsyncIterator[Producer]:
    """A run's writers with these sinks, the first in the place of the database, flows of 100 events, and no spools."""
    buffers = Buffers(channel=100, commit_rows=10, commit_delay=0.0, spool=0)
    settings = Settings(run=evolve(Run(), drain_timeout=drain), buffers=buffers)
    database, *beside = shelves
    stores = Stores("shelf:0", database, {at(f"shelf:{number}"): shelf for number, shelf in enumerate(beside, 1)})
    async with storing(stores, settings, outcome, causes=CAUSES, newest=STATES) as producing:
        yield Producer(producing)


def parts(tally: Tally) -> tuple[int, int, int, int]:
    """Of a tally that adds up: received, stored, conflated, lost."""
    assert tally.received == tally.stored + tally.duplicates + tally.quarantined + tally.conflated + tally.lost
    return tally.received, tally.stored, tally.conflated, tally.lost


def both(number: int) -> list[Event]:
    """What the tests put at a time: a ticker, a trade, a ticker."""
    return [ticker(3 * number), *trades([number]), ticker(3 * number + 1)]


async def test_a_store_that_comes_back_lacks_no_trade(autojump_clock: MockClock) -> None:
    """3 in hand and 51 that wait come as they are, then trades until the flow is full, and the newest ticker."""
    shelf, outcome = Shelf(), Outcome()
    async with storing_in(outcome, shelf) as producer:
        await producer.bring(both(0))
        await trio.sleep(1)
        for number in range(1, 66):
            with trio.fail_after(1):
                await producer.bring(both(number))
        with trio.move_on_after(600) as minutes:
            await producer.bring(both(66))
        assert minutes.cancelled_caught
        shelf.opened.set()

    assert parts(outcome.tally) == (201, 104, 97, 0)
    assert [event for event in shelf.events if type(event) is Trade] == trades(range(67))
    stored = [event.received for event in shelf.events if type(event) is Ticker]
    assert stored == [at for number in range(18) for at in (3 * number, 3 * number + 1)] + [3 * 66 + 1]


async def test_a_sink_beside_the_database_conflates_alone(autojump_clock: MockClock) -> None:
    """The database has every ticker; the one that is late has the newest, and its account adds up by itself."""
    database, late, outcome = Shelf(), Shelf(), Outcome()
    database.opened.set()
    async with storing_in(outcome, database, late) as producer:
        for at in range(500):
            with trio.fail_after(1):
                await producer.bring([ticker(at)])
            await trio.sleep(0.001)
        late.opened.set()

    assert parts(outcome.tally) == (500, 500, 0, 0) and database.events == tickers(range(500))
    assert parts(outcome.beside["shelf:1"]) == (500, 53, 447, 0)
    assert late.events == tickers([*range(52), 499])


async def test_a_stop_while_conflating_adds_up(autojump_clock: MockClock) -> None:
    """What a stalled store did not take in time is lost; what was replaced before stays conflated."""
    outcome = Outcome()
    async with storing_in(outcome, Shelf()) as producer:
        for at in range(500):
            await producer.bring([ticker(at)])
            await trio.sleep(0.001)

    assert parts(outcome.tally) == (500, 0, 447, 53)


async def test_what_is_put_after_the_writers_ended_is_counted(autojump_clock: MockClock) -> None:
    """A second signal ends both at once, and a feed delivers what it has read already."""
    outcome = Outcome()
    with trio.CancelScope() as everything:
        async with storing_in(outcome, Shelf(), Shelf()) as producer:
            await producer.bring(both(0))
            await trio.sleep(1)
            everything.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            await producer.bring(both(1))

    assert parts(outcome.tally) == parts(outcome.beside["shelf:1"]) == (6, 0, 0, 6)


async def test_a_replay_stores_every_ticker(tmp_path: Path) -> None:
    """A file can wait: far more than the flow holds, and nothing is replaced."""
    file, into = tmp_path / "a.jsonl", tmp_path / "a.db"
    lines = [
        {"exchange": "binance", "received": at, "source": SOURCE, "payload": FRAME % (at, at)} for at in range(1, 501)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = Settings(run=evolve(Run(), database=str(into)), buffers=Buffers(channel=10, commit_rows=5))
    outcome = await replay([file], settings, choice=Choice(), progress=lambda lines: None)

    assert parts(outcome.tally) == (500, 500, 0, 0)
    assert ask(into, "SELECT received FROM tickers ORDER BY received") == [(at,) for at in range(1, 501)]


async def test_a_locked_database_costs_tickers_and_no_trade(tmp_path: Path) -> None:
    """Another program holds it for 2 s, the only way to see the lock's own time: quotes conflate, trades wait."""
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    async with far_end(rate=10_000.0) as urls:
        settings = settings_for(urls, one, sinks=(url_of(two),))
        small = evolve(settings, buffers=Buffers(channel=2_000, commit_rows=500))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_hold, one, 0.3, 2.0)
            outcome = await run(Job(small, duration=2.5))

    received, stored, conflated, lost = parts(outcome.tally)
    assert lost == 0 and conflated > 100 and not outcome.problems
    found = ids(one)
    assert found == list(range(found[0], found[-1] + 1)) == ids(two)
    assert ask(one, "SELECT (SELECT count(*) FROM trades) + (SELECT count(*) FROM tickers)") == [(stored,)]
    assert ask(one, "SELECT count(*) FROM gaps") == [(0,)]
    beside = outcome.beside[url_of(two)]
    assert parts(beside)[0] == received and beside.conflated < conflated


async def _hold(database: Path, after: float, seconds: float) -> None:
    """Lock a database as another program does."""
    await trio.sleep(after)
    with closing(plain(database)) as db:
        db.execute("BEGIN IMMEDIATE")
        await trio.sleep(seconds)
        db.execute("ROLLBACK")
