"""Backpressure by value: under pressure tickers and books conflate to the newest, counted; everything else waits."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Hashable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from decimal import Decimal
from itertools import count, groupby, pairwise
from pathlib import Path
from typing import Any

import trio
from attrs import define, evolve, field
from far_end import ask, far_end, ids, settings_for
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trioagg.exchanges import Feed, Output
from trioagg.exchanges.binance import Adapter
from trioagg.integrity.continuity import Run as Ids
from trioagg.integrity.ledger import Draft, Known
from trioagg.model import STATES, Book, Candle, Delta, Event, Instrument, Loss, Nanos, Quote, Session, Ticker, Trade
from trioagg.pipeline.flow import Conflation, Inlet, Outlet, flow
from trioagg.pipeline.replay import Choice, replay
from trioagg.pipeline.run import CAUSES, Job, run
from trioagg.pipeline.storing import Producing, storing
from trioagg.pipeline.tally import Outcome, Tally
from trioagg.settings import Buffers, Run, Settings
from trioagg.sinks import Sink
from trioagg.sinks.sqlite import url_of
from trioagg.store import Counts
from trioagg.transport.frames import Frames

ONE = Decimal(1)
SOURCE = "wss://stream.binance.com:9443/stream"
FRAME = '{"stream":"btcusdt@bookTicker","data":{"u":%d,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"%d"}}'


def ticker(received: int, symbol: str = "BTC/USDT") -> Ticker:
    return Ticker("binance", symbol, ONE, ONE, ONE, ONE, None, None, None, received)


def tickers(received: Iterable[int]) -> list[Event]:
    return [ticker(at) for at in received]


def trades(numbers: Iterable[int]) -> list[Event]:
    return [Trade("binance", "BTC/USDT", number, ONE, ONE, "buy", number, number) for number in numbers]


def book(received: int) -> Book:
    return Book("binance", "BTC/USDT", (), (), None, received)


def quote(received: int) -> Quote:
    return Quote("binance", "BTC/USDT", ONE, ONE, ONE, ONE, None, received)


def delta(received: int) -> Delta:
    return Delta("binance", "BTC/USDT", (), (), whole=False, timestamp=None, received=received)


def candle(received: int) -> Candle:
    return Candle("binance", "BTC/USDT", "1m", 0, ONE, ONE, ONE, ONE, ONE, closed=False, received=received)


def state(event: Ticker | Book | Quote) -> Hashable:
    return type(event), event.symbol


def conflating(capacity: int) -> tuple[Inlet[Any], Outlet[Any], Tally]:
    """A flow as a sink has it, and where it counts."""
    tally = Tally()
    inlet, outlet = flow("test", capacity, Conflation(STATES, state, tally.conflate))
    return inlet, outlet, tally


async def full(inlet: Inlet[Any]) -> bool:
    """Whether who puts has to wait."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await inlet.room()
    return scope.cancelled_caught


def test_without_pressure_every_one_is_kept() -> None:
    """As long as half of the capacity or less waits, whatever one read brings."""
    inlet, outlet, tally = conflating(100)
    inlet.put(tickers(range(50)))
    inlet.put(tickers(range(50, 150)))

    assert outlet.take_waiting() == tickers(range(150))
    inlet.put(tickers(range(150, 160)))
    assert outlet.take_waiting() == tickers(range(150, 160))
    assert tally.conflated == 0


def test_under_pressure_the_newest_takes_the_place_of_the_older_one() -> None:
    """Of its kind and market alone, at the older one's place; everything that is no state waits in its order."""
    inlet, outlet, tally = conflating(4)
    inlet.put(trades(range(3)))
    loss = Loss("binance", "BTC/USDT", "book", None, None, "", 5)
    session = Session("binance", "ws-1", 1, 1, None, "")
    inlet.put([ticker(1), book(2), quote(3), ticker(4, "ETH/USDT"), delta(5), candle(6), loss])
    inlet.put([candle(7), delta(8), *trades([9]), session, ticker(10), book(11), quote(12), ticker(13)])

    assert outlet.take_waiting() == [
        *trades(range(3)),
        *(ticker(13), book(11), quote(12), ticker(4, "ETH/USDT")),
        *(delta(5), candle(6), loss),
        *(candle(7), delta(8), *trades([9]), session),
    ]
    assert tally.conflated == 4


def test_what_was_taken_or_kept_before_is_not_replaced() -> None:
    """A taken one is stored; one that came when there was no pressure any more goes behind the one that waits."""
    inlet, outlet, tally = conflating(4)
    inlet.put(trades(range(3)))
    inlet.put([ticker(1)])
    assert outlet.take_waiting(3) == trades(range(3))
    inlet.put([ticker(2)])
    inlet.put(trades([3]))
    inlet.put([ticker(4)])
    assert outlet.take_waiting(2) == [ticker(1), ticker(2)]
    inlet.put([ticker(5)])

    assert outlet.take_waiting() == [*trades([3]), ticker(4), ticker(5)]
    assert tally.conflated == 0


