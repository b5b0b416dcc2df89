"""Bybit's WebSocket: one product per connection, topics, and what each of them says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import Levels, Quote, Span
from trioagg.simulator.dialects._kit import (
    MILLI,
    SECOND,
    Change,
    Maker,
    TopicSession,
    books,
    forced,
    last_tick,
    quotes,
    text,
    ticks,
    trades,
    whole,
)
from trioagg.simulator.dialects.bybit.markets import INTERVALS, Listed

MOST = 10  # topics in one request, on spot
EVERY = {50: 20 * MILLI, 200: 100 * MILLI, 1000: 200 * MILLI}  # between two messages of a book
IDLE = 3 * SECOND  # after which linear's best prices come again
_TOPIC = re.compile(r"(publicTrade|tickers|allLiquidation|orderbook\.\d+|kline\.\w+)\.([A-Z0-9]+)")


class Call(msgspec.Struct):
    """A message of the client; some send times with a ping, and numbers as numbers."""

    op: str
    args: list[str | int] = []
    req_id: str | int = ""

    @property
    def topics(self) -> list[str]:
        """What it is about."""
        return [str(word) for word in self.args]


class BybitSession(TopicSession):
    """One connection to a product."""

    patience = 600.0

    def __init__(self, markets: Mapping[str, Listed], product: str) -> None:
        super().__init__()
        self._markets, self._product = markets, product

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """One reply for a request, whatever the number of its topics, and the snapshots."""
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.DecodeError:
            return [self._reply(Call(""), "error:invalid request", success=False)]
        match call.op:
            case "ping":
                return [self._reply(call, "pong")]
            case "subscribe":
                return self._subscribe(call, now)
            case "unsubscribe":
                for topic in call.topics:
                    self.end(topic)
                return [self._reply(call, "subscribe" if self._product == "spot" else "")]
        return [self._reply(call, f"error:unknown op,op:{call.op}", success=False)]

    def unknown(self, now: Nanos) -> bytes:
        """A topic that the documentation does not have."""
        return text({"topic": "weather.BTCUSDT", "type": "snapshot", "ts": now // MILLI, "data": {"fog": True}})

    def _subscribe(self, call: Call, now: Nanos) -> list[bytes]:
        """All of its topics, or none of them where one is wrong."""
        if self._product == "spot" and len(call.args) > MOST:
            return [self._reply(call, f"args size >{MOST}", success=False)]
        for topic in call.topics:
            if problem := self._problem(topic):
                return [self._reply(call, f"error:{problem},topic:{topic}", success=False)]
        first = [frame for topic in call.topics for frame in self._add(topic, now)]
        return [self._reply(call, "subscribe" if self._product == "spot" else ""), *first]

    def _problem(self, topic: str) -> str:
        found = _TOPIC.fullmatch(topic)
        if not found or found[2] not in self._markets:
            return "handler not found"
        kind, _, detail = found[1].partition(".")
        known = {"orderbook": ["1", *map(str, EVERY)], "kline": INTERVALS}.get(kind, [""])
        if detail not in known or (kind == "allLiquidation" and self._product == "spot"):
            return "handler not found"
        return "already subscribed" if topic in self._topics else ""

    def _reply(self, call: Call, said: str, *, success: bool = True) -> bytes:
        """Spot leaves out the number of a request that had none."""
        ident = {"req_id": call.req_id} if call.req_id or self._product != "spot" else {}
        return text({"success": success, "ret_msg": said, "conn_id": f"{id(self):032x}", **ident, "op": call.op})

    def _add(self, topic: str, now: Nanos) -> list[bytes]:
        """Begin a topic; what it begins with."""
        kind, _, name = topic.rpartition(".")
        maker, first = _topic(self._markets[name], topic, kind, now)
        self.begin(topic, maker)
        return first


def _topic(market: Listed, topic: str, kind: str, now: Nanos) -> tuple[Maker, list[bytes]]:
    """What a topic says, and what it begins with."""
    source, symbol = market.source, market.pair.symbol
    kind, _, detail = kind.partition(".")
    match kind:
        case "publicTrade" | "allLiquidation":
            make, row = {"publicTrade": (trades, market.trade), "allLiquidation": (forced, market.forced)}[kind]
            return make(source, symbol, lambda t: _frame(market, topic, [row(t)], t[1])), []
        case "kline":
            return _candles(market, topic, detail), []
        case "tickers" if market.product == "spot":
            return _days(market, topic), [_frame(market, topic, market.day(now) | market.index(now), now, cs=0)]
        case "tickers":
            known = _ticker(market, now)
            return _changes(market, topic, dict(known)), [_frame(market, topic, known, now, cs=0)]
        case "orderbook" if detail == "1":
            return _tops(market, topic), [_top(market, topic, source.quote(symbol, now), now)]
    return _depth(market, topic, int(detail), now)


def _depth(market: Listed, topic: str, depth: int, now: Nanos) -> tuple[Maker, list[bytes]]:
    """A book: whole, then what changes, each message with the next number."""
    source, symbol, every, numbers = market.source, market.pair.symbol, EVERY[depth], count(now // MILLI)
    since = last_tick(now, every)
    first = _book(market, topic, whole(source, symbol, since, depth), next(numbers), at=since)

    def write(change: Change) -> bytes:
        sides = change.bids, change.asks
        return _book(market, topic, sides, next(numbers), at=change.at, kind="delta")

    return books(source, symbol, every, write, depth=depth, since=since), [first]


def _frame(market: Listed, topic: str, data: object, at: Nanos, *, kind: str = "snapshot", **more: object) -> bytes:
    """The products order it otherwise."""
    head: dict[str, Any] = {"topic": topic}
    if market.product == "spot":
        return text({**head, "ts": at // MILLI + 1, "type": kind, **more, "data": data})
    return text({**head, "type": kind, "ts": at // MILLI + 1, "data": data, **more})


def _book(
    market: Listed, topic: str, sides: tuple[Levels, Levels], number: int, *, at: Nanos, kind: str = "snapshot"
) -> bytes:
    bids, asks = map(market.levels, sides)
    data = {"s": market.native, "b": bids, "a": asks, "u": number, "seq": market.source.update(market.pair.symbol, at)}
    return _frame(market, topic, data, at, kind=kind, cts=at // MILLI)


def _top(market: Listed, topic: str, quote: Quote, at: Nanos) -> bytes:
    number, when, bid, bids, ask, asks = quote
    data = {"s": market.native, "b": market.levels([(bid, bids)]), "a": market.levels([(ask, asks)]), "u": number}
    return _frame(market, topic, data | {"seq": number}, at, cts=when // MILLI)


def _tops(market: Listed, topic: str) -> Maker:
    """Each change of the best prices, whole; linear tells them again where nothing changed for a while."""
    source, symbol = market.source, market.pair.symbol
    changes = quotes(source, symbol, lambda quote: _top(market, topic, quote, quote[1]))

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        yield from changes(start, end)
        for at in ticks(start, end, IDLE) if market.product != "spot" else ():
            quote = source.quote(symbol, at)
            if at - quote[1] >= IDLE:
                yield _top(market, topic, quote, at)

    return make


def _days(market: Listed, topic: str) -> Maker:
    """Spot's ticker, whole, wherever there was a trade."""
    every = 50 * MILLI

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(start, end, every):
            last = market.source.before(market.pair.symbol, at)
            if last != market.source.before(market.pair.symbol, at - every):
                yield _frame(market, topic, market.day(at) | market.index(at), at, cs=last)

    return make


