"""Binance USD-M's WebSocket: its roots, stream names, subscriptions, and the frames of each kind of stream.

A stream that its root does not carry, or of a market that is not there, is acknowledged and stays silent. Without a
root, a connection gets what ``/public`` carries.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import Hangup, Print, Quote, Source
from trioagg.simulator.dialects._kit import MILLI, SECOND, Maker, TopicSession, quotes, text, ticks, timed, trades
from trioagg.simulator.dialects.binance.candles import INTERVALS, bounds
from trioagg.simulator.dialects.binanceusdm.text import RAW, STRIDE, Contract

MOST = 1024  # streams of one connection
SENDS = 10  # messages that a client may send in a second
FORCED = 101  # every so many-th trade closes a position by force
PUBLIC = re.compile(r"depth\d*(@\w+)?|rpiDepth@500ms|bookTicker|trade")
SPEEDS = {"": 250 * MILLI, "@100ms": 100 * MILLI, "@250ms": 250 * MILLI, "@500ms": 500 * MILLI}


class Call(msgspec.Struct):
    """What a client sends."""

    method: str
    params: list[Any] | None = None
    id: int | str | None = None


def connect(target: str, source: Source, symbols: Mapping[str, str]) -> UsdmSession | None:
    """A session for ``/ROOT/ws``, ``/ROOT/ws/a/b``, ``/ROOT/stream`` or ``/ROOT/stream?streams=a/b``."""
    url = urlsplit(target)
    parts = [unquote(part) for part in url.path.strip("/").split("/")]
    root = parts.pop(0) if parts[0] in ("public", "market") else "public"
    if parts[:1] == ["ws"]:
        return UsdmSession(source, symbols, root, parts[1:], combined=False)
    if parts == ["stream"]:
        names = parse_qs(url.query).get("streams", [""])[0].split("/")
        return UsdmSession(source, symbols, root, names, combined=True)
    return None


class UsdmSession(TopicSession):
    """One connection below one root; ``combined``: frames carry their stream's name."""

    def __init__(
        self, source: Source, symbols: Mapping[str, str], root: str, names: Sequence[str], *, combined: bool
    ) -> None:
        super().__init__()
        self._source, self._root, self._combined = source, root, combined
        self._contracts = {name: Contract(source, source.pairs[symbol]) for name, symbol in symbols.items()}
        self._calls: deque[Nanos] = deque(maxlen=SENDS)
        for name in filter(None, names):
            self._add(name)

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """The reply to a request."""
        if len(self._calls) == SENDS and now - self._calls[0] < SECOND:
            raise Hangup(1008, "Too many requests")
        self._calls.append(now)
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.ValidationError as error:
            return [_refuse(2, f"Invalid request: {error}", None)]
        except msgspec.DecodeError as error:
            return [_refuse(3, f"Invalid JSON: {error}", None)]
        return [self._reply(call, call.params or [])]

    def unknown(self, now: Nanos) -> bytes:
        """An event that the documentation does not have."""
        return self._dress("!weather@arr", text({"e": "weatherReport", "E": now // MILLI, "w": "fog"}))

    def farewell(self, now: Nanos) -> bytes | None:
        """``serverShutdown``."""
        return self._dress("!serverShutdown", text({"e": "serverShutdown", "E": now // MILLI}))

    def _reply(self, call: Call, params: Sequence[Any]) -> bytes:
        match call.method:
            case "LIST_SUBSCRIPTIONS":
                return text({"result": list(self._topics), "id": call.id})
            case "SUBSCRIBE" | "UNSUBSCRIBE":
                return self._subscribe(call, params)
        return _refuse(2, f"Invalid request: unknown variant `{call.method}`", call.id)

    def _subscribe(self, call: Call, params: Sequence[Any]) -> bytes:
        if not params or not all(isinstance(name, str) and re.fullmatch(r"[\w!@]+", name) for name in params):
            return _refuse(2, "Invalid request: invalid stream", call.id)
        for name in params:
            if call.method == "UNSUBSCRIBE":
                self.end(name)
            elif name not in self._topics and len(self._topics) < MOST:
                self._add(name)
        return text({"result": None, "id": call.id})

    def _add(self, name: str) -> None:
        whose, _, kind = name.partition("@")
        every = list(self._contracts.values()) if whose.startswith("!") else []
        contract = self._contracts.get(whose.upper()) if whose == whose.lower() else None
        public = bool(PUBLIC.fullmatch(kind)) or whose == "!bookTicker"
        heard = public == (self._root == "public")
        maker = (self._of_all(every, whose, kind) if every else contract and _maker(contract, kind)) if heard else None
        self.begin(name, self._dressed(name, maker or _silence))

    def _of_all(self, contracts: Sequence[Contract], whose: str, kind: str) -> Maker | None:
        match whose, kind:
            case "!markPrice", "arr" | "arr@1s":
                every = SECOND if kind == "arr@1s" else 3 * SECOND
                return timed(every, lambda at: text([_mark(contract, at) for contract in contracts]))
            case "!ticker" | "!miniTicker", "arr":
                write = _day if whose == "!ticker" else _mini
                return timed(SECOND, lambda at: text([write(contract, at) for contract in contracts]))
            case "!forceOrder", "arr":
                return _chain([_forced(contract) for contract in contracts])
            case "!bookTicker", "":
                return _chain([_maker(contract, "bookTicker") or _silence for contract in contracts])
        return None

    def _dressed(self, name: str, maker: Maker) -> Maker:
        return lambda start, end: (self._dress(name, frame) for frame in maker(start, end))

    def _dress(self, stream: str, data: bytes) -> bytes:
        return b'{"stream":"%s","data":%s}' % (stream.encode(), data) if self._combined else data


def _refuse(code: int, reason: str, call: int | str | None) -> bytes:
    return text({"code": code, "msg": reason, "id": call})


def _silence(_start: Nanos, _end: Nanos) -> Iterator[bytes]:
    return iter(())


def _chain(makers: Sequence[Maker]) -> Maker:
    return lambda start, end: (frame for make in makers for frame in make(start, end))


def _maker(contract: Contract, kind: str) -> Maker | None:
    """The maker of one kind of stream, None for a kind that does not exist."""
    source, symbol = contract.source, contract.pair.symbol
    simple: dict[str, Callable[[], Maker]] = {
        "aggTrade": lambda: trades(source, symbol, lambda trade: _aggregate(contract, trade)),
        "trade": lambda: trades(source, symbol, lambda trade: _raw(contract, trade)),
        "bookTicker": lambda: quotes(source, symbol, lambda quote: _best(contract, quote)),
        "ticker": lambda: timed(2 * SECOND, lambda at: text(_day(contract, at))),
        "miniTicker": lambda: timed(2 * SECOND, lambda at: text(_mini(contract, at))),
        "markPrice": lambda: timed(3 * SECOND, lambda at: text(_mark(contract, at))),
        "markPrice@1s": lambda: timed(SECOND, lambda at: text(_mark(contract, at))),
        "forceOrder": lambda: _forced(contract),
    }
    if kind in simple:
        return simple[kind]()
    if kind.startswith("kline_"):
        interval = kind.removeprefix("kline_")
        return _klines(contract, interval) if interval in INTERVALS and interval != "1s" else None
    if found := re.fullmatch(r"(?:depth(5|10|20)?|rpiDepth)(@\d+ms)?", kind):
        every = SPEEDS.get(found[2] or "")
        return _depth(contract, every, int(found[1] or 0)) if every else None
    return None


def _aggregate(contract: Contract, trade: Print) -> bytes:
    head = {"e": "aggTrade", "E": trade[1] // MILLI + 1, "s": contract.name}
    return text({**head, **contract.dealt(trade), "st": 1})


def _raw(contract: Contract, trade: Print) -> bytes:
    number, at, price, amount, buy = trade
    return text({
        "e": "trade", "E": at // MILLI + 1, "T": at // MILLI, "s": contract.name, "t": number + RAW,
        "p": contract.price(price), "q": contract.amount(amount), "X": "MARKET", "m": not buy, "st": 1,
    })  # fmt: skip


def _best(contract: Contract, quote: Quote) -> bytes:
    update, at, bid, bids, ask, asks = quote
    return text({
        "e": "bookTicker", "u": update * STRIDE, "s": contract.name, "ps": contract.name,
        "b": contract.price(bid), "B": contract.amount(bids), "a": contract.price(ask), "A": contract.amount(asks),
        "T": at // MILLI, "E": at // MILLI + 1, "st": 1,
    })  # fmt: skip


def _mark(contract: Contract, at: Nanos) -> dict[str, Any]:
    mark, index = contract.mark(at)
    head = {"e": "markPriceUpdate", "E": at // MILLI, "s": contract.name}
    return {
        **head,
        "p": mark,
        "ap": mark,
        "i": index,
        "P": index,
        "r": contract.rate(at),
        "T": contract.due(at),
        "st": 1,
    }


def _day(contract: Contract, at: Nanos) -> dict[str, Any]:
    head = {"e": "24hrTicker", "E": at // MILLI, "s": contract.name, "ps": contract.name}
    return {**head, **contract.ticker(at), "st": 1}


def _mini(contract: Contract, at: Nanos) -> dict[str, Any]:
    told = contract.ticker(at)
    head = {"e": "24hrMiniTicker", "E": at // MILLI, "s": contract.name}
    return {**head, **{key: told[key] for key in "cohlvq"}, "st": 1}


def _klines(contract: Contract, interval: str) -> Maker:
    """The running candle four times a second, and its last state at its end."""

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(start, end, 250 * MILLI):
            opens, closes = bounds(interval, at - 1)
            yield _kline(contract, interval, opens=opens, closes=closes, at=at)

    return make


def _kline(contract: Contract, interval: str, *, opens: Nanos, closes: Nanos, at: Nanos) -> bytes:
    span = contract.source.span(contract.pair.symbol, opens, at)
    first, last = (span.first + RAW, span.last + RAW) if span.count else (-1, -1)
    figures = dict(zip("ohlcvqnVQ", contract.candle(span), strict=True))
    k = {"t": opens // MILLI, "T": closes // MILLI - 1, "s": contract.name, "i": interval, "f": first, "L": last}
    told = {"e": "kline", "E": at // MILLI, "s": contract.name, "k": {**k, **figures, "x": at == closes, "B": "0"}}
    return text({**told, "st": 1})


def _depth(contract: Contract, every: Nanos, depth: int) -> Maker:
    """What changed since the last message, for any book from then on; with a depth, the best levels whole."""
    source, symbol = contract.source, contract.pair.symbol

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(start, end, every):
            before, after = source.update(symbol, at - every), source.update(symbol, at)
            if before != after:
                sides = [side[:depth] for side in source.book(symbol, after)] if depth else None
                bids, asks = sides or source.changes(symbol, before, after)
                numbers = {"U": before * STRIDE + 3, "u": after * STRIDE, "pu": before * STRIDE}
                head = {"e": "depthUpdate", "E": at // MILLI + 3, "T": at // MILLI, "s": contract.name}
                levels = {"b": contract.rows(bids), "a": contract.rows(asks)}
                yield text({**head, "ps": contract.name, **numbers, **levels, "st": 1})

    return make


def _forced(contract: Contract) -> Maker:
    """Once a second the latest liquidation, where there was any."""
    source, symbol = contract.source, contract.pair.symbol

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(start, end, SECOND):
            last = (source.before(symbol, at) - 1) // FORCED * FORCED
            if last >= source.before(symbol, at - SECOND):
                yield from (_order(contract, trade, at) for trade in source.prints(symbol, last, last + 1))

    return make


def _order(contract: Contract, trade: Print, at: Nanos) -> bytes:
    _, when, price, amount, buy = trade
    size, limit = contract.amount(amount), contract.price(price * 101 // 100 if buy else price * 99 // 100)
    order = {
        "s": contract.name, "S": "BUY" if buy else "SELL", "o": "LIMIT", "f": "IOC", "q": size, "p": limit,
        "ap": contract.price(price), "X": "FILLED", "l": size, "z": size, "T": when // MILLI,
    }  # fmt: skip
    return text({"e": "forceOrder", "E": at // MILLI, "o": order, "ps": contract.name, "st": 1})
