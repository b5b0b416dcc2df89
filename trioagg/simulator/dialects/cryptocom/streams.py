"""Crypto.com's WebSocket: subscriptions, heartbeats, and what each channel says."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
from attrs import frozen

from trioagg.model import Nanos
from trioagg.simulator import Hangup, Levels, Quote, Source
from trioagg.simulator.dialects._kit import (
    MILLI,
    MINUTE,
    SECOND,
    Change,
    Maker,
    TopicSession,
    books,
    last_tick,
    quotes,
    text,
    ticks,
    timed,
    trades,
    whole,
)
from trioagg.simulator.dialects.cryptocom import words

DEPTHS = {"10": True, "50": True, "150": False}  # levels of a book, and whether its changes are told
SNAPSHOT, IDLE, HISTORY = 500 * MILLI, 5 * SECOND, 20  # between two whole books, two empty changes; first candles
BEAT, UNANSWERED = 30 * SECOND, 3  # between two heartbeats, and the one that ends a connection
MOST, PER_SECOND = 400, 100  # channels of a connection, requests
RECENT = 25  # trades that are told on subscribing
SERIES = {"mark": "mark_price", "index": "index_price", "funding": "funding_rate"}
SERIES |= {"estimatedfunding": "estimated_funding_rate"}


class Params(msgspec.Struct):
    """What a request names; books are told as its second and third say."""

    channels: list[str] = []
    book_subscription_type: str = "SNAPSHOT"
    book_update_frequency: int = 10


class Call(msgspec.Struct):
    """A message of the client."""

    method: str
    id: int = -1
    params: Params = msgspec.field(default_factory=Params)


class CryptocomSession(TopicSession):
    """One connection: what it is subscribed to, and the heartbeats that it owes an answer."""

    def __init__(self, source: Source, symbols: Mapping[str, str]) -> None:
        super().__init__()
        self._source, self._symbols = source, symbols
        self._due: Nanos | None = None
        self._owed: list[int] = []
        self._calls: deque[Nanos] = deque(maxlen=PER_SECOND)

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """Books acknowledge a subscription; of the others the first data bear its number."""
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.DecodeError:
            return [_reply(-1, "", code=40001, message="Bad request")]
        if len(self._calls) == PER_SECOND and now - self._calls[0] < SECOND:
            return [_reply(call.id, call.method, code=42901, message="Too many requests")]
        self._calls.append(now)
        match call.method:
            case "public/respond-heartbeat":
                return self._answered(call.id)
            case "subscribe":
                return self._subscribe(call, now)
            case "unsubscribe":
                return [self._leave(call, channel) for channel in call.params.channels]
        return [_reply(call.id, call.method, code=40401, message="Not found")]

    def unasked(self, start: Nanos, end: Nanos) -> Sequence[bytes]:
        """A heartbeat every 30 s; the third one that nobody answered ends the connection."""
        self._due = start + BEAT if self._due is None else self._due
        if end <= self._due:
            return []
        number, self._due = self._due // MILLI, self._due + BEAT
        self._owed.append(number)
        if len(self._owed) == UNANSWERED:
            raise Hangup(1000, "heartbeats were not answered")
        return [_reply(number, "public/heartbeat")]

    def unknown(self, now: Nanos) -> bytes:
        """A channel that the documentation does not have."""
        return Topic(self._source, "BTC/USDT", "BTC_USDT", "weather.BTC_USDT").push("weather", {"fog": True})

    def _answered(self, number: int) -> list[bytes]:
        """A heartbeat's own number, and no other, settles it and those before it."""
        if number in self._owed:
            self._owed = self._owed[self._owed.index(number) + 1 :]
        return []

    def _leave(self, call: Call, channel: str) -> bytes:
        self.end(channel)
        return _reply(call.id, "unsubscribe", channel=channel)

    def _subscribe(self, call: Call, now: Nanos) -> list[bytes]:
        if len({*self._topics, *call.params.channels}) > MOST:
            return [_reply(call.id, "subscribe", code=40107, message="Maximum subscriptions exceeded")]
        return [frame for channel in call.params.channels for frame in self._one(call, channel, now)]

    def _one(self, call: Call, channel: str, now: Nanos) -> list[bytes]:
        """What one channel begins with; a wrong one leaves the others alone."""
        kind, _, rest = channel.partition(".")
        frame, _, name = rest.partition(".") if kind == "candlestick" else ("", "", rest)
        name, _, depth = name.partition(".") if kind == "book" else (name, "", "")
        changes = call.params.book_subscription_type == "SNAPSHOT_AND_UPDATE"
        if problem := self._problem(kind, name, frame, depth=depth or "50", changes=changes):
            return [_reply(call.id, "subscribe", code=40003, channel=channel, message=problem)]
        one = Topic(self._source, self._market(kind, name), name, channel, call.id)
        every = (100 if call.params.book_update_frequency == 100 else 10) * MILLI if changes else 0
        maker, first = one.book(int(depth or "50"), every, now) if kind == "book" else one.plain(kind, frame, now)
        self.begin(channel, maker)
        return [_reply(call.id, "subscribe", channel=channel), first] if kind == "book" else [first]

    def _market(self, kind: str, name: str) -> str:
        """The symbol; that of an index's contract is meant by the index."""
        return self._symbols.get(name.replace("-INDEX", "-PERP") if kind == "index" else name, "")

    def _problem(self, kind: str, name: str, frame: str, *, depth: str, changes: bool) -> str:
        if kind not in ("trade", "ticker", "candlestick", "book", *SERIES):
            return "Unrecognized channel"
        if not self._market(kind, name) or (kind in SERIES and "-" not in name):
            return "Unknown symbol"
        if kind == "candlestick" and not words.length(frame):
            return "Unsupported depth/interval combination"
        if kind == "book" and depth not in DEPTHS:
            return "Invalid depth"
        return "Unsupported depth/interval combination" if kind == "book" and changes and not DEPTHS[depth] else ""


