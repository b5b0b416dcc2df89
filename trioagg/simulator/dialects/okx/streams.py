"""OKX's WebSockets: two sockets with channels of their own, one acknowledgement for each argument, bare pings."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import Hangup, Print, Quote, Source
from trioagg.simulator.dialects._kit import (
    HOUR,
    MILLI,
    MINUTE,
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
    timed,
    trades,
    whole,
)
from trioagg.simulator.dialects.okx import rows

PUBLIC, BUSINESS = "/ws/v5/public", "/ws/v5/business"
EVERY = 100 * MILLI  # between two messages of a book or a ticker
DEPTH = 400
SILENCE = 30  # seconds without a word to the client after which the connection ends
OPERATIONS = 480  # in an hour
LONGEST = 65_536  # bytes of a request

PERIODS = {"mark-price": 200 * MILLI, "funding-rate": MINUTE, "open-interest": 3 * SECOND}
OF_INSTRUMENTS = ("trades", "tickers", "books", "books5", "bbo-tbt", *PERIODS)
OF_SWAPS = ("funding-rate", "open-interest")
OF_TYPES = ("liquidation-orders", "instruments", "status")
FOR_PAYING = ("books-l2-tbt", "books50-l2-tbt")
CANDLES = {f"candle{bar}": bar for bar in rows.BARS}
ON_BUSINESS = ("trades-all", *CANDLES)

Arg = dict[str, Any]


class Call(msgspec.Struct):
    """A message of the client."""

    op: str
    args: list[Arg] = []
    id: str | int | None = None


class OkxSession(TopicSession):
    """One connection to either socket.

    Args:
        symbols: OKX's spelling → the symbol.
        connection: what the exchange calls it.
    """

    def __init__(self, source: Source, symbols: Mapping[str, str], *, business: bool, connection: str) -> None:
        super().__init__()
        self._source, self._symbols = source, symbols
        self._business, self._connection = business, connection
        self._operations: deque[Nanos] = deque(maxlen=OPERATIONS)
        self._spoke: Nanos | None = None

    def received(self, text: str, now: Nanos) -> Sequence[bytes]:
        """The replies to one message; an answer is a word too."""
        self._spoke = now
        return super().received(text, now)

    def frames(self, start: Nanos, end: Nanos) -> list[bytes]:
        """Every topic's frames; the connection ends when there was nothing to say for too long."""
        said = super().frames(start, end)
        if said or self._spoke is None:
            self._spoke = end if said else start
        if end - self._spoke > SILENCE * SECOND:
            raise Hangup(4004, f"No data received in {SILENCE}s.")
        return said

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """``pong``; or an acknowledgement or a refusal for each argument, and what its channel begins with."""
        if text == "ping":
            return [b"pong"]
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.DecodeError:
            return [self._error(None, "60012", f"Invalid request: {text[:200]}")]
        if problem := self._problem(call, len(text), now):
            return [self._error(call, *problem)]
        one = self._subscribe if call.op == "subscribe" else self._unsubscribe
        return [frame for arg in call.args for frame in one(call, arg, now)]

    def farewell(self, now: Nanos) -> bytes:
        """The notice of a service upgrade."""
        reason = "The connection will soon be closed for a service upgrade. Please reconnect."
        return text({"event": "notice", "code": "64008", "msg": reason, "connId": self._connection})

    def unknown(self, now: Nanos) -> bytes:
        """A channel that the documentation does not have."""
        return text({"arg": {"channel": "weather", "instId": "BTC-USDT"}, "data": [{"fog": "1", "ts": rows.ms(now)}]})

    def _problem(self, call: Call, length: int, now: Nanos) -> tuple[str, str] | None:
        """What is wrong with a request as a whole."""
        if call.op not in ("subscribe", "unsubscribe"):
            return "60019", f"Invalid op: {call.op[:100]}"
        if not call.args:
            return "60013", "Invalid args"
        if length > LONGEST:
            return "60012", "Invalid request: longer than 64 KB"
        if len(self._operations) == OPERATIONS and now - self._operations[0] < HOUR:
            return "60014", "Requests too frequent"
        self._operations.append(now)
        return None

    def _subscribe(self, call: Call, arg: Arg, now: Nanos) -> list[bytes]:
        if problem := self._refused(arg):
            return [self._error(call, *problem)]
        topic, ack = _topic(arg), self._ack(call, arg)
        if topic in self._topics:
            return [ack]
        maker, first = Talk(self._source, self._symbols, arg).begun(now)
        self.begin(topic, maker)
        return [ack, *first]

    def _unsubscribe(self, call: Call, arg: Arg, now: Nanos) -> list[bytes]:
        if problem := self._refused(arg):
            return [self._error(call, *problem)]
        self.end(_topic(arg))
        return [self._ack(call, arg)]

    def _refused(self, arg: Arg) -> tuple[str, str] | None:
        """What is wrong with an argument."""
        channel, name = str(arg.get("channel", "")), str(arg.get("instId", ""))
        if channel in FOR_PAYING:
            return "64003", "Your trading fee tier doesn't meet the requirement to access this channel."
        if channel in ON_BUSINESS and not self._business:
            return "64001", "This channel has been migrated to the '/business' URL. Please subscribe using the new URL."
        ours = ON_BUSINESS if self._business else (*OF_INSTRUMENTS, *OF_TYPES)
        there = channel in OF_TYPES or name in self._symbols
        if channel in ours and there and not (channel in OF_SWAPS and not name.endswith("-SWAP")):
            return None
        what = ",".join(f"{key}:{value}" for key, value in arg.items())
        advice = "Please use the correct URL, channel and parameters referring to API document."
        return "60018", f"Wrong URL or {what[:200]} doesn't exist. {advice}"

    def _ack(self, call: Call, arg: Arg) -> bytes:
        return text({**_ident(call), "event": call.op, "arg": arg, "connId": self._connection})

    def _error(self, call: Call | None, code: str, reason: str) -> bytes:
        ident = _ident(call) if call else {}
        return text({**ident, "event": "error", "code": code, "msg": reason, "connId": self._connection})


