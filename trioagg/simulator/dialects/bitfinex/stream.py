"""Bitfinex's WebSocket: channels by number, each one's data, and the count of all frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from typing import Any

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import Hangup, Span
from trioagg.simulator.dialects._kit import (
    MILLI,
    SECOND,
    Change,
    Maker,
    TopicSession,
    books,
    candles,
    forced,
    last_tick,
    quotes,
    text,
    timed,
    trades,
    whole,
)
from trioagg.simulator.dialects.bitfinex.rows import FRAMES, LENGTHS, Teller, candle, checksum, rows

STAMPED, COUNTED, CHECKED, BULKY = 1 << 15, 1 << 16, 1 << 17, 1 << 29  # flags
CHANNELS = 25  # on a connection
BACKLOG = 30  # trades and candles that a channel begins with
PACES = {"F0": 100 * MILLI, "F1": 2 * SECOND}  # between two looks at a book
QUIET = 15 * SECOND  # after which a channel says that it is there
IDLE = 60 * SECOND  # after which a connection without channels is closed


class Call(msgspec.Struct):
    """A message of the client."""

    event: str
    channel: str = ""
    symbol: str = ""
    key: str = ""
    prec: str = "P0"
    freq: str = "F0"
    len: int | str = "25"
    subId: str | None = None
    flags: int = 0
    chanId: int = 0
    cid: int | None = None


class Problem(Exception):
    """A subscription that cannot be, with the exchange's number for it."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