@frozen
class Topic:
    """A channel of one market; ``ident`` is the request's number, which the first data bear."""

    source: Source
    symbol: str
    native: str
    name: str
    ident: int = -1

    def plain(self, kind: str, frame: str, now: Nanos) -> tuple[Maker, bytes]:
        """What any channel but a book says, and what it begins with."""
        source, symbol = self.source, self.symbol
        match kind:
            case "trade":
                last = source.before(symbol, now)
                rows = [words.trade(symbol, done) for done in source.prints(symbol, last - RECENT, last)]
                maker = trades(source, symbol, lambda done: self.push("trade", words.trade(symbol, done)))
                return maker, self.push("trade", *rows[::-1], ident=self.ident)
            case "ticker":
                first = words.ticker(source, symbol, source.quote(symbol, now), now)
                return quotes(source, symbol, self._ticker), self.push("ticker", first, ident=self.ident)
            case "candlestick":
                rows = words.history(source, symbol, words.length(frame), now, count=HISTORY)
                named = {"interval": frame}
                return self._candles(frame), self.push("candlestick", *rows, ident=self.ident, named=named)
        every = MINUTE if "funding" in kind else SECOND
        return timed(every, lambda at: self._point(kind, at)), self._point(kind, now, ident=self.ident)

    def book(self, depth: int, every: Nanos, now: Nanos) -> tuple[Maker, bytes]:
        """The whole of a book every so often; with ``every`` once, and then what changed."""
        since = last_tick(now, every or SNAPSHOT)
        first = self._whole(depth, since, ident=self.ident)
        if not every:
            return timed(SNAPSHOT, lambda at: self._whole(depth, at)), first
        changes = books(self.source, self.symbol, every, self._change(depth), depth=depth, since=since)

        def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
            yield from changes(start, end)
            for at in ticks(max(start, since + 1), end, IDLE):
                number = self.source.update(self.symbol, at)
                if number == self.source.update(self.symbol, at - IDLE):
                    yield self._change(depth)(Change(at, number, number, [], [], ([], [])))

        return make, first

    def push(self, channel: str, *rows: object, ident: int = -1, named: Mapping[str, object] | None = None) -> bytes:
        """A message with data."""
        head = {"instrument_name": self.native, "subscription": self.name, "channel": channel, **(named or {})}
        return text({"id": ident, "method": "subscribe", "code": 0, "result": {**head, "data": rows}})

    def _ticker(self, quote: Quote) -> bytes:
        return self.push("ticker", words.ticker(self.source, self.symbol, quote, quote[1]))

    def _point(self, kind: str, at: Nanos, ident: int = -1) -> bytes:
        return self.push(kind, words.value(self.source, self.symbol, SERIES[kind], at), ident=ident)

    def _candles(self, frame: str) -> Maker:
        """The running candle every second, and a last time when it is over."""

        def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
            for at in ticks(start, end, SECOND):
                opens = words.opening(words.length(frame), at - 1)
                row = words.bar(self.source, self.symbol, self.source.span(self.symbol, opens, at))
                yield self.push("candlestick", row, named={"interval": frame})

        return make

    def _levels(self, book: tuple[Levels, Levels]) -> dict[str, list[list[str]]]:
        return words.sides(self.source.pairs[self.symbol], book)

    def _whole(self, depth: int, at: Nanos, ident: int = -1) -> bytes:
        row = self._numbered(at, self.source.update(self.symbol, at))
        sides = self._levels(whole(self.source, self.symbol, at, depth))
        return self.push("book", {**sides, **row}, ident=ident, named={"depth": depth})

    def _change(self, depth: int) -> Callable[[Change], bytes]:
        def write(change: Change) -> bytes:
            row = {**self._numbered(change.at, change.after), "pu": change.before}
            sides = self._levels((change.bids, change.asks))
            return self.push("book.update", {"update": sides, **row}, named={"depth": depth})

        return write

    def _numbered(self, at: Nanos, number: int) -> dict[str, int]:
        """The times, the number, and a checksum that nobody can check."""
        return {"t": at // MILLI + 1, "tt": at // MILLI, "u": number, "cs": zlib.crc32(b"%d" % number)}


def _reply(ident: int, method: str, *, code: int = 0, **more: str) -> bytes:
    return text({"id": ident, "method": method, "code": code, **more})
