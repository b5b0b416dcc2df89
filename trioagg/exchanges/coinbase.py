"""Coinbase Exchange spot.

Documentation: "Exchange WebSocket Overview", "Channels", "Rate Limits" and of REST "Get all known trading pairs", "Get
product trades", "Get product candles" and "Get product ticker" of docs.cdp.coinbase.com.

- ``side`` of a match and of a REST trade is the *maker's*: the taker did the opposite. A ticker's is the taker's.
- ``trade_id`` is +1 per product, but ``matches`` may drop messages. So ``heartbeat`` comes beside it, which tells the
  last id every second: ids that are still unseen a heartbeat later are fetched from REST.
- Each product begins with a ``last_match``, which may be stored already.
- Products are subscribed to one by one, so that a refusal costs one product. The first must come within 5 s.
- Times have up to 9 digits of a second; the year 1 stands for no time at all.
- There is no stream of candles. REST tells 300 at each poll: those that did not change since the last are left out.
- Frames of the older ``ws-feed.pro.coinbase.com`` are the same, without sizes in the ticker.

REST answers that are understood: ``/products`` (the listing), and of a product ``trades``, ``candles`` and ``ticker``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import ClassVar, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec
from attrs import evolve
from msgspec import Struct

from trioagg.errors import WireError
from trioagg.exchanges import (
    Ack,
    Action,
    Connect,
    Exchange,
    Feed,
    Fetch,
    Limits,
    Output,
    Proof,
    Refused,
    Retire,
    Send,
)
from trioagg.exchanges._numbers import positive, quantities
from trioagg.model import Candle, Channel, Instrument, Nanos, Side, Ticker, Trade

SECOND = 1_000_000_000
PAGE = 1000  # trades in one REST answer
POLLS = 5  # a second: half of what is allowed, the rest is for repairs
INTERVALS = {"60": "1m", "300": "5m", "900": "15m", "3600": "1h", "21600": "6h", "86400": "1d"}
GRANULARITIES = {interval: seconds for seconds, interval in INTERVALS.items()}
STREAMS = {Channel.TRADES: ("matches", "heartbeat"), Channel.TICKER: ("ticker",)}
UNUSED = "snapshot l2update status received open done change activate auction rfq_match".split()
"""Kinds that are known and not collected."""
CUT = ("ErrSlowConsume", "ErrSlowRead", "Message too big")
"""Errors after which the exchange closes the connection."""


class _Head(Struct):
    type: str = ""


class _Trade(Struct):
    """A trade of REST; ``side`` is the maker's."""

    trade_id: int
    side: Literal["buy", "sell"]
    size: Decimal
    price: Decimal
    time: str


class _Match(_Trade, kw_only=True):
    """``match`` and ``last_match``."""

    product_id: str


class _Ticker(Struct):
    product_id: str
    price: Decimal
    best_bid: Decimal
    best_ask: Decimal
    best_bid_size: Decimal | None = None
    best_ask_size: Decimal | None = None
    volume_24h: Decimal | None = None
    time: str = ""


class _Heartbeat(Struct):
    product_id: str
    last_trade_id: int


class _Subscribed(Struct):
    """One channel of the acknowledgement, which lists all that is subscribed to."""

    name: str
    product_ids: list[str] | None = None


class _Subscriptions(Struct):
    channels: list[_Subscribed]


class _Error(Struct):
    message: str
    reason: str = ""


class _RestTicker(Struct):
    price: Decimal
    bid: Decimal
    ask: Decimal
    volume: Decimal
    time: str


class _RestCandle(Struct, array_like=True):
    """``time`` in seconds; mind the order of the prices."""

    time: int
    low: Decimal
    high: Decimal
    open: Decimal
    close: Decimal
    volume: Decimal


class _RestProduct(Struct):
    id: str
    base_currency: str
    quote_currency: str
    status: str
    quote_increment: Decimal = Decimal(0)
    base_increment: Decimal = Decimal(0)
    trading_disabled: bool = False
    cancel_only: bool = False
    post_only: bool = False
    limit_only: bool = False
    auction_mode: bool = False


_head = msgspec.json.Decoder(_Head)
_match = msgspec.json.Decoder(_Match)
_ticker = msgspec.json.Decoder(_Ticker)
_heartbeat = msgspec.json.Decoder(_Heartbeat)
_subscriptions = msgspec.json.Decoder(_Subscriptions)
_error = msgspec.json.Decoder(_Error)
_rest_trades = msgspec.json.Decoder(list[_Trade])
_rest_ticker = msgspec.json.Decoder(_RestTicker)
_rest_candles = msgspec.json.Decoder(list[_RestCandle])
_rest_products = msgspec.json.Decoder(list[_RestProduct])