def _ticker(market: Listed, at: Nanos) -> dict[str, str]:
    return market.day(at) | {"tickDirection": "PlusTick"} | market.contract(at) | market.quote(at)


def _changes(market: Listed, topic: str, known: dict[str, str]) -> Maker:
    """Linear's ticker: what is another than it was."""

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(start, end, 100 * MILLI):
            told = {name: word for name, word in _ticker(market, at).items() if known[name] != word}
            if told:
                known.update(told)
                last = market.source.before(market.pair.symbol, at)
                yield _frame(market, topic, {"symbol": market.native, **told}, at, kind="delta", cs=last)

    return make


def _candles(market: Listed, topic: str, interval: str) -> Maker:
    """The running candle every second, and once more at its end."""

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(start, end, SECOND):
            ends, span = market.bar(interval, at - 1)
            yield _frame(market, topic, [_bar(market, interval, span, ends, at=at)], at)

    return make


def _bar(market: Listed, interval: str, span: Span, ends: Nanos, *, at: Nanos) -> dict[str, Any]:
    prices = dict(zip(("open", "high", "low", "close"), market.prices(span), strict=True))
    head = {"start": span.start // MILLI, "end": ends // MILLI - 1, "interval": interval, **prices}
    volumes = {"volume": market.size(span.volume), "turnover": market.turnover(span)}
    return {**head, **volumes, "confirm": at >= ends, "timestamp": at // MILLI}