class Talk:
    """What one argument of a subscription brings."""

    def __init__(self, source: Source, symbols: Mapping[str, str], arg: Arg) -> None:
        self._source, self._symbols, self._arg = source, symbols, arg
        self._channel = str(arg["channel"])
        self._symbol = symbols.get(str(arg.get("instId", "")), "")

    def begun(self, now: Nanos) -> tuple[Maker, list[bytes]]:
        """What the channel says from now on, and what it begins with."""
        source, symbol, since = self._source, self._symbol, last_tick(now, EVERY)
        best = books(source, symbol, EVERY, lambda change: self._five(change.at), depth=5, since=since)
        talks: dict[str, tuple[Maker, Callable[[Nanos], bytes] | None]] = {
            **dict.fromkeys(("trades", "trades-all"), (trades(source, symbol, self._trade), None)),
            **{channel: (timed(period, self._period), self._period) for channel, period in PERIODS.items()},
            **dict.fromkeys(CANDLES, (self._candles, self._candle)),
            "tickers": (self._tickers, self._ticker),
            "bbo-tbt": (quotes(source, symbol, self._best), lambda at: self._best(source.quote(symbol, at))),
            "books": (self._books(since), self._snapshot),
            "books5": (best, self._five),
            "liquidation-orders": (self._liquidations, None),
        }
        maker, first = talks.get(self._channel, (_nothing, None))
        return maker, [first(since)] if first else []

    def _push(self, *data: object, **more: object) -> bytes:
        return text({"arg": self._arg, **more, "data": data})

    def _trade(self, told: Print) -> bytes:
        """The aggregated channel tells each match by itself here, with how many it stands for."""
        more = {"count": "1", "seqId": self._source.update(self._symbol, told[1])} if self._channel == "trades" else {}
        return self._push({**rows.trade(self._symbol, told), **more})

    def _tickers(self, start: Nanos, end: Nanos) -> Iterator[bytes]:
        """At most ten a second, where a trade came or the best prices changed."""
        for at in ticks(start, end, EVERY):
            if any(told(self._symbol, at) != told(self._symbol, at - EVERY) for told in self._counts):
                yield self._ticker(at)

    @property
    def _counts(self) -> Sequence[Any]:
        return self._source.before, self._source.update

    def _ticker(self, at: Nanos) -> bytes:
        return self._push(rows.ticker(self._source, self._symbol, at))

    def _best(self, quote: Quote) -> bytes:
        number, at, bid, bids, ask, asks = quote
        sides = (rows.levels(self._symbol, [level]) for level in ((ask, asks), (bid, bids)))
        return self._push({**dict(zip(("asks", "bids"), sides, strict=True)), "ts": rows.ms(at), "seqId": number})

    def _books(self, since: Nanos) -> Maker:
        """What changed; and that nothing did for a minute."""
        source, symbol = self._source, self._symbol
        changes = books(source, symbol, EVERY, self._update, depth=DEPTH, since=since)

        def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
            for at in ticks(start, end, MINUTE):
                yield from changes(start, at)
                start = at
                if (number := source.update(symbol, at)) == source.update(symbol, at - MINUTE):
                    yield self._update(Change(at, number, number, [], [], ([], [])))
            yield from changes(start, end)

        return make

    def _snapshot(self, at: Nanos) -> bytes:
        numbers = {"checksum": 0, "prevSeqId": -1, "seqId": self._source.update(self._symbol, at)}
        return self._push({**self._sides(at, DEPTH), **numbers}, action="snapshot")

    def _update(self, change: Change) -> bytes:
        bids, asks = (rows.levels(self._symbol, side) for side in (change.bids, change.asks))
        numbers = {"checksum": 0, "prevSeqId": change.before, "seqId": change.after}
        return self._push({"asks": asks, "bids": bids, "ts": rows.ms(change.at), **numbers}, action="update")

    def _five(self, at: Nanos) -> bytes:
        number = self._source.update(self._symbol, at)
        return self._push({**self._sides(at, 5), "instId": rows.native(self._symbol), "seqId": number})

    def _sides(self, at: Nanos, depth: int) -> dict[str, Any]:
        bids, asks = (rows.levels(self._symbol, side) for side in whole(self._source, self._symbol, at, depth))
        return {"asks": asks, "bids": bids, "ts": rows.ms(at)}

    def _period(self, at: Nanos) -> bytes:
        match self._channel:
            case "funding-rate":
                return self._push(rows.rate(self._symbol, at))
            case "open-interest":
                return self._push(rows.open_interest(self._source, self._symbol, at))
        return self._push(rows.mark(self._source, self._symbol, at))

    def _candles(self, start: Nanos, end: Nanos) -> Iterator[bytes]:
        """The running candle every second, and once more at its end."""
        return (self._candle(at) for at in ticks(start, end, SECOND))

    def _candle(self, at: Nanos) -> bytes:
        bar = CANDLES[self._channel]
        span = self._source.span(self._symbol, rows.opening(bar, at - 1), at)
        return self._push(rows.candle(self._symbol, span, closed=rows.opening(bar, at) == at))

    def _liquidations(self, start: Nanos, end: Nanos) -> Iterator[bytes]:
        """Those of every instrument of the type."""
        for symbol in self._symbols.values():
            if rows.kind(symbol) == "SWAP" == self._arg.get("instType"):
                yield from forced(self._source, symbol, partial(self._closing, symbol))(start, end)

    def _closing(self, symbol: str, told: Print) -> bytes:
        return self._push(rows.liquidation(symbol, told))


def _nothing(*_: Nanos) -> Iterator[bytes]:
    return iter(())


def _topic(arg: Arg) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(arg.items()))


def _ident(call: Call) -> dict[str, Any]:
    return {} if call.id is None else {"id": str(call.id)}
