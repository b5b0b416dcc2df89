"""Gate's WebSocket: requests, and the frames of each channel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import Levels, Pair, Print, Quote, Source, Span
from trioagg.simulator.dialects._kit import (
    MILLI,
    SECOND,
    Change,
    Maker,
    Refusal,
    TopicSession,
    books,
    last_tick,
    plain,
    quotes,
    short,
    text,
    ticks,
    timed,
    trades,
    whole,
)
from trioagg.simulator.dialects.gate.text import ELSEWHERE, LENGTHS, opening, rows, stamp, ticker

SKEW = 60  # seconds that the time of a request may be off
SPEEDS = {"100ms": (100 * MILLI, 100), "20ms": (20 * MILLI, 20)}
"""How often the changes of a book are told, and of how many levels of a side."""
DEPTHS = ("5", "10", "20", "30", "50", "100")
PERIODS = {"100ms": 100 * MILLI, "1000ms": SECOND}
OBU = 75_000_000_000  # how far the count of ``spot.obu`` is ahead of the other books'
DETAILS = {"spot.candlesticks": 1, "spot.order_book": 2, "spot.order_book_update": 1}
"""Channels whose request names one market, and with how many words beside it; the others name any number of markets."""


class Call(msgspec.Struct):
    """A message of the client."""

    channel: str
    time: int = 0
    event: str = ""
    payload: list[str] = []
    id: int | None = None


class GateSession(TopicSession):
    """One connection. The exchange pings by frames of the protocol, and is owed no more."""

    def __init__(self, source: Source, symbols: Mapping[str, str]) -> None:
        super().__init__()
        self._source = source
        self._pairs = {name: source.pairs[symbol] for name, symbol in symbols.items()}
        self._channels: dict[str, Callable[..., Maker]] = {
            "spot.trades": self._trades,
            "spot.tickers": self._tickers,
            "spot.book_ticker": self._quotes,
            "spot.candlesticks": self._candles,
            "spot.order_book": self._wholes,
            "spot.order_book_update": self._changes,
            "spot.obu": self._obu,
        }

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """The answer to a request."""
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.DecodeError:
            return [_reply(Call(""), now, (1, "invalid request body"))]
        if call.channel == "spot.ping":
            return [_said("spot.pong", "", None, now, error=None)]
        return [self._answer(call, now)]

    def unknown(self, now: Nanos) -> bytes:
        """A channel that the documentation does not have."""
        return _said("spot.weather", "update", {"fog": True}, now)

    def farewell(self, now: Nanos) -> bytes | None:
        """The announcement of an upgrade, which names no channel."""
        told = "The connection will soon be closed for a service upgrade. Please reconnect."
        return text({"type": "upgrade", "msg": told})

    def _answer(self, call: Call, now: Nanos) -> bytes:
        if abs(call.time - now // SECOND) > SKEW:
            return _reply(call, now, (2, "invalid argument: time"))
        if call.event not in ("subscribe", "unsubscribe"):
            return _reply(call, now, (2, f"unknown event: {call.event[:40]}"))
        try:
            topics = self._asked(call)
        except Refusal as refusal:
            return _reply(call, now, (2, str(refusal.body)))
        for topic, maker in topics.items():
            if call.event == "subscribe":
                self.begin(topic, maker)
            else:
                self.end(topic)
        return _reply(call, now)

    def _asked(self, call: Call) -> dict[str, Maker]:
        """The topics that a request names; a bad one fails all of them.

        Raises:
            Refusal: one of them cannot be had.
        """
        if call.channel not in self._channels:
            raise Refusal(f"unknown channel: {call.channel[:40]}")
        named = [call.payload] if call.channel in DETAILS else [[name] for name in call.payload]
        if not named or any(len(words) != 1 + DETAILS.get(call.channel, 0) for words in named):
            raise Refusal("invalid argument: payload")
        topics = {" ".join([call.channel, *words]): self._channels[call.channel](*words) for words in named}
        if call.channel == "spot.obu" and call.event == "subscribe" and topics.keys() & self._topics.keys():
            raise Refusal(f"Alert sub {' '.join(call.payload)}")
        return topics

    def _named(self, name: str) -> Pair:
        if name not in self._pairs:
            raise Refusal(f"unknown currency pair: {name[:40]}")
        return self._pairs[name]

    def _trades(self, name: str) -> Maker:
        return trades(self._source, self._named(name).symbol, lambda trade: _traded(name, trade))

    def _quotes(self, name: str) -> Maker:
        return quotes(self._source, self._named(name).symbol, lambda quote: _quoted(name, quote))

    def _tickers(self, name: str) -> Maker:
        source, pair = self._source, self._named(name)
        return timed(SECOND, lambda at: _said("spot.tickers", "update", ticker(source, pair, at, sizes=False), at))

    def _candles(self, interval: str, name: str) -> Maker:
        """The running candle every two seconds, and at its end."""
        symbol, told = self._named(name).symbol, f"{interval}_{name}"
        if interval not in LENGTHS:
            raise Refusal(f"invalid interval: {interval[:40]}")

        def write(at: Nanos) -> bytes:
            opens = opening(at - 1, interval)
            span = self._source.span(symbol, opens, at)
            return _said("spot.candlesticks", "update", _bar(span, told, closed=at == opens + LENGTHS[interval]), at)

        return timed(2 * SECOND, write)

    def _wholes(self, name: str, depth: str, period: str) -> Maker:
        """The best levels again and again."""
        source, symbol = self._source, self._named(name).symbol
        if depth not in DEPTHS or period not in PERIODS:
            raise Refusal(f"invalid argument: {depth} {period}"[:60])

        def write(at: Nanos) -> bytes:
            bids, asks = whole(source, symbol, at, int(depth))
            head = {"t": at // MILLI, "lastUpdateId": source.update(symbol, at), "s": name, "l": depth}
            return _said("spot.order_book", "update", {**head, "bids": rows(bids), "asks": rows(asks)}, at)

        return timed(PERIODS[period], write)

    def _changes(self, name: str, speed: str) -> Maker:
        """What changed, for any book from the message before on."""
        source, symbol = self._source, self._named(name).symbol
        if speed not in SPEEDS:
            raise Refusal(f"invalid interval: {speed[:40]}")
        every, depth = SPEEDS[speed]

        def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
            for at in ticks(start, end, every):
                before, after = source.update(symbol, at - every), source.update(symbol, at)
                if before != after:
                    bids, asks = _between(source, symbol, (before, after), depth)
                    head = {"t": at // MILLI, "e": "depthUpdate", "E": at // SECOND, "s": name, "l": str(depth)}
                    sides = {"U": before + 1, "u": after, "b": rows(bids), "a": rows(asks)}
                    yield _said("spot.order_book_update", "update", {**head, **sides}, at)

        return make

    def _obu(self, topic: str) -> Maker:
        """A whole book, then what changed in it; an unknown one is accepted and stays silent."""
        found = re.fullmatch(r"ob\.(\w+)\.(50|400)", topic)
        if not found or found[1] not in self._pairs:
            return lambda start, end: iter(())
        source, symbol, depth = self._source, self._pairs[found[1]].symbol, int(found[2])
        every, since = 20 * MILLI if depth == 50 else 100 * MILLI, list[Nanos]()

        def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
            if not since:
                since.append(last_tick(start, every))
                yield _full(source, symbol, topic, since[0], depth=depth)
            told = books(source, symbol, every, lambda change: _changed(topic, change), depth=depth, since=since[0])
            yield from told(start, end)

        return make


def _said(channel: str, event: str, result: object, at: Nanos, **more: object) -> bytes:
    head = {"time": at // SECOND, "time_ms": at // MILLI, "channel": channel, "event": event}
    return text({**head, "result": result, **more})


def _reply(call: Call, now: Nanos, error: tuple[int, str] | None = None) -> bytes:
    """An acknowledgement, or why not."""
    ident = {} if call.id is None else {"id": call.id}
    trace = f"{now:032x}"
    fault = {} if error is None else {"error": {"code": error[0], "message": error[1]}}
    return text({
        "time": now // SECOND, "time_ms": now // MILLI, **ident, "conn_id": trace[-16:], "trace_id": trace,
        "channel": call.channel, "event": call.event, "payload": call.payload, **fault,
        "result": {"status": "success" if error is None else "fail"}, "requestId": trace,
    })  # fmt: skip


def _traded(name: str, trade: Print) -> bytes:
    number, at, price, amount, buy = trade
    told = {
        "id": number + ELSEWHERE, "id_market": number, "create_time": at // SECOND, "create_time_ms": stamp(at),
        "side": "buy" if buy else "sell", "currency_pair": name, "amount": short(amount), "price": short(price),
        "range": f"{number}-{number}",
    }  # fmt: skip
    return _said("spot.trades", "update", told, at)


def _quoted(name: str, quote: Quote) -> bytes:
    update, at, bid, bids, ask, asks = quote
    sides = {"b": short(bid), "B": short(bids), "a": short(ask), "A": short(asks)}
    return _said("spot.book_ticker", "update", {"t": at // MILLI, "u": update, "s": name, **sides}, at)


def _bar(span: Span, name: str, *, closed: bool) -> dict[str, Any]:
    prices = {"c": short(span.close), "h": short(span.high), "l": short(span.low), "o": short(span.open)}
    volumes = {"v": plain(span.quote_volume), "a": plain(span.volume)}
    return {"t": str(span.start // SECOND), **volumes, **prices, "n": name, "w": closed}


def _between(source: Source, symbol: str, updates: tuple[int, int], depth: int) -> tuple[Levels, Levels]:
    """Every level that changed on the way between two updates, or came into or fell out of the best, as it is now."""
    touched = source.changes(symbol, *updates)
    then, now = (source.book(symbol, update) for update in updates)
    sides = zip(touched, then, now, strict=True)
    bids, asks = (_side(moved, dict(before[:depth]), dict(after[:depth])) for moved, before, after in sides)
    return bids, asks


def _side(moved: Levels, before: dict[int, int], after: dict[int, int]) -> Levels:
    prices = {price for price, _ in moved} | {
        price for price in before | after if (price in before) != (price in after)
    }
    return [(price, after.get(price, 0)) for price in sorted(prices)]


def _full(source: Source, symbol: str, topic: str, at: Nanos, *, depth: int) -> bytes:
    bids, asks = whole(source, symbol, at, depth)
    head = {"t": at // MILLI, "full": True, "s": topic, "u": source.update(symbol, at) + OBU}
    return _said("spot.obu", "update", {**head, "b": rows(bids), "a": rows(asks)}, at)


def _changed(topic: str, change: Change) -> bytes:
    numbers = {"U": change.before + OBU + 1, "u": change.after + OBU}
    head = {"t": change.at // MILLI, "s": topic, **numbers}
    return _said("spot.obu", "update", {**head, "b": rows(change.bids), "a": rows(change.asks)}, change.at)
