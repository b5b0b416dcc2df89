"""Gemini's newer WebSocket: streams by name, requests with answers, and how both ways spell markets and ids."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Levels, Print, Quote, Source
from trioagg.simulator.dialects._kit import (
    HOUR,
    MILLI,
    MINUTE,
    SECOND,
    Change,
    Maker,
    TopicSession,
    books,
    funding,
    last_tick,
    plain,
    quotes,
    short,
    text,
    timed,
    trades,
    whole,
)

DEPTH = 5000  # there is no limit, and no book is so deep
SPACING = 10  # between two ids of one symbol: others have theirs in between
SPEEDS = {"": SECOND, "@100ms": 100 * MILLI}
LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "SECOND", "intervalNum": 10, "limit": 7000, "count": 1},
    {"rateLimitType": "CONNECTIONS", "interval": "MINUTE", "intervalNum": 5, "limit": 300, "count": 1},
]
_STREAM = re.compile(r"([a-z0-9]+)@(trade|bookTicker|markPrice|fundingAmount|depth(5|10|20)?(@100ms)?)")


def native(symbol: str) -> str:
    """``btcusd``, ``btcgusdperp``."""
    pair, colon, _ = symbol.partition(":")
    return pair.replace("/", "").lower() + ("perp" if colon else "")


def ident(symbol: str, count: int) -> int:
    """The id of a trade or a change of the book: it rises, with holes."""
    return count * SPACING + zlib.crc32(symbol.encode()) % SPACING


def payment(symbol: str, mark: int, at: Nanos) -> int:
    """What is paid every hour for one unit of the base, in the quote currency."""
    return mark * funding(symbol, at) // (8 * SCALE)


class Call(msgspec.Struct):
    """A message of the client."""

    method: str = ""
    id: int | str | None = None
    params: msgspec.Raw = msgspec.Raw(b"[]")


class Wanted(msgspec.Struct):
    """What ``depth`` asks for."""

    symbol: str
    limit: int = 100


class Trouble(Exception):
    """Why a message is refused: a code, and a text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class GeminiSession(TopicSession):
    """One connection; its topics are streams.

    Args:
        levels: those that a book begins with: -1 all, 0 none.
    """

    def __init__(self, source: Source, symbols: Mapping[str, str], levels: int) -> None:
        super().__init__()
        self._source, self._symbols, self._levels = source, symbols, levels

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """What new streams begin with, and then the answer."""
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.DecodeError:
            return [_reply(None, 400, error={"code": -1000, "msg": "Invalid message"})]
        try:
            return self._called(call, call.method.lower(), now)
        except Trouble as trouble:
            return [_reply(call.id, 400, error={"code": trouble.code, "msg": str(trouble)})]
        except msgspec.DecodeError:
            return [_reply(call.id, 400, error={"code": -1013, "msg": "Invalid params"})]

    def unknown(self, now: Nanos) -> bytes:
        """An event that the documentation does not have."""
        return text({"e": "weather", "E": now, "s": "btcusd", "fog": True})

    def _called(self, call: Call, method: str, now: Nanos) -> Sequence[bytes]:
        match method:
            case "subscribe" | "unsubscribe":
                first = self._change(msgspec.json.decode(call.params, type=list[str]), now, begin=method == "subscribe")
                return [*first, _reply(call.id)]
            case "ping":
                return [_reply(call.id)]
            case "time":
                return [_reply(call.id, result={"serverTime": now // MILLI})]
            case "list_subscriptions":
                return [_reply(call.id, result=list(self._topics))]
            case "conninfo":
                return [_reply(call.id, result={"rateLimits": LIMITS})]
            case "depth":
                return [_reply(call.id, result=self._depth(msgspec.json.decode(call.params, type=Wanted), now))]
        raise Trouble(-1020, f"Unsupported operation: {call.method[:40]}")

    def _change(self, streams: Sequence[str], now: Nanos, *, begin: bool) -> list[bytes]:
        """Begin or end streams; one bad name refuses all of them."""
        found = [(stream, *self._parsed(stream)) for stream in streams]
        first: list[bytes] = []
        for stream, symbol, kind in found:
            if not begin:
                self.end(stream)
            elif stream not in self._topics:
                maker, begins = self._topic(symbol, kind, now)
                self.begin(stream, maker)
                first += begins
        return first

    def _parsed(self, stream: str) -> tuple[str, str]:
        found = _STREAM.fullmatch(stream)
        symbol = self._symbols.get(found[1], "") if found else ""
        if not found or not symbol or (found[2] in ("markPrice", "fundingAmount") and ":" not in symbol):
            raise Trouble(-1013, f"Invalid stream name: {stream[:60]}")
        return symbol, found[2]

    def _topic(self, symbol: str, kind: str, now: Nanos) -> tuple[Maker, Sequence[bytes]]:
        """What a stream says, and what it begins with."""
        source = self._source
        match kind:
            case "trade":
                return trades(source, symbol, partial(_trade, symbol)), ()
            case "bookTicker":
                return quotes(source, symbol, partial(_quote, symbol)), ()
            case "markPrice":
                return timed(SECOND, partial(self._mark, symbol)), ()
            case "fundingAmount":
                write = partial(self._due, symbol)
                return timed(MINUTE, write), [write(now)]  # at once: nobody knows when in a minute
        name, at, _ = kind.partition("@")
        every = SPEEDS["@100ms" if at else ""]
        if name == "depth":
            return self._changes(symbol, every, now)
        return timed(every, lambda at: text(self._depth(Wanted(native(symbol), int(name[5:])), at))), ()

    def _changes(self, symbol: str, every: Nanos, now: Nanos) -> tuple[Maker, Sequence[bytes]]:
        since, levels = last_tick(now, every), DEPTH if self._levels < 0 else self._levels
        bids, asks = whole(self._source, symbol, since, levels)
        update = self._source.update(symbol, since)
        first = [_update(symbol, Change(since, update, update, bids, asks, (bids, asks)))] if levels else []
        return books(self._source, symbol, every, partial(_update, symbol), depth=DEPTH, since=since), first

    def _depth(self, wanted: Wanted, at: Nanos) -> dict[str, Any]:
        """The best levels of a book."""
        symbol = self._symbols.get(wanted.symbol.lower())
        if symbol is None or wanted.limit < 1:
            raise Trouble(-1013, "Invalid symbol or limit")
        bids, asks = whole(self._source, symbol, at, wanted.limit)
        last = ident(symbol, self._source.update(symbol, at))
        return {"lastUpdateId": last, "symbol": native(symbol), "bids": _levels(bids), "asks": _levels(asks)}

    def _mark(self, symbol: str, at: Nanos) -> bytes:
        _, _, mark, _, index, _ = self._source.quote(symbol, at)
        return text({"e": "markPrice", "E": at, "s": native(symbol), "p": short(mark), "i": str(index * 10 // SCALE)})

    def _due(self, symbol: str, at: Nanos) -> bytes:
        """What is next paid; both its times are when."""
        due = (at // HOUR + 1) * HOUR
        _, _, mark, *_ = self._source.quote(symbol, at)
        amount = payment(symbol, mark, due)
        figures = {"f": short(amount), "r": plain(amount * SCALE // mark)[:-1], "p": short(mark), "R": False}
        return text({"e": "fundingAmount", "E": due, "s": native(symbol), "T": due // MILLI, "i": 60, **figures})


def _reply(name: int | str | None, status: int = 200, **said: object) -> bytes:
    return text({"id": name, "status": status, **said})


def _trade(symbol: str, trade: Print) -> bytes:
    count, at, price, amount, buy = trade
    told = {"E": at, "s": native(symbol), "t": ident(symbol, count), "p": short(price), "q": short(amount)}
    return text({**told, "m": not buy})


def _quote(symbol: str, quote: Quote) -> bytes:
    count, at, bid, bids, ask, asks = quote
    sides = {"b": short(bid), "B": short(bids), "a": short(ask), "A": short(asks)}
    return text({"u": ident(symbol, count), "E": at, "s": native(symbol), **sides})


def _levels(levels: Levels) -> list[list[str]]:
    return [[short(price), short(amount) if amount else "0.000"] for price, amount in levels]


def _update(symbol: str, change: Change) -> bytes:
    """Each change names the one before it as its first."""
    numbers = {"U": ident(symbol, change.before), "u": ident(symbol, change.after)}
    sides = {"b": _levels(change.bids), "a": _levels(change.asks)}
    return text({"e": "depthUpdate", "E": change.at, "s": native(symbol), **numbers, **sides})
