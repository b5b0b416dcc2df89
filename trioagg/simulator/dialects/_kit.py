"""What the dialects share: figures as text, streams out of a source, sessions with topics, REST by a table of paths."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import ClassVar

import msgspec
from attrs import evolve, frozen

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Answer, Dialect, Hangup, Levels, Print, Quote, Request, Session, Source, Span

MILLI = 10**6
SECOND = 10**9
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

Maker = Callable[[Nanos, Nanos], Iterator[bytes]]
"""What one topic says from a time to before another."""


def plain(figure: int) -> str:
    """Eight decimals, always."""
    sign = "-" if figure < 0 else ""
    return f"{sign}{abs(figure) // SCALE}.{abs(figure) % SCALE:08d}"


def short(figure: int) -> str:
    """No more decimals than it takes, and no point without any."""
    return plain(figure).rstrip("0").rstrip(".")


def iso(at: Nanos, digits: int = 6) -> str:
    """``2026-03-02T10:15:30.123456Z`` with so many digits of a second."""
    moment = datetime.fromtimestamp(at // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{at % SECOND:09d}"[: 20 + digits] + "Z"


def text(value: object) -> bytes:
    """JSON without spaces; a ``msgspec.Raw`` in it stands as it is, for numbers with all their digits."""
    return msgspec.json.encode(value)


def number(figure: str) -> msgspec.Raw:
    """A figure as a JSON number, digit for digit."""
    return msgspec.Raw(figure.encode())


def ticks(start: Nanos, end: Nanos, every: Nanos) -> range:
    """The multiples of ``every`` from ``start`` to before ``end``."""
    return range(-(-start // every) * every, end, every)


def trades(source: Source, symbol: str, write: Callable[[Print], bytes]) -> Maker:
    """A frame for each trade."""

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        first, after = source.before(symbol, start), source.before(symbol, end)
        return map(write, source.prints(symbol, first, after))

    return make


def quotes(source: Source, symbol: str, write: Callable[[Quote], bytes]) -> Maker:
    """A frame for each change of the best prices."""

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        return map(write, source.quotes(symbol, start, end))

    return make


def timed(every: Nanos, write: Callable[[Nanos], bytes]) -> Maker:
    """A frame every so often."""

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        return map(write, ticks(start, end, every))

    return make


def candles(source: Source, symbol: str, length: Nanos, write: Callable[[Span, Nanos], bytes]) -> Maker:
    """The running candle every second, from the trades so far, and once more at its end.

    Args:
        write: takes the candle so far, and the time.
    """

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(start, end, SECOND):
            opens = (at - 1) // length * length
            yield write(source.span(symbol, opens, at), at)

    return make


@frozen
class Change:
    """What changed in a book between two ticks; an amount of 0 took its level away.

    Attributes:
        at: the later tick.
        before, after: the numbers of the book's last change at both.
        book: the bids and asks at the later tick, so many of them as the client sees.
    """

    at: Nanos
    before: int
    after: int
    bids: Levels
    asks: Levels
    book: tuple[Levels, Levels]


def books(
    source: Source, symbol: str, every: Nanos, write: Callable[[Change], bytes], *, depth: int, since: Nanos
) -> Maker:
    """What changed in the best ``depth`` levels of a book at every tick after ``since``, where anything did."""

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(max(start, since + 1), end, every):
            before, after = source.update(symbol, at - every), source.update(symbol, at)
            if before != after:
                then, now = whole(source, symbol, at - every, depth), whole(source, symbol, at, depth)
                yield write(Change(at, before, after, _changed(then[0], now[0]), _changed(then[1], now[1]), now))

    return make


def whole(source: Source, symbol: str, at: Nanos, depth: int) -> tuple[Levels, Levels]:
    """The best levels of a book at a time, bids and asks."""
    bids, asks = source.book(symbol, source.update(symbol, at))
    return bids[:depth], asks[:depth]


def last_tick(at: Nanos, every: Nanos) -> Nanos:
    """The tick at or before a time: what a snapshot is of, so that ``books`` goes on from it."""
    return at // every * every


def _changed(then: Levels, now: Levels) -> Levels:
    before, after = dict(then), dict(now)
    return [(price, after.get(price, 0)) for price in before | after if before.get(price) != after.get(price)]


def funding(symbol: str, at: Nanos) -> int:
    """The funding rate of the eight hours around a time, in units of 1e-8."""
    return (at // (8 * HOUR) * 7919 + sum(symbol.encode())) % 40_001 - 10_000


def next_funding(at: Nanos) -> Nanos:
    """When funding is next due: every eight hours."""
    return (at // (8 * HOUR) + 1) * 8 * HOUR


def interest(source: Source, symbol: str, at: Nanos) -> int:
    """The open interest in base coins: a made-up figure above zero that follows what the hour bought."""
    return 1000 * SCALE + 2 * lately(source, symbol, at, HOUR).bought


def daily(source: Source, symbol: str, at: Nanos) -> Span:
    """The 24 hours up to a time: the sums are those of its second, the prices up to date."""
    told, price = lately(source, symbol, at, DAY), last(source, symbol, at)[2]
    return evolve(told, close=price, high=max(told.high, price), low=min(told.low, price))


def lately(source: Source, symbol: str, at: Nanos, length: Nanos) -> Span:
    """So much time up to the beginning of a second: it is added up once, however many frames tell it."""
    return _added_up(source, symbol, at // SECOND * SECOND, length)


@lru_cache(maxsize=1024)
def _added_up(source: Source, symbol: str, end: Nanos, length: Nanos) -> Span:
    return source.span(symbol, end - length, end)


def last(source: Source, symbol: str, at: Nanos) -> Print:
    """The last trade before a time."""
    ident = max(source.before(symbol, at) - 1, 0)
    return next(iter(source.prints(symbol, ident, ident + 1)))


def forced(source: Source, symbol: str, write: Callable[[Print], bytes]) -> Maker:
    """Liquidations: every 101st trade was one."""

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        first, after = source.before(symbol, start), source.before(symbol, end)
        return (write(trade) for trade in source.prints(symbol, first, after) if not trade[0] % 101)

    return make


class TopicSession(Session):
    """A connection whose topics say, each by itself, what happened.

    Attributes:
        patience: seconds without a word of the client after which the exchange hangs up; None where it does not.
    """

    patience: ClassVar[float | None] = None

    def __init__(self) -> None:
        self._topics: dict[str, Maker] = {}
        self._heard: Nanos | None = None

    @property
    def subscribed(self) -> bool:
        """Whether there is any topic."""
        return bool(self._topics)

    def received(self, text: str, now: Nanos) -> Sequence[bytes]:
        """The replies to one message of the client."""
        self._heard = now
        return self.replies(text, now)

    @abstractmethod
    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """The replies to one message of the client; topics are ``begun`` and ``ended``.

        Raises:
            Hangup: the exchange would close the connection for it.
        """

    def begin(self, topic: str, maker: Maker) -> None:
        """Say what happens from now on, however late this connection is."""
        since = self._heard or 0
        self._topics[topic] = lambda start, end: maker(max(start, since), end) if end > since else iter(())

    def end(self, topic: str) -> None:
        """Say nothing more of it."""
        self._topics.pop(topic, None)

    def frames(self, start: Nanos, end: Nanos) -> list[bytes]:
        """Every topic's frames, topic by topic, and what the exchange says by itself."""
        if self._heard is None:
            self._heard = start
        if self.patience is not None and end - self._heard > self.patience * SECOND:
            raise Hangup(1000, f"nothing heard for {self.patience:g} s")
        return [*self.unasked(start, end), *(frame for make in self._topics.values() for frame in make(start, end))]

    def unasked(self, start: Nanos, end: Nanos) -> Sequence[bytes]:
        """What the exchange says to everybody: heartbeats and the like."""
        return ()


