"""The WebSocket: one subscription a message, and a connection that ends without a word for a coin that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from trioagg.model import Nanos
from trioagg.simulator import Hangup, Pair, Quote
from trioagg.simulator.dialects._kit import (
    MILLI,
    SECOND,
    Maker,
    Refusal,
    TopicSession,
    candles,
    last_tick,
    quotes,
    text,
    timed,
    trades,
)
from trioagg.simulator.dialects.hyperliquid import rows
from trioagg.simulator.dialects.hyperliquid.info import Call, Desk

SILENCE = 60 * SECOND
"""How long the exchange may say nothing before it closes a connection."""

EVERY = 500 * MILLI
"""Between two books."""

BACKLOG = 30


class Trades(Struct, tag_field="type", tag="trades"):
    """Trades."""

    coin: str


class Best(Struct, tag_field="type", tag="bbo"):
    """Best bid and ask."""

    coin: str


class Book(Struct, tag_field="type", tag="l2Book"):
    """The top of a book."""

    coin: str
    nSigFigs: int | None = None
    mantissa: int | None = None
    fast: bool = False


class Candle(Struct, tag_field="type", tag="candle"):
    """Candles."""

    coin: str
    interval: str


class State(Struct, tag_field="type", tag="activeAssetCtx"):
    """The state of a market."""

    coin: str


class Mids(Struct, tag_field="type", tag="allMids"):
    """Where every market is."""


Topic = Trades | Best | Book | Candle | State
"""What is subscribed to by coin."""


class Ask(Struct):
    """A subscription, or its end."""

    method: Literal["subscribe", "unsubscribe"]
    subscription: Topic | Mids


class Request(Struct):
    """What is asked for over the connection instead of REST."""

    type: Literal["info"]
    payload: Call


class Post(Struct):
    """A request, with the client's number."""

    id: int
    request: Request


class Message(Struct):
    """Whatever the client sends."""

    method: Literal["subscribe", "unsubscribe", "ping", "post"]
    subscription: Raw = Raw()


_messages = msgspec.json.Decoder(Message)
_asks = msgspec.json.Decoder(Ask)
_posts = msgspec.json.Decoder(Post)


class HyperliquidSession(TopicSession):
    """One connection to ``/ws``."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk, self._source = desk, desk.source
        self._spoken: Nanos | None = None

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """An acknowledgement and what the stream begins with, or an error."""
        self._spoken = now
        try:
            match _messages.decode(text).method:
                case "ping":
                    return [b'{"channel":"pong"}']
                case "post":
                    return [self._posted(_posts.decode(text), now)]
            return self._asked(_asks.decode(text), now)
        except msgspec.DecodeError:
            return [_error(f"Error parsing JSON into valid websocket request: {text}")]

    def frames(self, start: Nanos, end: Nanos) -> list[bytes]:
        """What the streams say; after a minute in which they said nothing the exchange is gone."""
        out = super().frames(start, end)
        if out or self._spoken is None:
            self._spoken = end if out else start
        if end - self._spoken > SILENCE:
            raise _gone()
        return out

    def unknown(self, now: Nanos) -> bytes:
        """A channel that the documentation does not have."""
        return b'{"channel":"weather","data":{"fog":true}}'

    def _posted(self, post: Post, now: Nanos) -> bytes:
        payload = post.request.payload
        try:
            told = {"type": payload.__struct_config__.tag, "data": self._desk.told(payload, now)}
        except Refusal:
            return _frame("post", {"id": post.id, "response": {"type": "error", "payload": "null"}})
        return _frame("post", {"id": post.id, "response": {"type": "info", "payload": told}})

    def _asked(self, ask: Ask, now: Nanos) -> list[bytes]:
        topic = text(ask.subscription).decode()
        if (topic in self._topics) is (ask.method == "subscribe"):
            return [_error(f"Already {ask.method}d: {topic}")]
        heard = _frame("subscriptionResponse", {"method": ask.method, "subscription": ask.subscription})
        if ask.method == "unsubscribe":
            self.end(topic)
            return [heard]
        maker, first = self._begun(ask.subscription, now)
        self.begin(topic, maker)
        return [heard, *first]

    def _begun(self, topic: Topic | Mids, now: Nanos) -> tuple[Maker, list[bytes]]:
        """What a stream says, and what it begins with."""
        if isinstance(topic, Mids):
            return timed(5 * SECOND, lambda at: _frame("allMids", {"mids": self._desk.mids(at)})), []
        if topic.coin not in self._desk.pairs:
            raise _gone()
        pair = self._desk.pairs[topic.coin]
        match topic:
            case Trades():
                return self._trades(pair, now)
            case Best():
                return quotes(self._source, pair.symbol, lambda quote: _best(pair, quote)), []
            case Book():
                return self._book(pair, topic, now)
            case Candle():
                return self._candles(pair, topic.interval), []
        return timed(SECOND, lambda at: self._state(pair, at)), [self._state(pair, now)]

    def _trades(self, pair: Pair, now: Nanos) -> tuple[Maker, list[bytes]]:
        end = self._source.before(pair.symbol, now)
        backlog = [rows.trade(pair, told) for told in self._source.prints(pair.symbol, end - BACKLOG, end)]
        new = trades(self._source, pair.symbol, lambda told: _frame("trades", [rows.trade(pair, told)]))
        return new, [_frame("trades", backlog[::-1])]

    def _book(self, pair: Pair, topic: Book, now: Nanos) -> tuple[Maker, list[bytes]]:
        if topic.nSigFigs not in (None, 2, 3, 4, 5) or topic.mantissa not in (None, 1, 2, 5):
            raise _gone()
        unit = (topic.nSigFigs, topic.mantissa or 1) if topic.nSigFigs else None
        depth, mark = (rows.FEW, {"fast": True}) if topic.fast else (rows.DEPTH, {})

        def write(at: Nanos) -> bytes:
            return _frame("l2Book", {**rows.book(self._source, pair, at, depth=depth, unit=unit), **mark})

        return timed(EVERY, write), [write(last_tick(now, EVERY))]

    def _candles(self, pair: Pair, interval: str) -> Maker:
        if interval not in rows.LENGTHS:
            raise _gone()
        length = rows.LENGTHS[interval]
        return candles(
            self._source, pair.symbol, length, lambda span, at: _frame("candle", rows.candle(pair, span, interval))
        )

    def _state(self, pair: Pair, at: Nanos) -> bytes:
        told: dict[str, Any] = {"coin": rows.coin(pair.symbol), "ctx": rows.state(self._source, pair, at)}
        return _frame("activeAssetCtx" if ":" in pair.symbol else "activeSpotAssetCtx", told)


def _gone() -> Hangup:
    return Hangup(1006, "")


def _error(said: str) -> bytes:
    return _frame("error", said)


def _frame(channel: str, data: object) -> bytes:
    return text({"channel": channel, "data": data})


def _best(pair: Pair, quote: Quote) -> bytes:
    _, at, bid, bids, ask, asks = quote
    sides = [rows.level(pair, place) for place in ((bid, bids), (ask, asks))]
    return _frame("bbo", {"coin": rows.coin(pair.symbol), "time": at // MILLI, "bbo": sides})
