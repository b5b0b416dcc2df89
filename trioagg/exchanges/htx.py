"""HTX (once Huobi): spot, and USDT-margined perpetual swaps, under one name.

Documentation: "Spot: Reference Data, Market Data, WebSocket Market Data" and "USDT-M: Linear Swap Market Data
Interface, WebSocket Subscription" of HTX OpenAPI.

- Two houses: spot at ``api.huobi.pro``, whose books have a socket of their own (``/feed``), swaps at ``api.hbdm.com``,
  whose funding rates and liquidations have one, and a dialect of their own (``op`` instead of ``sub``). Spot symbols
  are ``btcusdt``, swaps ``BTC-USDT``.
- Everything that comes over a socket is gzipped JSON. A ping must be answered with its own number; it comes every 5 s.
- One topic per subscription. Data may come before its acknowledgement; the first trades are the last known ones again.
- Spot trades are known by ``tradeId`` (REST: ``trade-id``); their ``id`` has 27 digits and is another. Swap trades are
  known by ``id``, which is not contiguous. Within a frame the newest trade comes first; events are in order of time.
- Swap trades, volumes and open interest are what HTX prints: its documentation counts both sides of each trade.
- Spot books are ``mbp``: each change names the one before; the snapshot is asked for over the socket once they flow.
  Swap books are ``high_freq``: the snapshot comes by itself, versions count by one, a second subscription begins anew.
- Sizes in books and best bids and asks of swaps are contracts, which mean nothing without the instrument list.
- Candles have no end mark: one is closed once a later one has come. Days begin at midnight UTC+8.
- Errors come with HTTP 200, in two spellings (``err-code`` and ``err_code``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import ClassVar

import msgspec

from trioagg.errors import WireError
from trioagg.exchanges import (
    Ack,
    Action,
    Connect,
    Daily,
    Exchange,
    Feed,
    Fetch,
    Hole,
    Limits,
    Output,
    Proof,
    Refused,
    Retire,
    Send,
    Subscription,
)
from trioagg.exchanges import _htx as wire
from trioagg.exchanges._books import ChainedBook, Change, JoinedBook, OrderBook
from trioagg.exchanges._numbers import positive, quantities
from trioagg.exchanges._records import Newest, asked, known, parted, unused
from trioagg.exchanges._times import nanos
from trioagg.model import Channel, Funding, Instrument, Liquidation, Nanos, OpenInterest, Ticker

SWAP_REST = "https://api.hbdm.com"
SWAP_WS = "wss://api.hbdm.com"
SPOT, FEED, SWAP, NOTICES = "/ws", "/feed", "/linear-swap-ws", "/linear-swap-notification"
"""The sockets."""
TOPICS: Mapping[Channel, str] = {
    Channel.TRADES: "market.{}.trade.detail",
    Channel.TICKER: "market.{}.bbo",
    Channel.BOOK: "market.{}.{depth}",
    Channel.CANDLES: "market.{}.kline.{period}",
    Channel.FUNDING: "public.{}.funding_rate",
    Channel.LIQUIDATIONS: "public.{}.liquidation_orders",
}
LEVELS = {"5": 5, "20": 20, "150": 150, "400": 400, "size_20.high_freq": 20, "size_150.high_freq": 150}
"""How topics of books that tell changes end, and the levels of a side that they tell of."""
DEPTHS = {False: ("mbp.150", "mbp.400"), True: ("depth.size_20.high_freq", "depth.size_150.high_freq")}
"""Those that are subscribed to, by whether they are of a swap."""
FEW = 5  # symbols that are asked for one by one; more come with everybody's
SWAP_DAY = "/linear-swap-ex/market/detail/merged?contract_code="
SWAP_DAYS = "/v2/linear-swap-ex/market/detail/batch_merged?business_type=swap"
HELD = "/linear-swap-api/v1/swap_open_interest"
POLLS = (
    (Channel.TICKER, False, "/market/detail/merged?symbol=", "/market/tickers"),
    (Channel.TICKER, True, SWAP_DAY, SWAP_DAYS),
    (Channel.OPEN_INTEREST, True, f"{HELD}?contract_code=", HELD),
)
"""What is polled, whether of swaps, where one market is asked for, and where all are."""
QUOTES = "usdt husd usdc usdd btc eth ht trx eur try brl gbp uah rub tusd usd1".split()
UNUSED = (
    "depth mbp tickers overview index basis mark_price premium_index estimated_rate contract_info contract_elements "
    "heartbeat"
).split()
"""Kinds that are known and not collected."""
UNUSED_PATHS = ("/market/depth", "/v1/common/timestamp")

Route = Callable[[wire.Frame, Nanos], Sequence[Output]]
Handler = Callable[[wire.Market, wire.Frame, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One socket of HTX, or the polling of its tickers and open interest."""

    name = "htx"
    rest_url = "https://api.huobi.pro"
    ws_url = "wss://api.huobi.pro"
    streamed = frozenset(TOPICS)
    polled = frozenset({Channel.TICKER, Channel.OPEN_INTEREST})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.OVERLAP,
        Channel.TICKER: Proof.NOTHING,
        Channel.BOOK: Proof.CHAIN,
        Channel.CANDLES: Proof.OVERLAP,
        Channel.FUNDING: Proof.NOTHING,
        Channel.OPEN_INTEREST: Proof.NOTHING,
        Channel.LIQUIDATIONS: Proof.NOTHING,
    }
    limits = Limits(streams=50, sends=10, weight=10, window=1)
    encoding = "gzip"
    clock = Fetch("/v1/common/timestamp")

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._sizes = {item.native: item.contract_size for item in feed.instruments}
        self._topics = [topic for item in feed.subscriptions if (topic := self._topic(item))]
        self._newest = Newest()
        self._routes: dict[str, Route] = {}
        self._of_one: Mapping[str, Handler] = {
            "market.trade": self._on_trades,
            "market.bbo": self._on_quote,
            **dict.fromkeys(("market.ticker", "market.detail"), self._on_day),
            **dict.fromkeys(("/market/detail", "/market/detail/merged"), self._on_day),
            "/market/history/trade": wire.history,
        }
        self._of_all: Mapping[str, Route] = {
            **dict.fromkeys(("/market/tickers", "/market/detail/batch_merged"), self._days),
            **dict.fromkeys(("public.funding_rate", "/swap_funding_rate", "/swap_batch_funding_rate"), self._fundings),
            "public.liquidation_orders": self._liquidations,
            "/swap_open_interest": self._open_interests,
        }
        self._ops: Mapping[str, Route] = {
            "notify": lambda frame, at: self._routed(frame.topic, frame, at),
            "ping": lambda frame, at: (Send(msgspec.json.encode({"op": "pong", "ts": frame.ts}).decode()),),
            "close": lambda frame, at: (Retire("the exchange closes the connection"),),
            **dict.fromkeys(("sub", "unsub", "error"), self._on_reply),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return Fetch("/v1/common/symbols"), Fetch("/linear-swap-api/v1/swap_contract_info", host=SWAP_REST)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        if fetch.path.startswith("/v1"):
            return [wire.spot(told) for told in wire.symbols.decode(body).data]
        return [wire.swap(told) for told in wire.contracts.decode(body).data if told.perpetual]

    @classmethod
    def native(cls, symbol: str) -> str:
        pair, _, settled = symbol.partition(":")
        return pair.replace("/", "-").upper() if settled else pair.replace("/", "").lower()

    @classmethod
    def unified(cls, native: str) -> str:
        if "-" in native:
            base, _, quote = native.upper().partition("-")
            return f"{base}/{quote}:{quote}" if base and quote == "USDT" else native
        pair = parted(native, QUOTES)
        return "/".join(pair).upper() if pair else native

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        sockets: dict[str, list[Subscription]] = {}
        for subscription in subscriptions:
            if socket := _socket(subscription):
                sockets.setdefault(socket, []).append(subscription)
        return [some for together in sockets.values() for some in super(Adapter, cls).connections(together)]

    def polls(self) -> Iterable[Fetch]:
        for channel, swap, one, every in POLLS:
            natives = [native for native in self.natives(channel) if ("-" in native) is swap]
            paths = [one + native for native in natives] if len(natives) <= FEW else [every]
            yield from (Fetch(path, every=self.feed.interval, host=SWAP_REST if swap else "") for path in paths)

    def begin(self) -> Iterable[Action]:
        socket = next((socket for item in self.feed.subscriptions if (socket := _socket(item))), SPOT)
        yield Connect(socket, "" if socket in (SPOT, FEED) else SWAP_WS)

    def opened(self) -> Iterable[Action]:
        return [_subscribe(topic, str(number)) for number, topic in enumerate(self._topics, 1)]

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.frame.decode(frame)
        if told.ch:
            return self._routed(told.ch, told, at)
        if told.ping is not None:
            return (Send(f'{{"pong":{told.ping}}}'),)
        if told.op:
            if told.op not in self._ops:
                raise WireError(f"unknown message kind {told.op[:40]!r}")
            return self._ops[told.op](told, at)
        return self._on_reply(told, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        path, query = asked(fetch)
        if path in UNUSED_PATHS:
            return ()
        answer = wire.frame.decode(body)
        wire.check(answer)
        path = path.removeprefix("/v2").removeprefix("/linear-swap-ex").removeprefix("/linear-swap-api/v1")
        if route := self._of_all.get(path):
            return route(answer, at)
        if path not in self._of_one and path != "/market/history/kline":
            raise WireError("unknown REST path")
        market = self._market(query.get("contract_code") or query["symbol"])
        if handler := self._of_one.get(path):
            return handler(market, answer, at)
        return wire.candles(market, query.get("period", ""), answer, at)

    def missing(self, hole: Hole) -> Fetch:
        if "-" in hole.native:
            path = f"/linear-swap-ex/market/history/trade?contract_code={hole.native}&size=2000"
            return Fetch(path, host=SWAP_REST)
        return Fetch(f"/market/history/trade?symbol={hole.native}&size=2000")

    @classmethod
    def time(cls, body: bytes) -> Nanos:
        return nanos(wire.clock.decode(body).data)

    def _topic(self, item: Subscription) -> str:
        """The topic of a subscription; empty where its market lacks the channel or has no stream of it."""
        if not _socket(item):
            return ""
        few, many = DEPTHS["-" in item.native]
        depth = few if LEVELS[few.partition(".")[2]] >= self.feed.book.levels else many
        return TOPICS[item.channel].format(item.native, depth=depth, period=wire.PERIODS.get(self.feed.candle, "1min"))

    def _market(self, native: str) -> wire.Market:
        symbol = self.symbol(native)
        swap = ":" in symbol
        return wire.Market(symbol, swap, self._sizes.get(native) if swap else Decimal(1))

    def _ours(self, native: str, channel: Channel) -> bool:
        """Whether it was asked for; dated futures never are."""
        symbol = self.symbol(native)
        return self.wants(symbol, channel) and ("-" not in native or ":" in symbol)

    def _routed(self, topic: str, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        if topic not in self._routes:
            self._routes[topic] = self._route(topic)
        return self._routes[topic](frame, at)

    def _route(self, topic: str) -> Route:
        """The route of a topic's frames: by its words, unless it is one that nobody asked for."""
        house, native, kind, detail = [*topic.split(".", 3), "", "", ""][:4]
        market = self._market(native)
        kind = f"{house}.{kind or native}"
        route = self._of_all.get(kind) or self._kind(kind, detail, market)
        dated = "-" in native and not market.swap
        uninvited = house == "market" and (dated or (self._topics and topic not in self._topics))
        return unused if uninvited else route

    def _kind(self, kind: str, detail: str, market: wire.Market) -> Route:
        if handler := self._of_one.get(kind):
            return partial(handler, market)
        match kind:
            case "market.kline":
                return partial(self._on_candle, known(detail, wire.INTERVALS, "interval"), market)
            case "market.mbp" | "market.depth" if detail in LEVELS:
                who, depth = ("htx", market.symbol, self.feed.book), LEVELS[detail]
                if market.swap:
                    return partial(self._on_swap_book, ChainedBook(*who, depth=depth, counted=True), market)
                return partial(self._on_spot_book, JoinedBook(*who, depth=depth), market)
            case "market.depth" if detail == "step0":
                return partial(self._on_whole, OrderBook("htx", market.symbol, self.feed.book), market)
        if kind.partition(".")[2] in UNUSED:
            return unused
        raise WireError(f"unknown message kind {kind[:40]!r}")

    def _on_reply(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        if "error" in (frame.status, frame.op) or frame.code not in (None, 0, "0"):
            what = frame.topic or ("request" if frame.id is None else f"request {frame.id}")
            return (Refused(f"{what}: {frame.said or 'no reason given'} ({frame.code})"[:200]),)
        if what := frame.subbed or frame.unsubbed or frame.topic:
            return (Ack(what),)
        if frame.rep:
            return self._routed(frame.rep, frame, at) if ".mbp." in frame.rep else ()
        raise WireError("unknown message kind")

    def _on_trades(self, market: wire.Market, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return wire.trades(market, wire.deals[market.swap].decode(frame.tick).data, at)

    def _on_quote(self, market: wire.Market, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        q = wire.quotes[market.swap].decode(frame.tick)
        stamp = wire.time(frame.ts if q.ts is None else q.ts)
        return (Ticker("htx", market.symbol, *market.sides(q), *self.daily(market.symbol, at), stamp, at),)

    def _on_spot_book(self, book: JoinedBook, market: wire.Market, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        """A change, or the snapshot that was asked for."""
        stamp = wire.time(frame.ts)
        if frame.rep:
            whole = wire.spot_book.decode(frame.data)
            return book.join(whole.number, whole.bids, whole.asks, stamp=stamp, at=at)
        told = wire.spot_change.decode(frame.tick)
        out = book.step(Change(told.after, told.number, told.bids, told.asks, stamp), at)
        return [*out, Send(msgspec.json.encode({"req": frame.ch, "id": "book"}).decode())] if book.due(at) else out

    def _on_swap_book(self, book: ChainedBook, market: wire.Market, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        told = wire.book.decode(frame.tick)
        sides, stamp = (market.levels(told.bids), market.levels(told.asks)), nanos(told.ts)
        change = Change(told.version - 1, told.version, *sides, stamp)
        out = (book.begin if told.event == "snapshot" else book.follow)(change, at)
        return [*out, _subscribe(frame.ch, "book")] if book.due(at) else out

    def _on_whole(self, book: OrderBook, market: wire.Market, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        told = wire.book.decode(frame.tick)
        return book.retold(market.levels(told.bids), market.levels(told.asks), nanos(told.ts), at)

    def _on_day(self, market: wire.Market, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return (self._ticker(market, wire.day.decode(frame.tick), frame.ts, at),)

    def _on_candle(self, interval: str, market: wire.Market, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return self._newest.told([wire.candle(market, interval, wire.bar.decode(frame.tick), at)])

    def _liquidations(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        orders = wire.forced.decode(frame.data)
        return [self._liquidation(o, at) for o in orders if self._ours(o.contract_code, Channel.LIQUIDATIONS)]

    def _liquidation(self, order: wire.Forced, at: Nanos) -> Liquidation:
        positive(order.price, order.amount)
        symbol, stamp = self.symbol(order.contract_code), nanos(order.created_at)
        return Liquidation("htx", symbol, order.direction, order.price, order.amount, stamp, at)

    def _days(self, answer: wire.Frame, at: Nanos) -> Sequence[Output]:
        named = [(day.contract_code or day.symbol, day) for day in wire.days.decode(answer.ticks or answer.data)]
        ours = [(self._market(native), day) for native, day in named if self._ours(native, Channel.TICKER)]
        return [self._ticker(market, day, answer.ts, at) for market, day in ours]

    def _ticker(self, market: wire.Market, day: wire.Day, ts: int | str | None, at: Nanos) -> Ticker:
        last = day.last_price or day.close
        quantities(last, day.amount)
        stamp = wire.time(ts if day.ts is None else day.ts)
        self.feed.board[market.symbol] = Daily(last, day.amount, at)
        return Ticker("htx", market.symbol, *market.sides(day), last, day.amount, stamp, at)

    def _fundings(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        rates, stamp = wire.rates.decode(frame.data), wire.time(frame.ts)
        ours = [
            r for r in (rates if isinstance(rates, list) else [rates]) if self._ours(r.contract_code, Channel.FUNDING)
        ]
        return [self._funding(rate, rate.funding_rate, stamp, at) for rate in ours if rate.funding_rate is not None]

    def _funding(self, told: wire.Rate, rate: Decimal, stamp: Nanos | None, at: Nanos) -> Funding:
        quantities(abs(rate))
        due = wire.time(told.settlement_time or told.funding_time)
        return Funding("htx", self.symbol(told.contract_code), rate, None, None, due, stamp, at)

    def _open_interests(self, answer: wire.Frame, at: Nanos) -> Sequence[Output]:
        ours = [h for h in wire.held.decode(answer.data) if self._ours(h.contract_code, Channel.OPEN_INTEREST)]
        quantities(*(item.amount for item in ours))
        stamp = wire.time(answer.ts)
        return [OpenInterest("htx", self.symbol(item.contract_code), item.amount, stamp, at) for item in ours]


def _socket(item: Subscription) -> str:
    """The socket of a subscription; empty where its market lacks the channel or has no stream of it."""
    swap = "-" in item.native
    match item.channel:
        case Channel.FUNDING | Channel.LIQUIDATIONS:
            return NOTICES if swap else ""
        case Channel.OPEN_INTEREST:
            return ""
        case Channel.BOOK if not swap:
            return FEED
    return SWAP if swap else SPOT


def _subscribe(topic: str, number: str) -> Send:
    """In the dialect of its socket."""
    request = {"sub": topic, "id": number}
    if topic.startswith("public."):
        request = {"op": "sub", "cid": number, "topic": topic}
    if topic.endswith(".high_freq"):
        request = {"sub": topic, "data_type": "incremental", "id": number}
    return Send(msgspec.json.encode(request).decode())