class Refusal(Exception):
    """The exchange answers a request with an error: its JSON body, and the HTTP status."""

    def __init__(self, body: object, status: int = 200) -> None:
        super().__init__(f"{status}: {body}")
        self.body, self.status = body, status


Query = Mapping[str, str]
Handler = Callable[..., object]
"""Takes the query, and by position what the path's groups hold; returns the JSON body."""


class DeskDialect(Dialect):
    """A dialect whose REST is a table: patterns of whole paths → handlers.

    Attributes:
        now: the exchange's time of the request that is being answered.
        symbols: the exchange's spelling → the unified symbol, of everything that is listed.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.now: Nanos = 0
        self.symbols = {self.native(symbol): symbol for symbol in source.pairs}
        self._table = [(re.compile(pattern), handler) for pattern, handler in self.paths().items()]

    @classmethod
    @abstractmethod
    def native(cls, symbol: str) -> str:
        """The exchange's spelling."""

    @abstractmethod
    def paths(self) -> Mapping[str, Handler]:
        """The table."""

    def answer(self, request: Request, now: Nanos) -> Answer:
        """The handler's answer; 404 where no pattern fits."""
        self.now = self.source.now(now)
        for pattern, handler in self._table:
            if found := pattern.fullmatch(request.path):
                try:
                    return Answer(text(handler(request.query, *found.groups())))
                except Refusal as refusal:
                    return Answer(text(refusal.body), refusal.status)
        return Answer(b"<html><body>404 Not Found</body></html>", 404, {"Content-Type": "text/html"})

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """A plain error; dialects whose exchange says it in another way say it so."""
        wait = {} if retry_after is None else {"Retry-After": str(-int(-retry_after // 1))}
        return Answer(text({"error": status}), status, wait)
