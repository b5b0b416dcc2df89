"""Backpressure by value: under pressure tickers and books conflate to the newest, counted; everything else waits."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from decimal import Decimal
from itertools import count, groupby, pairwise
from typing import Any

import trio
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from trioagg.model import STATES, Book, Candle, Delta, Event, Loss, Quote, Session, Ticker, Trade
from trioagg.pipeline.flow import Conflation, Inlet, Outlet, flow
from trioagg.pipeline.tally import Tally

ONE = Decimal(1)


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