def test_an_older_one_never_replaces_a_newer_one() -> None:
    """An answer of REST may be put before frames that arrived earlier and waited for their reader."""
    inlet, outlet, tally = conflating(2)
    inlet.put(trades(range(2)))
    inlet.put([ticker(9)])
    inlet.put([ticker(8)])

    assert outlet.take_waiting() == [*trades(range(2)), ticker(9)]
    assert tally.conflated == 1


async def test_a_stalled_store_costs_one_ticker_of_each_market() -> None:
    """500 markets, as many as come in 10 s at 20,000/s: nobody waits for them, and trades find half of it free."""
    inlet, outlet, tally = conflating(2_000)
    markets = [f"S{number}/USDT" for number in range(500)]
    for at in range(400):
        inlet.put([ticker(at, symbol) for symbol in markets])
        assert not await full(inlet)
    inlet.put(trades(range(499)))
    assert not await full(inlet)
    inlet.put(trades([499]))
    assert await full(inlet)

    assert inlet.gauge.peak == inlet.gauge.waiting == 2_500
    taken = outlet.take_waiting()
    assert len(taken) + tally.conflated == 400 * 500 + 500
    assert [event.symbol for event in taken if event.received == 399 and type(event) is Ticker] == markets
    assert [event for event in taken if type(event) is Trade] == trades(range(500))
    assert inlet.gauge.slots == {}


NAMES = ("trade", "delta", "book", "A/USDT", "B/USDT")
STEPS = st.lists(
    st.tuples(st.lists(st.lists(st.sampled_from(NAMES), max_size=4), max_size=4), st.integers(0, 9)), max_size=12
)


def made(name: str, at: int) -> Event:
    """The event of a name, the one that came as number ``at``."""
    match name:
        case "trade":
            return trades([at])[0]
        case "delta":
            return delta(at)
        case "book":
            return book(at)
    return ticker(at, name)


@define
class Model:
    """A flow as a plain list: what waits, and which of it came under pressure and may be replaced."""

    capacity: int
    waiting: list[tuple[list[Event], bool]] = field(factory=list)
    conflated: int = 0

    @property
    def size(self) -> int:
        return sum(len(batch) for batch, _ in self.waiting)

    @property
    def full(self) -> bool:
        return sum(len(batch) for batch, replaceable in self.waiting if not replaceable) >= self.capacity

    def put(self, batch: list[Event]) -> None:
        if self.size * 2 > self.capacity:
            for event in [event for event in batch if type(event) in STATES]:
                self._replace(event)
            batch = [event for event in batch if type(event) not in STATES]
        self.waiting += [(batch, False)] if batch else []

    def _replace(self, event: Any) -> None:
        for held, replaceable in self.waiting:
            if replaceable and state(held[0]) == state(event):  # type: ignore[arg-type]
                held[0] = event
                self.conflated += 1
                return
        self.waiting.append(([event], True))

    def take(self, most: int) -> list[Event]:
        taken: list[Event] = []
        while self.waiting and len(taken) < most:
            taken += self.waiting.pop(0)[0]
        if self.size * 2 <= self.capacity:
            self.waiting = [(batch, False) for batch, _ in self.waiting]
        return taken


@given(capacity=st.integers(1, 8), steps=STEPS)
async def test_any_interleaving_is_as_a_plain_list_says(
    capacity: int, steps: list[tuple[list[list[str]], int]]
) -> None:
    """What is taken, counted and waits, whoever came first; nothing is lost, and each market's states stay in order."""
    inlet, outlet, tally = conflating(capacity)
    model, numbers, taken = Model(capacity), count(), list[Event]()
    for names, most in steps:
        before = list(taken)
        batches = [[made(name, next(numbers)) for name in some] for some in names]
        async with trio.open_nursery() as nursery:
            if first := bool(most) and not model.waiting and any(batches):
                nursery.start_soon(_take, outlet, most, taken)
                await wait_all_tasks_blocked()
            for batch in batches:
                inlet.put(batch)
                model.put(list(batch))
            assert (inlet.gauge.waiting, await full(inlet)) == (model.size, model.full)
            if most and model.waiting and not first:
                nursery.start_soon(_take, outlet, most, taken)
            expected = before + model.take(most)
        assert (taken, tally.conflated) == (expected, model.conflated)
    taken += outlet.take_waiting()
    assert len(taken) + tally.conflated == next(numbers)
    for _, same in groupby(sorted(taken, key=kind), key=kind):
        assert all(one.received < other.received for one, other in pairwise(same))


async def _take(outlet: Outlet[Event], most: int, into: list[Event]) -> None:
    into += await outlet.take(most)


def kind(event: Event) -> tuple[str, str]:
    return type(event).__name__, getattr(event, "symbol", "")


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
    """A run's writers with these sinks, the first in the place of the database, and flows of 100 events."""
    buffers = Buffers(channel=100, commit_rows=10, commit_delay=0.0)
    settings = Settings(run=evolve(Run(), drain_timeout=drain), buffers=buffers)
    stores: dict[str, Sink] = {f"shelf:{number}": shelf for number, shelf in enumerate(shelves)}
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
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        await trio.sleep(seconds)
        db.execute("ROLLBACK")