Route = Callable[[bytes, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to Coinbase Exchange, or the polling of its candles."""

    name = "coinbase"
    rest_url = "https://api.exchange.coinbase.com"
    ws_url = "wss://ws-feed.exchange.coinbase.com"
    streamed = frozenset({Channel.TRADES, Channel.TICKER})
    polled = frozenset({Channel.CANDLES})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.ID,
        Channel.TICKER: Proof.NOTHING,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=200, sends=8, weight=10, window=1)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._symbols = {instrument.native: instrument.symbol for instrument in feed.instruments}
        self._wanted = {(item.channel, item.native) for item in feed.subscriptions}
        self._seen: dict[str, int] = {}  # product → the highest trade id that came
        self._told: dict[str, int] = {}  # product → the last trade id by the last heartbeat
        self._asked: dict[str, int] = {}  # product → the last trade id that REST was asked for
        self._candles: dict[str, Mapping[Nanos, Candle]] = {}
        self._routes: dict[str, Route] = {
            "match": self._on_match,
            "last_match": self._on_match,
            "ticker": self._on_ticker,
            "heartbeat": self._on_heartbeat,
            "subscriptions": self._on_subscriptions,
            "error": self._on_error,
            **dict.fromkeys(UNUSED, self._unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/products"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return [_instrument(product) for product in _rest_products.decode(body)]

    @classmethod
    def native(cls, symbol: str) -> str:
        return symbol.replace("/", "-").upper()

    @classmethod
    def unified(cls, native: str) -> str:
        return native.replace("-", "/") if native.count("-") == 1 else native

    def polls(self) -> Iterable[Fetch]:
        products = [item.native for item in self.feed.subscriptions if item.channel is Channel.CANDLES]
        if seconds := GRANULARITIES.get(self.feed.candle):
            every = max(self.feed.interval, len(products) / POLLS)
            for product in products:
                yield Fetch(f"/products/{quote(product, safe='')}/candles?granularity={seconds}", every=every)

    def begin(self) -> Iterable[Action]:
        yield Connect("/")

    def opened(self) -> Iterable[Action]:
        products: dict[str, list[str]] = {}
        for item in self.feed.subscriptions:
            products.setdefault(item.native, []).extend(STREAMS.get(item.channel, ()))
        for product, channels in products.items():
            request = {"type": "subscribe", "product_ids": [product], "channels": channels}
            yield Send(msgspec.json.encode(request).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        kind = _head.decode(frame).type
        if kind not in self._routes:
            raise WireError(f"unknown message kind {kind[:40]!r}")
        return self._routes[kind](frame, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        url = urlsplit(fetch.path)
        query = dict(parse_qsl(url.query))
        match [unquote(part) for part in url.path.strip("/").split("/")]:
            case ["products", product, "trades"]:
                return [self._trade(product, trade, at) for trade in _rest_trades.decode(body)]
            case ["products", product, "candles"]:
                candles = self._rest_candles(product, query.get("granularity", "60"), body, at)
                return candles if "start" in query else self._changed(fetch.path, candles)
            case ["products", product, "ticker"]:
                return (self._rest_ticker(product, _rest_ticker.decode(body), at),)
            case ["products"] | ["products", _] | ["products", _, "book" | "stats"] | ["time" | "currencies"]:
                return ()
        raise WireError("unknown REST path")

    def _collects(self, channel: Channel, product: str) -> bool:
        return not self._wanted or (channel, product) in self._wanted

    def _symbol(self, product: str) -> str:
        if product not in self._symbols:
            self._symbols[product] = self.unified(product)
        return self._symbols[product]

    def _on_match(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        match = _match.decode(frame)
        if not self._collects(Channel.TRADES, match.product_id):
            return ()
        return (self._trade(match.product_id, match, at),)

    def _trade(self, product: str, trade: _Trade, at: Nanos) -> Trade:
        positive(trade.price, trade.size)
        side: Side = "sell" if trade.side == "buy" else "buy"
        time = _time(trade.time)
        if trade.trade_id > self._seen.get(product, -1):
            self._seen[product] = trade.trade_id
        return Trade("coinbase", self._symbol(product), trade.trade_id, trade.price, trade.size, side, time, at)

    def _on_ticker(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        t = _ticker.decode(frame)
        if not self._collects(Channel.TICKER, t.product_id):
            return ()
        quantities(t.best_bid, t.best_bid_size, t.best_ask, t.best_ask_size, t.price, t.volume_24h)
        sides = (t.best_bid, t.best_bid_size, t.best_ask, t.best_ask_size)
        time = _time(t.time) if t.time else None
        return (Ticker("coinbase", self._symbol(t.product_id), *sides, t.price, t.volume_24h, time, at),)

    def _on_heartbeat(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        """Ask REST for what the heartbeat before this one knew and no match has told since."""
        heartbeat = _heartbeat.decode(frame)
        product, last = heartbeat.product_id, heartbeat.last_trade_id
        told = self._told.get(product, 0)
        seen = self._seen.get(product, told)
        self._told[product] = last
        if told <= max(seen, self._asked.get(product, 0)) or not self._collects(Channel.TRADES, product):
            return ()
        self._asked[product] = told
        limit = min(told - seen, PAGE)
        return (Fetch(f"/products/{quote(product, safe='')}/trades?limit={limit}&after={told + 1}"),)

    def _on_subscriptions(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        channels = _subscriptions.decode(frame).channels
        return (Ack(", ".join(f"{channel.name}: {len(channel.product_ids or ())}" for channel in channels)),)

    def _on_error(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        error = _error.decode(frame)
        reason = f"{error.message}: {error.reason}" if error.reason else error.message
        return (Retire(reason[:200]) if error.message.startswith(CUT) else Refused(reason[:200]),)

    def _unused(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        return ()

    def _rest_ticker(self, product: str, t: _RestTicker, at: Nanos) -> Ticker:
        quantities(t.bid, t.ask, t.price, t.volume)
        sides = (t.bid, None, t.ask, None)
        return Ticker("coinbase", self._symbol(product), *sides, t.price, t.volume, _time(t.time), at)

    def _rest_candles(self, product: str, granularity: str, body: bytes, at: Nanos) -> list[Candle]:
        if granularity not in INTERVALS:
            raise WireError(f"unknown granularity {granularity[:20]!r}")
        symbol, seconds = self._symbol(product), int(granularity)
        return [_candle(symbol, seconds, row, at) for row in _rest_candles.decode(body)]

    def _changed(self, path: str, candles: Sequence[Candle]) -> list[Candle]:
        """Candles that differ from what the poll before told."""
        before, now = self._candles.get(path, {}), {candle.open_time: evolve(candle, received=0) for candle in candles}
        self._candles[path] = now
        return [candle for candle in candles if before.get(candle.open_time) != now[candle.open_time]]


def _candle(symbol: str, seconds: int, c: _RestCandle, at: Nanos) -> Candle:
    positive(c.open, c.high, c.low, c.close)
    quantities(c.volume)
    opens, prices = _seconds(c.time), (c.open, c.high, c.low, c.close, c.volume)
    return Candle("coinbase", symbol, INTERVALS[str(seconds)], opens, *prices, opens + seconds * SECOND <= at, at)


def _instrument(product: _RestProduct) -> Instrument:
    return Instrument(
        exchange="coinbase",
        symbol=f"{product.base_currency}/{product.quote_currency}",
        native=product.id,
        base=product.base_currency,
        quote=product.quote_currency,
        tick_size=product.quote_increment or None,
        amount_step=product.base_increment or None,
        contract_size=Decimal(1),
        amount_unit=product.base_currency,
        status=_status(product),
    )


def _status(product: _RestProduct) -> str:
    """The product's status, and where that is ``online``, what else keeps it from trading freely."""
    if product.status != "online":
        return product.status.lower()
    for restriction in ("trading_disabled", "cancel_only", "post_only", "limit_only", "auction_mode"):
        if getattr(product, restriction):
            return restriction
    return "trading"


def _time(text: str) -> Nanos | None:
    """An ISO time in UTC as nanoseconds; None for the year 1.

    Raises:
        WireError: it is no such time.
    """
    if text.startswith("0001-01-01T"):
        return None
    point, fraction, zone = text[19:20], text[20:-1], text[-1:]
    if text[19:] != "Z" and not (point == "." and zone == "Z" and fraction.isascii() and fraction.isdigit()):
        raise WireError(f"impossible time: {text[:40]}")
    return _second(text[:19]) + int(fraction[:9].ljust(9, "0"))


@lru_cache(maxsize=64)
def _second(text: str) -> Nanos:
    """A time without its fraction; a busy market tells the same one many times."""
    try:
        moment = datetime.fromisoformat(text + "+00:00")
    except ValueError:
        raise WireError(f"impossible time: {text[:40]}") from None
    return _seconds(int(moment.timestamp()))


def _seconds(count: int) -> Nanos:
    """Seconds since 1970 as nanoseconds.

    Raises:
        WireError: they end outside the years 1970 to 2255.
    """
    if 0 <= count < 9_000_000_000:
        return count * SECOND
    raise WireError(f"impossible time: {count}")
