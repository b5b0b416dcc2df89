"""Coinbase Exchange spot.

Documentation: "Exchange WebSocket Overview", "Channels", "Rate Limits" and of REST "Get all known trading pairs", "Get
product trades", "Get product candles" and "Get product ticker" of docs.cdp.coinbase.com.

- ``side`` of a match and of a REST trade is the *maker's*: the taker did the opposite. A ticker's is the taker's.
- ``trade_id`` is +1 per product, but ``matches`` may drop messages. So ``heartbeat`` comes beside it, which tells the
  last id every second: ids that are still unseen a heartbeat later are fetched from REST.
- Each product begins with a ``last_match``, which may be stored already.
- Products are subscribed to one by one, so that a refusal costs one product. The first must be within 5 s.
- Times have up to 9 digits of a second; the year 1 stands for no time at all.
- The book comes whole and then in changes, batched by 50 ms (``level2_batch``; ``level2`` needs keys). Nothing numbers
  them; a book whose bids come to reach its asks has lost some, and is subscribed to anew. One that begins so is whole:
  it is in an auction.
- There is no stream of candles. REST tells 300 at each poll: those that did not change since the last are left out.
- Frames of the older ``ws-feed.pro.coinbase.com`` are the same, without sizes in the ticker.

REST answers that are understood: ``/products`` (the listing), and of a product ``trades``, ``candles`` and ``ticker``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote, unquote

import msgspec

from trioagg.errors import WireError
from trioagg.exchanges import (
    Ack,
    Action,
    Connect,
    Exchange,
    Feed,
    Fetch,
    Hole,
    Limits,
    Missed,
    Output,
    Proof,
    Refused,
    Retire,
    Send,
)
from trioagg.exchanges import _coinbase as wire
from trioagg.exchanges._books import OrderBook
from trioagg.exchanges._numbers import positive, quantities
from trioagg.exchanges._records import Changed, asked, known, unused
from trioagg.exchanges._times import rfc3339
from trioagg.model import Candle, Channel, Instrument, Nanos, Side, Ticker, Trade

PAGE = 1000  # trades in one REST answer
POLLS = 5  # a second: half of what is allowed, the rest is for repairs
BOOK = "level2_batch"
STREAMS = {Channel.TRADES: ("matches", "heartbeat"), Channel.TICKER: ("ticker",), Channel.BOOK: (BOOK,)}
UNUSED = "status received open done change activate auction rfq_match".split()
"""Kinds that are known and not collected."""
CUT = ("ErrSlowConsume", "ErrSlowRead", "Message too big")
"""Errors after which the exchange closes the connection."""

Route = Callable[[bytes, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to Coinbase Exchange, or the polling of its candles."""

    name = "coinbase"
    rest_url = "https://api.exchange.coinbase.com"
    ws_url = "wss://ws-feed.exchange.coinbase.com"
    streamed = frozenset({Channel.TRADES, Channel.TICKER, Channel.BOOK})
    polled = frozenset({Channel.CANDLES})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.ID,
        Channel.TICKER: Proof.NOTHING,
        Channel.BOOK: Proof.NOTHING,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=200, sends=8, weight=10, window=1)
    clock = Fetch("/time")

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._seen: dict[str, int] = {}  # product → the highest trade id that came
        self._told: dict[str, int] = {}  # product → the last trade id by the last heartbeat
        self._asked: dict[str, int] = {}  # product → the last trade id that REST was asked for
        self._books: dict[str, OrderBook] = {}
        self._auctions: set[str] = set()  # products whose books began crossed
        self._changed = Changed()
        self._routes: dict[str, Route] = {
            "match": self._on_match,
            "last_match": self._on_match,
            "ticker": self._on_ticker,
            "snapshot": self._on_snapshot,
            "l2update": self._on_update,
            "heartbeat": self._on_heartbeat,
            "subscriptions": self._on_subscriptions,
            "error": self._on_error,
            **dict.fromkeys(UNUSED, unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/products"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return [wire.instrument(product) for product in wire.rest_products.decode(body)]

    @classmethod
    def native(cls, symbol: str) -> str:
        return symbol.replace("/", "-").upper()

    @classmethod
    def unified(cls, native: str) -> str:
        return native.replace("-", "/") if native.count("-") == 1 else native

    def polls(self) -> Iterable[Fetch]:
        products = self.natives(Channel.CANDLES)
        if seconds := wire.GRANULARITIES.get(self.feed.candle):
            every = max(self.feed.interval, len(products) / POLLS)
            for product in products:
                yield Fetch(f"/products/{quote(product, safe='')}/candles?granularity={seconds}", every=every)

    def begin(self) -> Iterable[Action]:
        yield Connect("/")

    def opened(self) -> Iterable[Action]:
        products: dict[str, list[str]] = {}
        for item in self.feed.subscriptions:
            products.setdefault(item.native, []).extend(STREAMS.get(item.channel, ()))
        return [_request("subscribe", product, channels) for product, channels in products.items()]

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        kind = wire.head.decode(frame).type
        if kind not in self._routes:
            raise WireError(f"unknown message kind {kind[:40]!r}")
        return self._routes[kind](frame, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        path, query = asked(fetch)
        match [unquote(part) for part in path.strip("/").split("/")]:
            case ["products", product, "trades"]:
                return [self._trade(product, trade, at) for trade in wire.rest_trades.decode(body)]
            case ["products", product, "candles"]:
                candles = self._rest_candles(product, query.get("granularity", "60"), body, at)
                return candles if "start" in query else self._changed.told(fetch.path, candles)
            case ["products", product, "ticker"]:
                return (self._rest_ticker(product, wire.rest_ticker.decode(body), at),)
            case ["products"] | ["products", _] | ["products", _, "book" | "stats"] | ["time" | "currencies"]:
                return ()
        raise WireError("unknown REST path")

    def missing(self, hole: Hole) -> Fetch | None:
        if hole.first is None or hole.last is None:
            return None
        return _trades(hole.native, hole.first, hole.last)

    @classmethod
    def time(cls, body: bytes) -> Nanos:
        return rfc3339(wire.rest_time.decode(body).iso)

    def _on_match(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        match = wire.match.decode(frame)
        if not self.wants(self.symbol(match.product_id), Channel.TRADES):
            return ()
        return (self._trade(match.product_id, match, at),)

    def _trade(self, product: str, trade: wire.Trade, at: Nanos) -> Trade:
        positive(trade.price, trade.size)
        taker: Side = "sell" if trade.side == "buy" else "buy"
        stamp = wire.moment(trade.time)
        self._seen[product] = max(trade.trade_id, self._seen.get(product, -1))
        return Trade("coinbase", self.symbol(product), trade.trade_id, trade.price, trade.size, taker, stamp, at)

    def _on_ticker(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        t = wire.ticker.decode(frame)
        if not self.wants(symbol := self.symbol(t.product_id), Channel.TICKER):
            return ()
        figures = (t.best_bid, t.best_bid_size, t.best_ask, t.best_ask_size, t.price, t.volume_24h)
        quantities(*figures)
        return (Ticker("coinbase", symbol, *figures, wire.moment(t.time), at),)

    def _on_snapshot(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.snapshot.decode(frame)
        if not self.wants(self.symbol(told.product_id), Channel.BOOK):
            return ()
        book = self._book(told.product_id)
        events = book.replace(told.bids, told.asks, wire.moment(told.time), at)
        if _crossed(book):
            self._auctions.add(told.product_id)
        return events

    def _on_update(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.update.decode(frame)
        if not self.wants(symbol := self.symbol(told.product_id), Channel.BOOK):
            return ()
        book = self._book(told.product_id)
        events = book.change(told.levels("buy"), told.levels("sell"), wire.moment(told.time), at)
        if not book.standing:
            return _anew(told.product_id) if book.due(at) else ()
        if not _crossed(book):
            self._auctions.discard(told.product_id)
        elif told.product_id not in self._auctions:
            book.fall()
            again = _anew(told.product_id) if book.due(at) else []
            return [Missed(symbol, Channel.BOOK, "the bids of the order book reach its asks"), *again]
        return events

    def _book(self, product: str) -> OrderBook:
        if product not in self._books:
            self._books[product] = OrderBook("coinbase", self.symbol(product), self.feed.book)
        return self._books[product]

    def _on_heartbeat(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        """Ask REST for what the heartbeat before this one knew and no match has told since."""
        heartbeat = wire.heartbeat.decode(frame)
        product, last = heartbeat.product_id, heartbeat.last_trade_id
        told = self._told.get(product, 0)
        seen = self._seen.get(product, told)
        self._told[product] = last
        if told <= max(seen, self._asked.get(product, 0)) or not self.wants(self.symbol(product), Channel.TRADES):
            return ()
        self._asked[product] = told
        return (_trades(product, seen + 1, told),)

    def _on_subscriptions(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        channels = wire.subscriptions.decode(frame).channels
        return (Ack(", ".join(f"{channel.name}: {len(channel.product_ids or ())}" for channel in channels)),)

    def _on_error(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        error = wire.error.decode(frame)
        reason = f"{error.message}: {error.reason}" if error.reason else error.message
        return (Retire(reason[:200]) if error.message.startswith(CUT) else Refused(reason[:200]),)

    def _rest_ticker(self, product: str, t: wire.RestTicker, at: Nanos) -> Ticker:
        quantities(t.bid, t.ask, t.price, t.volume)
        sides = (t.bid, None, t.ask, None)
        return Ticker("coinbase", self.symbol(product), *sides, t.price, t.volume, wire.moment(t.time), at)

    def _rest_candles(self, product: str, granularity: str, body: bytes, at: Nanos) -> list[Candle]:
        market = self.symbol(product), known(granularity[:20], wire.INTERVALS, "granularity")
        return [wire.rest_candle(market, row, at) for row in wire.rest_candles.decode(body)]


def _trades(product: str, first: int, last: int) -> Fetch:
    """The request for trades up to ``last``: those that are missing, as many of them as one answer holds."""
    limit = min(last - first + 1, PAGE)
    return Fetch(f"/products/{quote(product, safe='')}/trades?limit={limit}&after={last + 1}")


def _request(verb: str, product: str, channels: Sequence[str]) -> Send:
    request = {"type": verb, "product_ids": [product], "channels": channels}
    return Send(msgspec.json.encode(request).decode())


def _crossed(book: OrderBook) -> bool:
    bids, asks = book.bids(1), book.asks(1)
    return bool(bids and asks) and bids[0][0] >= asks[0][0]


def _anew(product: str) -> list[Send]:
    """Ask for a product's book from its beginning."""
    return [_request(verb, product, [BOOK]) for verb in ("unsubscribe", "subscribe")]