class BitfinexSession(TopicSession):
    """One connection: it counts the data that it sends where it is asked to, whatever channel they are of."""

    def __init__(self, tellers: Mapping[str, Teller]) -> None:
        super().__init__()
        self._tellers = tellers
        self._flags = 0
        self._sent, self._channels = count(1), count(17470, 7)
        self._calls: dict[int, Call] = {}
        self._last: dict[str, Nanos] = {}
        self._busy: Nanos | None = None

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """An acknowledgement or a refusal, and what a channel begins with."""
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.DecodeError:
            return [_event("error", msg="event: invalid", code=10000)]
        match call.event:
            case "ping":
                return [_event("pong", ts=now // MILLI, cid=call.cid)]
            case "conf":
                self._flags = call.flags
                return [_event("conf", status="OK", flags=call.flags)]
            case "subscribe":
                return self._subscribe(call, now)
            case "unsubscribe":
                return [self._unsubscribe(call.chanId)]
        return [_event("error", msg="event: invalid", code=10000)]

    def frames(self, start: Nanos, end: Nanos) -> list[bytes]:
        """Every channel's frames, a sign of life of those that have none, and a greeting before all."""
        greeting = [] if self._busy else [_event("info", version=2, serverId="built-in", platform={"status": 1})]
        self._busy = end if self._topics else self._busy or start
        if end - self._busy > IDLE:
            raise Hangup(1000, "nothing is subscribed to")
        told = [frame for topic, make in self._topics.items() for frame in self._living(topic, make(start, end), end)]
        return [*greeting, *self._finished(told, end)]

    def unknown(self, now: Nanos) -> bytes:
        """A word that the documentation does not have."""
        return next(self._finished([b'[0,"fog",[1,2]]'], now))

    def _living(self, topic: str, frames: Iterable[bytes], end: Nanos) -> list[bytes]:
        told = list(frames)
        if not told and end - self._last[topic] >= QUIET:
            told = [f'[{topic},"hb"]'.encode()]
        if told:
            self._last[topic] = end
        return told

    def _finished(self, frames: Iterable[bytes], now: Nanos) -> Iterator[bytes]:
        """Frames with the numbers and times that were asked for, without the checksums that were not."""
        stamp = f",{now // MILLI}" if self._flags & STAMPED else ""
        for frame in frames:
            if b',"cs",' not in frame or self._flags & CHECKED:
                counted = f",{next(self._sent)}" if self._flags & COUNTED else ""
                yield frame[:-1] + f"{counted}{stamp}]".encode()

    def _subscribe(self, call: Call, now: Nanos) -> list[bytes]:
        named = {"key": call.key} if call.key else {"symbol": call.symbol}
        try:
            self._check(call)
        except Problem as problem:
            return [_event("error", msg=str(problem), code=problem.code, channel=call.channel, **named)]
        channel = next(self._channels)
        details = {"prec": call.prec, "freq": call.freq, "len": str(call.len)} if call.channel == "book" else {}
        details |= {} if call.subId is None else {"subId": call.subId}
        details |= {"pair": call.symbol.removeprefix("t")} if call.symbol else {}
        maker, first = self._topic(channel, call, now)
        self._calls[channel], self._last[str(channel)] = call, now
        self.begin(str(channel), _frames(maker))
        ack = _event("subscribed", channel=call.channel, chanId=channel, **named, **details)
        return [ack, *self._finished([b"[%d,%b]" % (channel, text(first))], now)]

    def _unsubscribe(self, channel: int) -> bytes:
        if self._calls.pop(channel, None) is None:
            return _event("error", msg="unsubscribe: invalid", code=10401, chanId=channel)
        self.end(str(channel))
        return _event("unsubscribed", status="OK", chanId=channel)

    def _check(self, call: Call) -> None:
        """Refuse what cannot be subscribed to."""
        name, frame = _named(call)
        if name not in self._tellers and (name or call.channel != "status"):
            raise Problem("symbol: invalid" if call.symbol else "key: invalid", 10300)
        if call.channel == "candles" and frame not in FRAMES:
            raise Problem("key: invalid", 10300)
        if (call.prec, call.freq in PACES, str(call.len) in map(str, LENGTHS)) != ("P0", True, True):
            raise Problem("book: invalid", 10300)
        if any((call.channel, call.symbol, call.key) == (c.channel, c.symbol, c.key) for c in self._calls.values()):
            raise Problem("subscribe: dup", 10301)
        if len(self._calls) == CHANNELS:
            raise Problem("channel limit", 10305)

    def _topic(self, channel: int, call: Call, now: Nanos) -> tuple[Maker, list[Any]]:
        """What a channel says, and what it begins with."""
        name, frame = _named(call)
        if not name:
            return self._liquidations(channel), []
        teller = self._tellers[name]
        source, symbol = teller.source, teller.symbol
        match call.channel:
            case "trades":
                return trades(source, symbol, lambda trade: _twice(channel, teller.trade(trade))), teller.newest(
                    now, BACKLOG
                )
            case "ticker":
                first = teller.ticker(source.quote(symbol, now))
                return quotes(source, symbol, lambda quote: _frame(channel, teller.ticker(quote))), first
            case "candles":
                length = FRAMES[frame]
                bars = teller.candles(length, now - BACKLOG * length, now, now=now)[::-1]
                return candles(source, symbol, length, lambda span, _: _bar(channel, span)), bars
            case "status":
                return timed(SECOND, lambda at: _frame(channel, teller.status(at))), teller.status(now)
        return self._book(channel, call, teller, now)

    def _book(self, channel: int, call: Call, teller: Teller, now: Nanos) -> tuple[Maker, list[Any]]:
        every, depth, bulky = PACES[call.freq], int(call.len), self._flags & BULKY
        since = last_tick(now, every)

        def write(change: Change) -> bytes:
            changed = rows(change.bids, change.asks)
            told = [_frame(channel, row) for row in ([changed] if bulky else changed)]
            return b"\n".join([*told, b'[%d,"cs",%d]' % (channel, checksum(change.book))])

        first = rows(*whole(teller.source, teller.symbol, since, depth))
        return books(teller.source, teller.symbol, every, write, depth=depth, since=since), first

    def _liquidations(self, channel: int) -> Maker:
        """Those of all perpetuals."""
        makers = [_forced(channel, teller) for teller in self._tellers.values() if ":" in teller.symbol]
        return lambda start, end: chain.from_iterable(make(start, end) for make in makers)


def _named(call: Call) -> tuple[str, str]:
    """The market and the length of a candle that a subscription names; empty where it names none.

    Raises:
        Problem: there is no such channel.
    """
    match [call.channel, *call.key.split(":", 1)]:
        case ["trades" | "ticker" | "book", *_]:
            return call.symbol, ""
        case ["candles", "trade", rest]:
            frame, _, name = rest.partition(":")
            return name, frame
        case ["status", "deriv", name]:
            return name, ""
        case ["status", "liq", "global"]:
            return "", ""
        case ["candles" | "status", *_]:
            raise Problem("key: invalid", 10300)
    raise Problem("channel: unknown", 10302)


def _event(event: str, **said: object) -> bytes:
    return text({"event": event, **said})


def _frame(channel: int, row: list[Any]) -> bytes:
    return b"[%d,%b]" % (channel, text(row))


def _twice(channel: int, trade: list[Any]) -> bytes:
    """At once, and confirmed."""
    return b'[%d,"te",%b]\n[%d,"tu",%b]' % (channel, row := text(trade), channel, row)


def _bar(channel: int, span: Span) -> bytes:
    return _frame(channel, candle(span)) if span.count else b""


def _forced(channel: int, teller: Teller) -> Maker:
    return forced(teller.source, teller.symbol, lambda trade: _frame(channel, teller.forced(trade)))


def _frames(maker: Maker) -> Maker:
    """One frame for each line of what is made."""
    return lambda start, end: (frame for lines in maker(start, end) for frame in lines.split(b"\n") if frame)
