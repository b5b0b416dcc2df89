"""Binance spot's WebSocket: stream names, subscriptions, and the frames of each kind of stream."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Hangup, Session, Source
from trioagg.simulator.dialects.binance import candles, text

Maker = Callable[[Nanos, Nanos], Iterator[bytes]]
"""What one stream says from a time to before another: bare payloads."""

SECOND = 10**9
_MILLI = 10**6
_DAY = 86_400 * SECOND
_MOST = 1024  # streams of one connection
_SENDS = 5  # messages that a client may send in a second
_AGGREGATE = 1_000_000  # aggregate ids lag behind trade ids, as they do at the real one


class Call(msgspec.Struct):
    """What a client sends."""

    method: str
    params: list[Any] | None = None
    id: int | str | None = None


def connect(target: str, source: Source, symbols: Mapping[str, str]) -> BinanceSession | None:
    """A session for ``/ws``, ``/ws/a/b``, ``/stream`` or ``/stream?streams=a/b``."""
    path, query = urlsplit(target).path.rstrip("/"), parse_qs(urlsplit(target).query)
    parts = [unquote(part) for part in path.split("/")[1:]]
    if parts[:1] == ["ws"]:
        return BinanceSession(source, symbols, parts[1:], combined=False)
    if parts == ["stream"]:
        return BinanceSession(source, symbols, query.get("streams", [""])[0].split("/"), combined=True)
    return None


class BinanceSession(Session):
    """One connection: its streams, and whether frames carry the stream's name."""

    def __init__(self, source: Source, symbols: Mapping[str, str], names: Sequence[str], *, combined: bool) -> None:
        self._source, self._symbols, self.combined = source, symbols, combined
        self._streams: dict[str, Maker] = {}
        self._calls: deque[Nanos] = deque(maxlen=_SENDS)
        for name in filter(None, names):
            self._add(name)

    @property
    def subscribed(self) -> bool:
        """Whether there is any stream."""
        return bool(self._streams)

    def frames(self, start: Nanos, end: Nanos) -> list[bytes]:
        """Every stream's frames, stream by stream."""
        if not self.combined:
            return [frame for make in self._streams.values() for frame in make(start, end)]
        frames: list[bytes] = []
        for name, make in self._streams.items():
            head = self._head(name)
            frames += [head + frame + b"}" for frame in make(start, end)]
        return frames

    def played(self, stream: str, data: bytes) -> bytes | None:
        """A recorded frame, with or without its stream's name."""
        if not stream:
            return data if self._streams else None
        if stream not in self._streams:
            return None
        return self._head(stream) + data + b"}" if self.combined else data

    def unknown(self, now: Nanos) -> bytes:
        """An event that the documentation does not have."""
        return self._dress("!weather@arr", b'{"e":"weatherReport","E":%d,"w":"fog"}' % (now // _MILLI))

    def farewell(self, now: Nanos) -> bytes | None:
        """``serverShutdown``."""
        return self._dress("!serverShutdown", b'{"e":"serverShutdown","E":%d}' % (now // _MILLI))

    def received(self, text: str, now: Nanos) -> Sequence[bytes]:
        """The reply to a request."""
        if len(self._calls) == _SENDS and now - self._calls[0] < SECOND:
            raise Hangup(1008, "Too many requests")
        self._calls.append(now)
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.ValidationError as error:
            return [_refuse(2, f"Invalid request: {error}", None)]
        except msgspec.DecodeError as error:
            return [_refuse(3, f"Invalid JSON: {error}", None)]
        return [self._reply(call)]

    def _reply(self, call: Call) -> bytes:
        params = call.params or []
        match call.method:
            case "SUBSCRIBE" | "UNSUBSCRIBE":
                return self._subscribe(call, params)
            case "LIST_SUBSCRIPTIONS":
                return _accept(list(self._streams), call.id)
            case "SET_PROPERTY" if params[:1] == ["combined"] and isinstance(params[-1], bool):
                self.combined = params[-1]
                return _accept(None, call.id)
            case "GET_PROPERTY" if params == ["combined"]:
                return _accept(self.combined, call.id)
            case "SET_PROPERTY" | "GET_PROPERTY":
                return _refuse(0, "Unknown property", call.id)
        return _refuse(2, f"Invalid request: unknown variant `{call.method}`", call.id)

    def _subscribe(self, call: Call, params: Sequence[Any]) -> bytes:
        if not params or not all(isinstance(name, str) and _readable(name) for name in params):
            return _refuse(2, "Invalid request: invalid stream", call.id)
        if len({*self._streams, *params}) > _MOST and call.method == "SUBSCRIBE":
            return _refuse(2, f"Invalid request: more than {_MOST} streams", call.id)
        for name in params:
            if call.method == "SUBSCRIBE":
                self._add(name)
            else:
                self._streams.pop(name, None)
        return _accept(None, call.id)

    def _add(self, name: str) -> None:
        """A stream of an unknown symbol, or with its symbol in capitals, is accepted and stays silent."""
        native, _, kind = name.partition("@")
        symbol = self._symbols.get(native.upper()) if native == native.lower() else None
        maker = _maker(self._source, symbol, native.upper(), kind) if symbol else None
        self._streams.setdefault(name, maker or _silence)

    def _dress(self, stream: str, data: bytes) -> bytes:
        return self._head(stream) + data + b"}" if self.combined else data

    @staticmethod
    def _head(stream: str) -> bytes:
        return b'{"stream":"%s","data":' % stream.encode()


def _readable(name: str) -> bool:
    return bool(re.fullmatch(r"[^@\s]+@[A-Za-z0-9_+:@]+", name))


def _accept(result: object, call: int | str | None) -> bytes:
    return msgspec.json.encode({"result": result, "id": call})


def _refuse(code: int, reason: str, call: int | str | None) -> bytes:
    return msgspec.json.encode({"code": code, "msg": reason, "id": call})


def _silence(_start: Nanos, _end: Nanos) -> Iterator[bytes]:
    return iter(())


def _maker(source: Source, symbol: str, native: str, kind: str) -> Maker | None:
    """The maker of one kind of stream, None for a kind that does not exist."""
    name = native.encode()
    plain = {"trade": trades, "aggTrade": aggregates, "bookTicker": quotes, "ticker": tickers, "miniTicker": minis}
    if make := plain.get(kind):
        return make(source, symbol, name)
    if found := re.fullmatch(r"kline_(\w+)", kind):
        return candles.stream(source, symbol, native, found[1]) if found[1] in candles.INTERVALS else None
    if found := re.fullmatch(r"depth(5|10|20)?(@100ms|@1000ms)?", kind):
        every = 100 * _MILLI if found[2] == "@100ms" else SECOND
        return partials(source, symbol, int(found[1]), every) if found[1] else diffs(source, symbol, name, every)
    return None


def trades(source: Source, symbol: str, name: bytes) -> Maker:
    """``trade``."""
    form = b'{"e":"trade","E":%d,"s":"' + name + b'","t":%d,"p":"%d.%08d","q":"%d.%08d","T":%d,"m":%b,"M":true}'

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        before = source.before
        for number, at, price, amount, buy in source.prints(symbol, before(symbol, start), before(symbol, end)):
            when = at // _MILLI
            yield form % (
                when + 1, number, price // SCALE, price % SCALE, amount // SCALE, amount % SCALE, when,
                b"false" if buy else b"true",
            )  # fmt: skip

    return make


def aggregates(source: Source, symbol: str, name: bytes) -> Maker:
    """``aggTrade``: here every aggregate is one trade."""
    form = b'{"e":"aggTrade","E":%d,"s":"' + name + b'","a":%d,"p":"%b","q":"%b","f":%d,"l":%d,"T":%d,"m":%b,"M":true}'

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        before = source.before
        for number, at, price, amount, buy in source.prints(symbol, before(symbol, start), before(symbol, end)):
            when, maker = at // _MILLI, b"false" if buy else b"true"
            figures = text.raw(price), text.raw(amount)
            yield form % (when + 1, aggregate(number), *figures, number, number, when, maker)

    return make


def aggregate(number: int) -> int:
    """The aggregate's id of a trade's."""
    return max(0, number - _AGGREGATE)


def disaggregate(number: int) -> int:
    """The trade's id of an aggregate's."""
    return number + _AGGREGATE


def quotes(source: Source, symbol: str, name: bytes) -> Maker:
    """``bookTicker``."""
    form = b'{"u":%d,"s":"' + name + b'","b":"%d.%08d","B":"%d.%08d","a":"%d.%08d","A":"%d.%08d"}'

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for update, _, bid, bids, ask, asks in source.quotes(symbol, start, end):
            yield form % (
                update, bid // SCALE, bid % SCALE, bids // SCALE, bids % SCALE,
                ask // SCALE, ask % SCALE, asks // SCALE, asks % SCALE,
            )  # fmt: skip

    return make


def ticks(start: Nanos, end: Nanos, every: Nanos) -> range:
    """The multiples of ``every`` from ``start`` to before ``end``."""
    return range(-(-start // every) * every, end, every)


def tickers(source: Source, symbol: str, name: bytes) -> Maker:
    """``ticker``, every second."""

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(start, end, SECOND):
            yield msgspec.json.encode(text.ticker(source, symbol, name.decode(), at))

    return make


def minis(source: Source, symbol: str, name: bytes) -> Maker:
    """``miniTicker``, every second."""

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(start, end, SECOND):
            yield msgspec.json.encode(text.mini(source, symbol, name.decode(), at))

    return make


def partials(source: Source, symbol: str, depth: int, every: Nanos) -> Maker:
    """``depth5``, ``depth10``, ``depth20``: the top of the book, whole."""

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(start, end, every):
            yield msgspec.json.encode(text.book(source, symbol, at, depth))

    return make


def diffs(source: Source, symbol: str, name: bytes, every: Nanos) -> Maker:
    """``depth``: what changed since the last one; ``U`` is the ``u`` before, plus one."""

    def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
        for at in ticks(start, end, every):
            before, after = source.update(symbol, at - every), source.update(symbol, at)
            if before != after:
                head = {"e": "depthUpdate", "E": at // _MILLI, "s": name.decode(), "U": before + 1, "u": after}
                yield msgspec.json.encode(head | text.changes(source, symbol, before, after))

    return make
