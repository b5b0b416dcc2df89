"""Bybit v5: spot, and linear perpetual contracts, told apart by the symbol.

Documentation: "Connect", "Trade", "Ticker", "Orderbook", "Kline" and "All Liquidation" of "WebSocket Stream", "Market"
and "Rate Limit" of the V5 API.

- Each product has its own socket, and the topics of both are spelled alike: ``publicTrade.BTCUSDT`` is of the one or of
  the other. A replay tells them apart by what only one of them has (ids, fields, the names of our own requests); a
  frame that could be of either is refused rather than stored under a wrong name.
- Trades carry the taker's side. Ids are numbers without order on spot, UUIDs on linear: nothing proves that none was
  missed, and REST has the last 60 (spot) or 1,000 (linear) only.
- Spot's ticker has no bid and ask: those are ``orderbook.1``, completed from the ticker's last price and volume.
  Linear's ticker has everything, funding and open interest too, in one snapshot and then what changed.
- The other ``orderbook`` topics are a snapshot and then what changed, ``u`` one more each time. A snapshot at any time
  takes the place of everything, as after the service's restart (``u`` is 1); any other step begins the topic anew.
- One bad topic refuses the whole request, so each has a request of its own, which the answer names.
- ``allLiquidation`` tells the side of the position: ``Buy`` was a long, which was closed by selling.
- Open interest counts both sides; half of it is stored, as other exchanges count.
- Too many requests are HTTP 403 for ten minutes, or a ``retCode`` in HTTP 200. Inverse contracts are not collected.
- REST answers understood: ``tickers``, ``recent-trade``, ``kline``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import ClassVar

from trioagg.errors import WireError
from trioagg.exchanges import (
    Ack,
    Action,
    Connect,
    Daily,
    Exchange,
    Feed,
    Fetch,
    Heartbeat,
    Hole,
    Limits,
    Output,
    Proof,
    Refused,
    Send,
    Subscription,
)
from trioagg.exchanges import _bybit as wire
from trioagg.exchanges._books import NOBODY, ChainedBook, Change, Half
from trioagg.exchanges._bybit import PRODUCTS, Product
from trioagg.exchanges._numbers import quantities
from trioagg.exchanges._records import asked, unused
from trioagg.model import CHANNELS, Channel, Instrument, Nanos, Ticker

NEWEST = {"spot": 60, "linear": 1000}  # trades that REST still has
ALREADY = "already subscribed"
EMPTY = (NOBODY, NOBODY)
Route = Callable[[wire.Frame, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to one product of Bybit."""

    name = "bybit"
    rest_url = "https://api.bybit.com"
    ws_url = "wss://stream.bybit.com"
    streamed = frozenset(Channel)
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        **dict.fromkeys(Channel, Proof.NOTHING),
        Channel.TRADES: Proof.OVERLAP,
        Channel.BOOK: Proof.CHAIN,
        Channel.CANDLES: Proof.OVERLAP,
    }
    clock = Fetch("/v5/market/time")
    # 250 subscriptions: two topics each at the most, and 21,000 characters of topics on one connection
    limits = Limits(streams=250, sends=20, weight=600, window=5, cooldown={429: 10.0, 403: 600.0})
    heartbeat = Heartbeat(20, '{"req_id":"beat","op":"ping"}')

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        known: list[Instrument | Subscription] = [*feed.instruments, *feed.subscriptions]
        self._symbols = {(wire.product(item.symbol), item.native): item.symbol for item in known}
        topics = dict.fromkeys(pair for item in feed.subscriptions for pair in wire.topics(item, feed))
        self._requests = {f"{product}-{number}": topic for number, (product, topic) in enumerate(topics, 1)}
        self._asked: dict[str, dict[Product, str]] = {}
        for request, topic in self._requests.items():
            self._asked.setdefault(topic, {})[request.partition("-")[0]] = request
        self._told = {product for product in PRODUCTS if f"/{product}" in feed.source}
        self._routes: dict[str, Route] = {}
        self._tops: dict[str, tuple[Half, Half]] = {}
        self._tickers: dict[str, wire.Told] = {}
        self._books: dict[tuple[str, str], ChainedBook] = {}

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        path = "/v5/market/instruments-info"
        return Fetch(f"{path}?category=spot"), Fetch(f"{path}?category=linear&limit=1000")

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        result = wire.answered(body).result
        if (category := wire.category.decode(result).category) not in PRODUCTS:
            return []
        listed = wire.rest_symbols.decode(result).rows
        return [wire.instrument(row) for row in listed if category == "spot" or row.contract_type == "LinearPerpetual"]

    @classmethod
    def native(cls, symbol: str) -> str:
        return wire.native(symbol)

    @classmethod
    def unified(cls, native: str) -> str:
        return wire.unified(native)

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        kinds = [[item for item in subscriptions if wire.product(item.symbol) == product] for product in PRODUCTS]
        return [some for items in kinds for some in super(Adapter, cls).connections(items)]

    def begin(self) -> Iterable[Action]:
        wanted = {product for products in self._asked.values() for product in products}
        return [Connect(f"/v5/public/{product}") for product in PRODUCTS if product in wanted]

    def opened(self) -> Iterable[Action]:
        return [wire.request(number, "subscribe", topic) for number, topic in self._requests.items()]

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.frame.decode(frame)
        if told.topic:
            route = self._routes.get(told.topic) or self._route(told.topic)
            return route(told, at)
        if told.op:
            return self._reply(told)
        raise WireError("unknown message kind")

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        answer = wire.answered(body)
        path, query = asked(fetch)
        path = path.removeprefix("/v5/market/")
        if path in wire.UNUSED_PATHS or (product := wire.category.decode(answer.result).category) not in PRODUCTS:
            return ()
        match path:
            case "tickers":
                told = [(row.symbol, wire.numbers(row)) for row in wire.rest_tickers.decode(answer.result).rows]
                rows = [(self._symbol(product, native), fields) for native, fields in told]
                stamp = wire.stamp(answer.time)
                return [event for row in rows for event in self._events(*row, row[1], stamp=stamp, at=at)]
            case "recent-trade":
                deals = wire.rest_deals.decode(answer.result).rows
                return [wire.trade(self._symbol(product, deal.symbol), deal, at) for deal in reversed(deals)]
            case "kline":
                bars = wire.rest_bars.decode(answer.result)
                symbol, interval = self._symbol(product, bars.symbol), query["interval"]
                return [wire.bar(symbol, interval, k, at=at) for k in reversed(bars.rows)]
        raise WireError("unknown REST path")

    def missing(self, hole: Hole) -> Fetch:
        """The newest trades, which are all that is told."""
        product = wire.product(hole.symbol)
        return Fetch(f"/v5/market/recent-trade?category={product}&symbol={hole.native}&limit={NEWEST[product]}")

    @classmethod
    def time(cls, body: bytes) -> Nanos:
        return wire.clock.decode(wire.answered(body).result).time_nano

    def _route(self, topic: str) -> Route:
        """The route of a topic's frames, unless it is one that nobody asked for."""
        kind, _, native = topic.rpartition(".")
        routes = {
            **dict.fromkeys(wire.BOOKS, self._on_book),
            "publicTrade": self._on_trades,
            "orderbook.1": self._on_top,
            "tickers": self._on_ticker,
            "kline": self._on_candles,
            "allLiquidation": self._on_liquidations,
        }
        family = kind.partition(".")[0]
        route = routes.get(kind) or routes.get(family)
        if not route and family not in wire.UNUSED:
            raise WireError(f"unknown message kind {topic[:40]!r}")
        uninvited = self.feed.subscriptions and topic not in self._asked
        inverse = native.endswith("USD") and ("spot", native) not in self._symbols
        self._routes[topic] = unused if not route or uninvited or inverse else partial(route, native)
        return self._routes[topic]

    def _reply(self, told: wire.Frame) -> Sequence[Output]:
        self._told |= {product for product in PRODUCTS if told.req_id.startswith(f"{product}-")}
        if told.op in ("ping", "pong"):
            return ()
        what = self._requests.get(told.req_id) or f"{told.op} {told.req_id[:40]}".strip()
        if told.success or ALREADY in told.ret_msg:
            return (Ack(what),)
        return (Refused(f"{what}: {told.ret_msg[:200]}"),)

    def _product(self, topic: str, native: str, hint: Product | None = None) -> Product:
        """Which product a frame is of: the one subscribed to, the one that it shows, else what is known so far."""
        subscribed = self._asked.get(topic, {})
        if len(subscribed) == 1:
            return next(iter(subscribed))
        if hint:
            self._told.add(hint)
            return hint
        seen = self._told or {product for product in PRODUCTS if (product, native) in self._symbols}
        if len(seen) > 1:
            raise WireError("spot or linear: the frame does not say")
        return next(iter(seen), wire.product(self.unified(native)))

    def _symbol(self, product: Product, native: str) -> str:
        if (product, native) not in self._symbols:
            self._symbols[product, native] = wire.spelled(product, self.unified(native))
        return self._symbols[product, native]

    def _on_trades(self, native: str, told: wire.Frame, at: Nanos) -> Sequence[Output]:
        trades = wire.deals.decode(told.data)
        if not trades:
            return ()
        product = self._product(told.topic, native, "linear" if "-" in trades[0].i else "spot")
        return [wire.trade(self._symbol(product, native), trade, at) for trade in trades]

    def _on_top(self, native: str, told: wire.Frame, at: Nanos) -> Sequence[Output]:
        top = wire.book.decode(told.data)
        quantities(*(number for level in (*top.b, *top.a) for number in level))
        stamp = wire.stamp(told.ts if told.cts is None else told.cts)
        symbol = self._symbol(self._product(told.topic, native), native)
        bid, ask = self._tops.get(symbol, EMPTY) if told.type == "delta" else EMPTY
        self._tops[symbol] = bid, ask = wire.best(top.b, bid), wire.best(top.a, ask)
        return (Ticker("bybit", symbol, *bid, *ask, *self.daily(symbol, at), stamp, at),)

    def _on_book(self, native: str, told: wire.Frame, at: Nanos) -> Sequence[Output]:
        levels, stamp = wire.book.decode(told.data), wire.stamp(told.ts if told.cts is None else told.cts)
        product = self._product(told.topic, native)
        book, change = self._book(self._symbol(product, native), told.topic), told.type == "delta"
        out = (book.follow if change else book.begin)(Change(levels.u - 1, levels.u, levels.b, levels.a, stamp), at)
        return [*out, *self._anew(product, told.topic)] if book.due(at) else out

    def _book(self, symbol: str, topic: str) -> ChainedBook:
        if (symbol, topic) not in self._books:
            depth = wire.BOOKS[topic.rpartition(".")[0]]
            self._books[symbol, topic] = ChainedBook("bybit", symbol, self.feed.book, depth=depth, counted=True)
        return self._books[symbol, topic]

    def _anew(self, product: Product, topic: str) -> list[Send]:
        """Ask for a topic from its beginning, which is a snapshot."""
        number = self._asked.get(topic, {}).get(product, product)
        return [wire.request(number, operation, topic) for operation in ("unsubscribe", "subscribe")]

    def _on_ticker(self, native: str, told: wire.Frame, at: Nanos) -> Sequence[Output]:
        fields, change = wire.numbers(wire.fields.decode(told.data)), told.type == "delta"
        linear = change or fields.keys() & {"mark_price", "bid1_price", "open_interest"}
        product = self._product(told.topic, native, "linear" if linear else "spot")
        symbol, stamp = self._symbol(product, native), wire.stamp(told.ts)
        if not change and (lacking := wire.NEEDED[product] - fields.keys()):
            raise WireError(f"a ticker without {', '.join(sorted(lacking))}")
        known = self._tickers.get(symbol, {}) | fields if change else fields
        events = self._events(symbol, fields, known, stamp=stamp, at=at)
        self._tickers[symbol] = known
        return () if product == "spot" and symbol in self._tops else events

    def _events(
        self, symbol: str, told: wire.Told, known: wire.Told, *, stamp: Nanos | None, at: Nanos
    ) -> Sequence[Output]:
        """What a ticker tells, as far as it is collected and changed; the day's figures complete later quotes."""
        last, volume = known.get("last_price"), known.get("volume24h")
        if told.keys() & wire.BEST and last is not None and volume is not None:
            self.feed.board[symbol] = Daily(last, volume, at)
        events = wire.events(symbol, told, known, stamp=stamp, at=at)
        return [event for event in events if self.wants(symbol, CHANNELS[type(event)])]

    def _on_candles(self, native: str, told: wire.Frame, at: Nanos) -> Sequence[Output]:
        bars = wire.bars.decode(told.data)
        symbol = self._symbol(self._product(told.topic, native), native)
        return [wire.bar(symbol, k.interval, k, at=at) for k in bars]

    def _on_liquidations(self, native: str, told: wire.Frame, at: Nanos) -> Sequence[Output]:
        symbol = self._symbol(self._product(told.topic, native, "linear"), native)
        return [wire.liquidation(symbol, forced, at) for forced in wire.forced.decode(told.data)]
