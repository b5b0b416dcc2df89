"""Coinbase Exchange's WebSocket feed: what each channel says of a product, and the messages of the client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import Hangup, Print
from trioagg.simulator.dialects._kit import (
    MILLI,
    SECOND,
    Change,
    Maker,
    TopicSession,
    books,
    iso,
    last,
    last_tick,
    short,
    text,
    timed,
    trades,
    whole,
)
from trioagg.simulator.dialects.coinbase.figures import (
    Figures,
    currencies,
    currency,
    fixed,
    listing,
    maker,
    order_id,
    product,
)

EVERY = 50 * MILLI  # between two messages of a book
DEPTH = 5000  # there is no limit, and no book is so deep
PATIENCE = 5  # seconds from connecting to the first subscription

NAMED = {"level2_batch": "level2_50", "ticker_batch": "ticker_1000"}
"""Channels that the acknowledgement calls by another name; both names are understood."""
PRODUCTS = ("heartbeat", "matches", "ticker", "ticker_1000", "level2_50", "auctionfeed")
OTHERS = ("status", "rfq_matches")
LOCKED = ("level2", "level3", "full")


class Part(msgspec.Struct):
    """A channel with products of its own."""

    name: str
    product_ids: list[str] = []


class Call(msgspec.Struct):
    """A message of the client."""

    type: str = ""
    product_ids: list[str] = []
    channels: list[str | Part] = []


class Trouble(Exception):
    """Why a message is refused, whole."""


class CoinbaseSession(TopicSession):
    """One connection; a topic is a channel's name and a product's, or a channel's alone."""

    def __init__(self, figures: Figures) -> None:
        super().__init__()
        self._figures, self._source = figures, figures.source
        self._symbols = {product(symbol): symbol for symbol in figures.source.pairs}
        self._since: Nanos | None = None
        self._asked = False

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """All that is subscribed to by now, and what new subscriptions begin with; or an error."""
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.ValidationError as error:
            return [_error("Invalid message", str(error))]
        except msgspec.DecodeError:
            return [_error("Malformed JSON")]
        if call.type not in ("subscribe", "unsubscribe"):
            return [_error("Type has to be either subscribe or unsubscribe")]
        try:
            return self._called(call, now)
        except Trouble as trouble:
            return [_error(f"Failed to {call.type}", str(trouble))]

    def unasked(self, start: Nanos, end: Nanos) -> Sequence[bytes]:
        """Nothing; but who does not subscribe in time is cut off."""
        self._since = start if self._since is None else self._since
        if not self._asked and end - self._since > PATIENCE * SECOND:
            raise Hangup(1008, f"no subscription within {PATIENCE} s")
        return ()

    def unknown(self, now: Nanos) -> bytes:
        """A kind that the documentation does not have."""
        return text({"type": "weather", "product_id": "BTC-USD", "fog": True, "time": iso(now)})

    def _called(self, call: Call, now: Nanos) -> Sequence[bytes]:
        topics = list(self._named(call))
        if call.type == "unsubscribe":
            for topic in topics:
                self.end(topic)
            return [self._subscriptions()]
        self._asked = True
        new = [topic for topic in dict.fromkeys(topics) if topic not in self._topics]
        begun = {topic: self._topic(topic, now) for topic in new}
        for topic, (says, _) in begun.items():
            self.begin(topic, says)
        return [self._subscriptions(), *(frame for _, first in begun.values() for frame in first)]

    def _named(self, call: Call) -> Iterator[str]:
        """The topics that a message names; a channel may add products of its own to those of all."""
        if not call.channels:
            raise Trouble("No channels provided")
        for part in call.channels:
            channel = part if isinstance(part, str) else part.name
            names = dict.fromkeys([*call.product_ids, *(() if isinstance(part, str) else part.product_ids)])
            yield from self._checked(call, NAMED.get(channel, channel), list(names))

    def _checked(self, call: Call, channel: str, names: list[str]) -> Iterator[str]:
        if channel in LOCKED:
            raise Trouble("level2, level3, and full channels now require authentication.")
        if channel == "user":
            raise Trouble("user channel requires authentication.")
        if channel not in (*PRODUCTS, *OTHERS):
            raise Trouble(f"{channel} is not a valid channel")
        if bad := [name for name in names if name not in self._symbols]:
            raise Trouble(f"{bad[0]} is not a valid product")
        if channel in OTHERS:
            names = [""]
        elif not names and call.type == "unsubscribe":
            names = [topic.partition(" ")[2] for topic in self._topics if topic.partition(" ")[0] == channel]
        elif not names:
            raise Trouble(f"You need to specify at least one product ID for channel {channel}")
        yield from (f"{channel} {name}".rstrip() for name in names)

    def _subscriptions(self) -> bytes:
        """Everything that is subscribed to."""
        channels: dict[str, list[str]] = {}
        for topic in self._topics:
            channel, _, name = topic.partition(" ")
            channels.setdefault(channel, []).extend([name] if name else [])
        rows = [{"name": name, "product_ids": ids, "account_ids": None} for name, ids in channels.items()]
        return text({"type": "subscriptions", "channels": rows})

    def _topic(self, topic: str, now: Nanos) -> tuple[Maker, Sequence[bytes]]:
        """What a topic says, and what it begins with."""
        channel, _, name = topic.partition(" ")
        symbol = self._symbols.get(name, "")
        match channel:
            case "level2_50":
                return self._level2(symbol, now)
            case "matches":
                first = _match("last_match", symbol, last(self._source, symbol, now))
                return trades(self._source, symbol, lambda trade: _match("match", symbol, trade)), [first]
            case "ticker":
                write = partial(self._ticker, symbol)
                return trades(self._source, symbol, write), [self._latest(symbol, now)]
        return self._timed(channel, symbol, now)

    def _timed(self, channel: str, symbol: str, now: Nanos) -> tuple[Maker, Sequence[bytes]]:
        """The channels that speak by the clock, and those where nothing happens here."""
        match channel:
            case "heartbeat":
                return timed(SECOND, lambda at: self._heartbeat(symbol, at)), ()
            case "ticker_1000":
                write = partial(self._latest, symbol)
                return timed(5 * SECOND, write), [write(now)]
            case "status":
                return timed(5 * SECOND, lambda at: self._status()), [self._status()]
        return (lambda start, end: iter(())), ()

    def _level2(self, symbol: str, now: Nanos) -> tuple[Maker, Sequence[bytes]]:
        source, tick, since = self._source, self._source.pairs[symbol].tick, last_tick(now, EVERY)
        bids, asks = whole(source, symbol, since, DEPTH)
        first = {
            "type": "snapshot", "product_id": product(symbol),
            "asks": [[fixed(price, tick), short(amount)] for price, amount in asks],
            "bids": [[fixed(price, tick), short(amount)] for price, amount in bids], "time": iso(since),
        }  # fmt: skip
        return books(source, symbol, EVERY, lambda c: _update(symbol, c, tick), depth=DEPTH, since=since), [text(first)]

    def _ticker(self, symbol: str, trade: Print) -> bytes:
        return text(self._figures.ticker(symbol, trade))

    def _latest(self, symbol: str, at: Nanos) -> bytes:
        return self._ticker(symbol, last(self._source, symbol, at))

    def _heartbeat(self, symbol: str, at: Nanos) -> bytes:
        number, sequence = last(self._source, symbol, at)[0], self._figures.sequence(symbol, at)
        told = {"type": "heartbeat", "sequence": sequence, "last_trade_id": number, "product_id": product(symbol)}
        return text({**told, "time": iso(at)})

    def _status(self) -> bytes:
        products = [listing(pair) for pair in self._source.pairs.values()]
        assets = [currency(code, "status_message") for code in currencies(self._source)]
        return text({"type": "status", "products": products, "currencies": assets})


def _error(message: str, reason: str = "") -> bytes:
    return text({"type": "error", "message": message, **({"reason": reason} if reason else {})})


def _match(kind: str, symbol: str, trade: Print) -> bytes:
    ident, at, price, amount, _ = trade
    told: dict[str, Any] = {
        "type": kind, "trade_id": ident,
        "maker_order_id": order_id(2 * ident), "taker_order_id": order_id(2 * ident + 1), "side": maker(trade),
        "size": short(amount), "price": short(price), "product_id": product(symbol),
        "sequence": ident * 4, "time": iso(at),
    }  # fmt: skip
    return text(told)


def _update(symbol: str, change: Change, tick: int) -> bytes:
    sides = (("buy", change.bids), ("sell", change.asks))
    changes = [[side, fixed(price, tick), plainly(amount)] for side, levels in sides for price, amount in levels]
    return text({"type": "l2update", "product_id": product(symbol), "changes": changes, "time": iso(change.at)})


def plainly(amount: int) -> str:
    """An amount; of a level that goes with all its zeros."""
    return short(amount) if amount else "0.00000000"
