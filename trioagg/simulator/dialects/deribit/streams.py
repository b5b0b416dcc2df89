"""Deribit's WebSocket: calls, heartbeats that must be answered, and notifications of channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import Hangup, Levels, Pair, Quote, Span
from trioagg.simulator.dialects._kit import (
    MILLI,
    SECOND,
    Change,
    Maker,
    TopicSession,
    books,
    candles,
    funding,
    last_tick,
    quotes,
    text,
    ticks,
    timed,
    whole,
)
from trioagg.simulator.dialects.deribit import rows
from trioagg.simulator.dialects.deribit.methods import LENGTHS, Call, Complaint, Methods, enveloped

EVERY = 100 * MILLI  # between two notifications of a channel
DEEP = 10_000  # levels of a side in a whole book
MOST = 500  # channels in one request
PATIENCE = 10 * SECOND  # for the answer to a test
PACES = ("100ms", "agg2")
GROUPS = ("none", "1", "2", "5", "10", "25", "100", "250")
WINDOWS = ("1", "10", "20")
KINDS = ("any", "future", "spot", "option", "future_combo", "option_combo")

Write = Callable[[Nanos], bytes]
Talk = tuple[Maker, list[bytes]]
"""What a channel says, and what it begins with."""


class DeribitSession(TopicSession):
    """One connection."""

    def __init__(self, methods: Methods) -> None:
        super().__init__()
        self._methods = methods
        self._beat: tuple[Nanos, Nanos] | None = None
        self._tested: Nanos | None = None

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """The answer, and what new channels begin with."""
        self._tested = None
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.ValidationError:
            return [_answer(None, Complaint(-32600, "Invalid Request"), now)]
        except msgspec.DecodeError:
            return [_answer(None, Complaint(-32700, "Parse error"), now)]
        try:
            result, first = self._called(call, now)
        except Complaint as complaint:
            return [_answer(call.id, complaint, now)]
        return [_answer(call.id, result, now), *first]

    def unasked(self, start: Nanos, end: Nanos) -> Sequence[bytes]:
        """Heartbeats, where they were asked for, and a test of a client that said nothing since the one before."""
        if self._tested is not None and end - self._tested > PATIENCE:
            raise Hangup(1000, "the test request was not answered")
        if self._beat is None:
            return []
        (since, every), told = self._beat, list[bytes]()
        for at in range(since + max(1, -(-(start - since) // every)) * every, end, every):
            told.append(_beat("heartbeat"))
            if self._heard is not None and at - self._heard >= every and self._tested is None:
                self._tested = at
                told.append(_beat("test_request"))
        return told

    def unknown(self, now: Nanos) -> bytes:
        """A channel that the documentation does not have."""
        return _push("weather.btc_usd", {"timestamp": now // MILLI, "fog": True})

    def _called(self, call: Call, now: Nanos) -> tuple[object, list[bytes]]:
        match call.method:
            case "public/subscribe":
                return self._subscribed(_channels(call), now)
            case "public/unsubscribe":
                return self._ended(_channels(call)), []
            case "public/unsubscribe_all":
                self._ended(list(self._topics))
                return "ok", []
            case "public/set_heartbeat" | "public/disable_heartbeat":
                return self._paced(call, now), []
            case "public/hello":
                return {"version": "1.2.26"}, []
        return self._methods.call(call.method, call.words(), now), []

    def _paced(self, call: Call, now: Nanos) -> str:
        every = call.params.get("interval")
        if call.method == "public/disable_heartbeat":
            self._beat = None
        elif isinstance(every, int) and every >= 10:
            self._beat = now, every * SECOND
        else:
            raise Complaint(-32602, "Invalid params", reason="value is too low", param="interval")
        return "ok"

    def _subscribed(self, channels: list[str], now: Nanos) -> tuple[list[str], list[bytes]]:
        """Unknown channels are left out without a word; the others in another order."""
        if any(channel.endswith(".raw") for channel in channels):
            raise Complaint(13778, "raw_subscriptions_not_available_for_unauthorized")
        heard, first = list[str](), list[bytes]()
        for channel in sorted(set(channels), reverse=True):
            if channel in self._topics:
                heard.append(channel)
            elif talk := Channels(self._methods).talk(channel, now):
                self.begin(channel, talk[0])
                heard.append(channel)
                first += talk[1]
        return heard, first

    def _ended(self, channels: list[str]) -> list[str]:
        ended = [channel for channel in channels if channel in self._topics]
        for channel in ended:
            self.end(channel)
        return ended


class Channels:
    """What channels say."""

    def __init__(self, methods: Methods) -> None:
        self._methods, self._source, self._symbols = methods, methods.source, methods.symbols

    def talk(self, channel: str, now: Nanos) -> Talk | None:
        """What a channel says from now on; None where there is no such channel."""
        at, found = last_tick(now, EVERY), None
        match channel.split("."):
            case ["trades", name, pace] if name in self._symbols and pace in PACES:
                found = self._trades(channel, [self._pair(name)]), list[bytes]()
            case ["trades", kind, currency, pace] if kind in KINDS and pace in PACES:
                found = self._trades(channel, self._methods.pairs(kind, currency)), []
            case ["chart", "trades", name, resolution] if name in self._symbols and resolution in LENGTHS:
                found = self._chart(channel, self._pair(name), resolution, now)
            case ["platform_state" | "instrument_state" | "announcements", *_]:
                found = (lambda start, end: iter(())), []
            case ["deribit_price_index", name]:
                found = self._index(channel, name, at)
            case [kind, name, *rest] if name in self._symbols:
                found = self._of_one(channel, self._pair(name), (kind, *rest), at)
        return found

    def _of_one(self, channel: str, pair: Pair, words: tuple[str, ...], at: Nanos) -> Talk | None:
        match words:
            case ("quote",):
                return self._quotes(channel, pair, at)
            case ("ticker", pace) if pace in PACES:
                return self._changing(pair, lambda moment: self._ticker(channel, pair, moment), at)
            case ("book", pace) if pace in PACES:
                return self._book(channel, pair, at)
            case ("book", group, depth, pace) if group in GROUPS and depth in WINDOWS and pace in PACES:
                return self._changing(pair, lambda moment: self._window(channel, pair, (group, depth), moment), at)
            case ("perpetual", pace) if pace in PACES and rows.kind(pair.symbol) == "future":
                return _timed(lambda moment: self._perpetual(channel, pair, moment), at)
        return None

    def _pair(self, name: str) -> Pair:
        return self._source.pairs[self._symbols[name]]

    def _trades(self, channel: str, pairs: Sequence[Pair]) -> Maker:
        """Those of a tenth of a second in one notification, for each instrument."""

        def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
            for at in ticks(start + 1, end + 1, EVERY):
                for pair in pairs:
                    first, after = (self._source.before(pair.symbol, moment) for moment in (at - EVERY, at))
                    if told := list(self._source.prints(pair.symbol, first, after)):
                        yield _push(channel, [rows.trade(self._source, pair, trade) for trade in told])

        return make

    def _changing(self, pair: Pair, write: Write, at: Nanos) -> Talk:
        """A notification at every tick before which a trade came or the book changed."""
        counts = self._source.before, self._source.update

        def make(start: Nanos, end: Nanos) -> Iterator[bytes]:
            for moment in ticks(start, end, EVERY):
                if any(count(pair.symbol, moment) != count(pair.symbol, moment - EVERY) for count in counts):
                    yield write(moment)

        return make, [write(at)]

    def _quotes(self, channel: str, pair: Pair, at: Nanos) -> Talk:
        def write(told: Quote) -> bytes:
            return _push(channel, rows.quote(pair, told))

        return quotes(self._source, pair.symbol, write), [write(self._source.quote(pair.symbol, at))]

    def _ticker(self, channel: str, pair: Pair, at: Nanos) -> bytes:
        return _push(channel, rows.ticker(self._source, pair, at))

    def _book(self, channel: str, pair: Pair, at: Nanos) -> Talk:
        """Whole at first, then what changed: each names the one before it."""

        def write(change: Change) -> bytes:
            then = whole(self._source, pair.symbol, change.at - EVERY, DEEP)
            bids, asks = (_became(pair, *side) for side in zip((change.bids, change.asks), then, strict=True))
            numbers = {"prev_change_id": change.before, "change_id": change.after}
            facts = {"type": "change", **_facts(pair, change.at), **numbers}
            return _push(channel, {**facts, "bids": bids, "asks": asks})

        bids, asks = (_became(pair, side, []) for side in whole(self._source, pair.symbol, at, DEEP))
        facts = {"type": "snapshot", **_facts(pair, at), "change_id": self._source.update(pair.symbol, at)}
        first = _push(channel, {**facts, "bids": bids, "asks": asks})
        return books(self._source, pair.symbol, EVERY, write, depth=DEEP, since=at), [first]

    def _window(self, channel: str, pair: Pair, shape: tuple[str, str], at: Nanos) -> bytes:
        """So many levels of a side, whole each time, put together by so many ticks."""
        group, depth = shape
        width = pair.tick * (1 if group == "none" else int(group))
        bids, asks = whole(self._source, pair.symbol, at, DEEP)
        sides = _grouped(bids, width, up=False), _grouped(asks, width, up=True)
        told = [rows.levels(pair, side[: int(depth)]) for side in sides]
        facts = {**_facts(pair, at), "change_id": self._source.update(pair.symbol, at)}
        return _push(channel, {**facts, "bids": told[0], "asks": told[1]})

    def _chart(self, channel: str, pair: Pair, resolution: str, now: Nanos) -> Talk:
        length = LENGTHS[resolution]

        def write(span: Span) -> bytes:
            return _push(channel, rows.candle(span))

        running = self._source.span(pair.symbol, now // length * length, now)
        return candles(self._source, pair.symbol, length, lambda span, at: write(span)), [write(running)]

    def _perpetual(self, channel: str, pair: Pair, at: Nanos) -> bytes:
        price = rows.real(rows.middle(self._source, pair.symbol, at))
        rate = rows.real(funding(pair.symbol, at))
        return _push(channel, {"timestamp": at // MILLI, "interest": rate, "index_price": price})

    def _index(self, channel: str, name: str, at: Nanos) -> Talk | None:
        found = next((symbol for symbol in self._symbols.values() if rows.index(symbol) == name), None)
        if found is None:
            return None

        def write(moment: Nanos) -> bytes:
            price = rows.real(rows.middle(self._source, found, moment))
            return _push(channel, {"timestamp": moment // MILLI, "price": price, "index_name": name})

        return _timed(write, at)


def _timed(write: Write, at: Nanos) -> Talk:
    return timed(SECOND, write), [write(at)]


def _became(pair: Pair, side: Levels, before: Levels) -> list[tuple[str, Any, Any]]:
    """What became of each level."""
    there = {price for price, _ in before}
    words = ["delete" if not coins else "change" if price in there else "new" for price, coins in side]
    return [(word, *level) for word, level in zip(words, rows.levels(pair, side), strict=True)]


def _grouped(side: Levels, width: int, *, up: bool) -> Levels:
    """Levels put together at multiples of a width, away from the middle."""
    sums: dict[int, int] = {}
    for price, coins in side:
        at = -(-price // width) * width if up else price // width * width
        sums[at] = sums.get(at, 0) + coins
    return list(sums.items())


def _channels(call: Call) -> list[str]:
    channels = call.params.get("channels")
    if not isinstance(channels, list) or not channels or not all(isinstance(name, str) for name in channels):
        raise Complaint(-32602, "Invalid params", reason="wrong format", param="channels")
    if len(channels) > MOST:
        raise Complaint(-32602, "Invalid params", reason=f"more than {MOST} channels", param="channels")
    return channels


def _answer(ident: int | str | None, told: object, now: Nanos) -> bytes:
    return text(enveloped(ident, told, now))


def _beat(kind: str) -> bytes:
    return text({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": kind}})


def _push(channel: str, data: object) -> bytes:
    return text({"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}})


def _facts(pair: Pair, at: Nanos) -> dict[str, Any]:
    return {"timestamp": at // MILLI, "instrument_name": rows.native(pair.symbol)}
