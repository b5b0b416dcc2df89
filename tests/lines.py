"""A far end on the fake clock, as the tests of connections use it: lines that tell a market, and its REST."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import trio
from attrs import define, evolve, field

from trioagg.errors import LinkError
from trioagg.exchanges import Exchange, Feed, Fetch, Subscription, load
from trioagg.model import Channel, Event, Record, Session, Ticker, Trade
from trioagg.pipeline.flow import Outlet, flow
from trioagg.pipeline.heap import Heap
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.rest import Rest
from trioagg.pipeline.stream import Stream
from trioagg.pipeline.tally import Tally
from trioagg.pipeline.watch import Questions
from trioagg.transport.clock import Stamps
from trioagg.transport.frames import Frames

Say = tuple[float, bytes]
"""When it is said, in seconds, and what."""
SECOND = 1_000_000_000
SHUTDOWN = b'{"e":"serverShutdown","E":1772445600123}'


def trade(number: int, symbol: str = "S0", at: float = 5) -> bytes:
    """One trade's frame."""
    wire = '{"stream":"%s@trade","data":{"e":"trade","s":"%s","t":%d,"p":"1","q":"1","T":%d,"m":true}}'
    return (wire % (symbol.lower(), symbol, number, at * 1000)).encode()


def quote(number: int, symbol: str = "S0") -> bytes:
    """One best bid and ask, told apart by the price."""
    wire = '{"stream":"%s@bookTicker","data":{"u":1,"s":"%s","b":"%d","B":"1","a":"%d","A":"1"}}'
    return (wire % (symbol.lower(), symbol, number, number + 1)).encode()


def trades(*, every: float, until: float, symbol: str = "S0", since: float = 0) -> Iterator[Say]:
    """Trades counted from 1, one every so many seconds."""
    for number in range(1, round((until - since) / every)):
        yield since + every * number, trade(number, symbol, since + every * number)


def quotes(*, every: float, until: float) -> Iterator[Say]:
    """Quotes, half-way between the trades."""
    for number in range(1, round(until / every)):
        yield every * (number - 0.5), quote(number)


def together(*told: Iterable[Say]) -> list[Say]:
    """What several streams tell, in order."""
    return sorted(say for some in told for say in some)


@define(eq=False)
class Line:
    """One connection: says what is said from its opening on, ``lag`` seconds late, then nothing; or refuses.

    Its good-bye takes ``farewell`` seconds.
    """

    says: Sequence[Say] = ()
    lag: float = 0
    until: float = float("inf")
    farewell: float = 0
    refuses: str = ""
    url: str = ""
    opened: float = 0
    closed: float | None = None
    sent: list[tuple[float, str]] = field(factory=list)
    _next: int = 0

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[Line]:
        """In the place of a connection."""
        if self.refuses:
            raise LinkError(self.refuses)
        self.url, self.opened = url, trio.current_time()
        self._next = sum(at + self.lag <= self.opened for at, _ in self.says)
        try:
            yield self
        finally:
            self.closed = trio.current_time()
            with trio.CancelScope(shield=True):
                await trio.sleep(self.farewell)

    async def receive(self) -> Frames:
        """The next thing it says; silence at the end, or the end of the connection."""
        with trio.move_on_at(self.until):
            if self._next == len(self.says):
                await trio.sleep_forever()
            at, frame = self.says[self._next]
            await trio.sleep_until(at + self.lag)
            self._next += 1
            return Frames(round((at + self.lag) * SECOND), [frame])
        raise LinkError("closed by the exchange")

    async def send(self, text: str) -> None:
        """What it heard, and when."""
        self.sent.append((round(trio.current_time() - self.opened, 6), text))


@define(eq=False)
class Lines:
    """Gives each connection the next line."""

    lines: list[Line]
    taken: list[tuple[float, Line]] = field(factory=list)

    @asynccontextmanager
    async def connect(self, url: str, **_: Any) -> AsyncIterator[Line]:
        """In the place of ``websocket.connect``."""
        line = self.lines[len(self.taken)] if len(self.taken) < len(self.lines) else Line(refuses="nobody is there")
        self.taken.append((trio.current_time(), line))
        async with line.open(url) as opened:
            yield opened


@define(eq=False)
class FakeRest:
    """The exchange's history of trades, as far as it has happened; unreachable where there is none."""

    has: Sequence[Say] | None = None
    asked: list[tuple[float, str]] = field(factory=list)

    async def consult(self, adapter: Exchange, fetch: Fetch, intake: Intake) -> Sequence[Event]:
        """Everything that has happened."""
        self.asked.append((trio.current_time(), fetch.path))
        if self.has is None:
            raise LinkError("no answer")
        frames = [frame for at, frame in self.has if at <= trio.current_time()]
        return intake.frames(adapter, "rest", Frames(1, frames))[0]


def stream_of(
    outlets: list[Outlet[Record]],
    *,
    subscriptions: Sequence[Subscription] = (Subscription("S0", Channel.TRADES, "S0"),),
    rest: FakeRest | None = None,
    adapter: type[Exchange] | None = None,
) -> Stream:
    """A stream of Binance's with a stall time-out of 30 s; ``outlets`` is given where its events come out."""
    inlet, outlet = flow("test", 1_000_000)
    outlets.append(outlet)
    return Stream(
        adapter=adapter or load("binance"),
        feed=evolve(Feed(), subscriptions=subscriptions),
        ws_url="ws://far.end/prefix",
        name="ws-1",
        stall_timeout=30,
        rest=cast(Rest, rest or FakeRest()),
        intake=Intake(Tally(), [inlet]),
        stamps=Stamps(lambda: round(trio.current_time() * SECOND)),
        questions=Questions(),
        heap=Heap(),
    )


def numbers(records: Sequence[Record], symbol: str = "S0") -> list[int]:
    """The ids of a market's trades among records, as they came."""
    return [int(record.trade_id) for record in records if isinstance(record, Trade) and record.symbol == symbol]


def bids(records: Sequence[Record]) -> list[int]:
    """The bids of the tickers among records, as they came."""
    return [int(record.bid or 0) for record in records if isinstance(record, Ticker)]


def lives(records: Sequence[Record]) -> list[tuple[float, float | None, str]]:
    """When each session began and ended, and why, by what was told last of it."""
    last = {record.opened: record for record in records if isinstance(record, Session)}
    return [
        (round(opened / SECOND, 3), None if one.closed is None else round(one.closed / SECOND, 3), one.reason)
        for opened, one in sorted(last.items())
    ]
