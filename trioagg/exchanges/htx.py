"""HTX (once Huobi): spot, and USDT-margined perpetual swaps, under one name.

Documentation: "Spot: Reference Data, Market Data, WebSocket Market Data" and "USDT-M: Linear Swap Market Data
Interface, WebSocket Subscription" of HTX OpenAPI.

- Two houses: spot at ``api.huobi.pro``, swaps at ``api.hbdm.com``, where funding rates and liquidations have a socket
  and a dialect of their own (``op`` instead of ``sub``). Spot symbols are ``btcusdt``, swaps ``BTC-USDT``.
- Everything that comes over a socket is gzipped JSON. A ping must be answered with its own number; it comes every 5 s.
- One topic per subscription. Data may come before its acknowledgement; the first trades are the last known ones again.
- Spot trades are known by ``tradeId`` (REST: ``trade-id``); their ``id`` has 27 digits and is another. Swap trades are
  known by ``id``, which is not contiguous. Within a frame the newest trade comes first; events are in order of time.
- Swap trades, volumes and open interest are what HTX prints: its documentation counts both sides of each trade.
- Sizes of the best bid and ask of swaps are contracts; without the instrument list they are not known, so null.
- Candles have no end mark: one is closed once a later one has come. Days begin at midnight UTC+8.
- Errors come with HTTP 200, in two spellings (``err-code`` and ``err_code``).

Understood of REST: ``history/trade`` (the last 2,000, no paging), ``history/kline``, tickers, funding, open interest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

import msgspec
from attrs import evolve

from trioagg.errors import WireError
from trioagg.exchanges import (
    Ack,
    Action,
    Connect,
    Daily,
    Exchange,
    Feed,
    Fetch,
    Limits,
    Output,
    Proof,
    Refused,
    Retire,
    Send,
    Subscription,
)
from trioagg.exchanges import _htx as wire
from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import Candle, Channel, Funding, Instrument, Liquidation, Nanos, OpenInterest, Ticker

SWAP_REST = "https://api.hbdm.com"
SWAP_WS = "wss://api.hbdm.com"
SPOT, SWAP, NOTICES = "/ws", "/linear-swap-ws", "/linear-swap-notification"
"""The sockets."""
FRESH = 300 * 1_000_000_000  # ns for which REST's last price and volume may stand beside a newer best bid and ask
FEW = 5  # symbols that are asked for one by one; more come with everybody's
QUOTES = "usdt husd usdc usdd btc eth ht trx eur try brl gbp uah rub tusd usd1".split()
UNUSED = (
    "depth mbp tickers overview index basis mark_price premium_index estimated_rate contract_info contract_elements "
    "heartbeat"
).split()
"""Kinds that are known and not collected."""
OF_ONE = ("/market/history/trade", "/market/history/kline", "/market/detail/merged", "/market/detail")
UNUSED_PATHS = (
    "/market/depth /market/trade /market/overview /v1/common/timestamp /v1/common/currencys /v2/market-status "
    "/v2/settings/common/symbols /v1/settings/common/market-symbols /v1/settings/common/symbols /api/v1/timestamp "
    "/heartbeat/ /linear-swap-ex/market/depth /linear-swap-ex/market/bbo /linear-swap-ex/market/trade "
    "/linear-swap-api/v1/swap_historical_funding_rate /linear-swap-api/v1/swap_index "
    "/linear-swap-api/v3/swap_liquidation_orders /index/market/history/linear_swap_mark_price_kline"
).split()

Level = tuple[Decimal | None, Decimal | None]
Route = Callable[[wire.Frame, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One socket of HTX, or the polling of its tickers and open interest."""

    name = "htx"
    rest_url = "https://api.huobi.pro"
    ws_url = "wss://api.huobi.pro"
    streamed = frozenset({Channel.TRADES, Channel.TICKER, Channel.CANDLES, Channel.FUNDING, Channel.LIQUIDATIONS})
    polled = frozenset({Channel.TICKER, Channel.OPEN_INTEREST})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.OVERLAP,
        Channel.TICKER: Proof.NOTHING,
        Channel.CANDLES: Proof.OVERLAP,
        Channel.FUNDING: Proof.NOTHING,
        Channel.OPEN_INTEREST: Proof.NOTHING,
        Channel.LIQUIDATIONS: Proof.NOTHING,
    }
    limits = Limits(streams=50, sends=10, weight=10, window=1)
    encoding = "gzip"

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._listed = {item.native: item for item in feed.instruments}
        self._topics = [topic for item in feed.subscriptions if (topic := self._topic(item))]
        self._asked = {(item.channel, item.native) for item in feed.subscriptions}
        self._candles: dict[str, Candle] = {}
        self._routes: dict[str, Route] = {}
        self._ops: dict[str, Route] = {
            "notify": self._on_data,
            "ping": self._on_ping,
            "close": self._on_close,
            **dict.fromkeys(("sub", "unsub", "error"), self._on_reply),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return Fetch("/v1/common/symbols"), Fetch("/linear-swap-api/v1/swap_contract_info", host=SWAP_REST)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return wire.spot_instruments(body) if fetch.path.startswith("/v1") else wire.swap_instruments(body)

    @classmethod
    def native(cls, symbol: str) -> str:
        pair, _, settled = symbol.partition(":")
        return pair.replace("/", "-").upper() if settled else pair.replace("/", "").lower()

    @classmethod
    def unified(cls, native: str) -> str:
        if "-" in native:
            base, _, quote = native.upper().partition("-")
            return f"{base}/{quote}:{quote}" if base and quote == "USDT" else native
        for quote in QUOTES:
            if native.endswith(quote) and native != quote:
                return f"{native.removesuffix(quote)}/{quote}".upper()
        return native

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        sockets: dict[str, list[Subscription]] = {}
        for subscription in subscriptions:
            if socket := _socket(subscription):
                sockets.setdefault(socket, []).append(subscription)
        return [some for together in sockets.values() for some in super(Adapter, cls).connections(together)]

    def polls(self) -> Iterable[Fetch]:
        tickers = self._natives(Channel.TICKER)
        spot, swaps = [name for name in tickers if "-" not in name], [name for name in tickers if "-" in name]
        held = [native for native in self._natives(Channel.OPEN_INTEREST) if "-" in native]
        ask = partial(_asking, every=self.feed.interval)
        yield from ask("/market/detail/merged?symbol=", spot, instead="/market/tickers")
        every = "/v2/linear-swap-ex/market/detail/batch_merged?business_type=swap"
        yield from ask("/linear-swap-ex/market/detail/merged?contract_code=", swaps, instead=every, host=SWAP_REST)
        every = "/linear-swap-api/v1/swap_open_interest"
        yield from ask(f"{every}?contract_code=", held, instead=every, host=SWAP_REST)

    def begin(self) -> Iterable[Action]:
        socket = next((socket for item in self.feed.subscriptions if (socket := _socket(item))), SPOT)
        yield Connect(socket, "" if socket == SPOT else SWAP_WS)

    def opened(self) -> Iterable[Action]:
        for number, topic in enumerate(self._topics, 1):
            notice = {"op": "sub", "cid": str(number), "topic": topic}
            request = notice if topic.startswith("public.") else {"sub": topic, "id": str(number)}
            yield Send(msgspec.json.encode(request).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.frame.decode(frame)
        if told.ch:
            return (self._routes.get(told.ch) or self._route(told.ch))(told, at)
        if told.ping is not None:
            return (Send(f'{{"pong":{told.ping}}}'),)
        if told.op:
            if told.op not in self._ops:
                raise WireError(f"unknown message kind {told.op[:40]!r}")
            return self._ops[told.op](told, at)
        return self._on_reply(told, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        url = urlsplit(fetch.path)
        if url.path in UNUSED_PATHS:
            return ()
        wire.check(body)
        path = url.path.removeprefix("/v2").removeprefix("/linear-swap-ex").removeprefix("/linear-swap-api/v1")
        if path in OF_ONE:
            query = dict(parse_qsl(url.query))
            return self._of_one(path, self._market(_named(query)), query.get("period", ""), body=body, at=at)
        return self._of_all(path, body, at)

    def _of_one(self, path: str, market: wire.Market, period: str, *, body: bytes, at: Nanos) -> Sequence[Output]:
        if path == "/market/history/trade":
            return wire.history(market, body, at)
        if path == "/market/history/kline":
            return wire.candles(market.symbol, period, body, at)
        merged = wire.merged.decode(body)
        return [self._ticker(market, merged.tick, merged.ts, at)]

    def _of_all(self, path: str, body: bytes, at: Nanos) -> Sequence[Output]:
        match path:
            case "/market/tickers" | "/market/detail/batch_merged":
                return self._tickers(wire.days.decode(body), at)
            case "/swap_funding_rate" | "/swap_batch_funding_rate":
                rates = wire.rates.decode(body)
                return self._fundings(rates.data if isinstance(rates.data, list) else [rates.data], rates.ts, at)
            case "/swap_open_interest":
                held = wire.held.decode(body)
                ours = [item for item in held.data if self._wanted(Channel.OPEN_INTEREST, item.contract_code)]
                return [self._open_interest(item, held.ts, at) for item in ours]
        raise WireError("unknown REST path")

    def _natives(self, channel: Channel) -> list[str]:
        return [item.native for item in self.feed.subscriptions if item.channel is channel]

    def _wanted(self, channel: Channel, native: str) -> bool:
        """Whether somebody asked for it; where nobody said what, everything but dated futures."""
        return (channel, native) in self._asked if self._asked else "-" not in native or self._market(native).swap

    def _topic(self, item: Subscription) -> str:
        """The topic of a subscription; empty where its market lacks the channel or has no stream of it."""
        if not _socket(item):
            return ""
        match item.channel:
            case Channel.TRADES:
                return f"market.{item.native}.trade.detail"
            case Channel.TICKER:
                return f"market.{item.native}.bbo"
            case Channel.CANDLES:
                period = next((name for name, (ours, _) in wire.PERIODS.items() if ours == self.feed.candle), "1min")
                return f"market.{item.native}.kline.{period}"
            case Channel.FUNDING:
                return f"public.{item.native}.funding_rate"
            case _:
                return f"public.{item.native}.liquidation_orders"

    def _route(self, topic: str) -> Route:
        """The route of a topic's frames: by its words, unless it is one that nobody asked for."""
        house, _, rest = topic.partition(".")
        native, _, rest = rest.partition(".")
        kind, _, detail = rest.partition(".")
        route = self._kind(f"{house}.{kind or native}", native, detail)
        uninvited = self._asked and topic not in self._topics and house == "market"
        self._routes[topic] = self._unused if uninvited else route
        return self._routes[topic]

    def _kind(self, kind: str, native: str, detail: str) -> Route:
        match kind:
            case _ if kind.removeprefix("market.").removeprefix("public.") in UNUSED:
                return self._unused
            case "public.funding_rate":
                return self._on_funding
            case "public.liquidation_orders":
                return self._on_liquidations
            case "market.trade" | "market.bbo" | "market.ticker" | "market.detail" | "market.kline":
                return self._market_route(kind.removeprefix("market."), native, detail)
        raise WireError(f"unknown message kind {kind[:40]!r}")

    def _market_route(self, kind: str, native: str, detail: str) -> Route:
        market = self._market(native)
        if "-" in native and not market.swap:  # dated futures
            return self._unused
        match kind:
            case "trade":
                return partial(_on_trades, market)
            case "bbo":
                return partial(self._on_swap_quote if market.swap else self._on_spot_quote, market)
            case "kline":
                return partial(self._on_candle, market.symbol, wire.interval(detail)[0])
        return partial(self._on_day, market)

    def _market(self, native: str) -> wire.Market:
        listed = self._listed.get(native)
        symbol = listed.symbol if listed else self.unified(native)
        return wire.Market(symbol, ":" in symbol, listed.contract_size if listed else None)

    def _on_data(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return (self._routes.get(frame.topic) or self._route(frame.topic))(frame, at)

    def _on_ping(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return (Send(msgspec.json.encode({"op": "pong", "ts": frame.ts}).decode()),)

    def _unused(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return ()

    def _on_close(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return (Retire("the exchange closes the connection"),)

    def _on_reply(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        if "error" in (frame.status, frame.op) or frame.code not in (None, 0, "0"):
            what = frame.topic or ("request" if frame.id is None else f"request {frame.id}")
            return (Refused(f"{what}: {frame.said or 'no reason given'} ({frame.code})"[:200]),)
        if what := frame.subbed or frame.unsubbed or frame.topic:
            return (Ack(what),)
        if frame.rep:
            return ()
        raise WireError("unknown message kind")

    def _on_spot_quote(self, market: wire.Market, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        q = wire.spot_quote.decode(frame.tick)
        quantities(q.bid, q.bid_size, q.ask, q.ask_size)
        stamp = wire.time(frame.ts if q.quote_time is None else q.quote_time)
        last, volume = self._daily(market.symbol, at)
        return (Ticker("htx", market.symbol, q.bid, q.bid_size, q.ask, q.ask_size, last, volume, stamp, at),)

    def _on_swap_quote(self, market: wire.Market, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        q = wire.swap_quote.decode(frame.tick)
        sides = (*_level(q.bid, None, market), *_level(q.ask, None, market))
        return (Ticker("htx", market.symbol, *sides, *self._daily(market.symbol, at), nanos(q.ts), at),)

    def _on_day(self, market: wire.Market, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return (self._ticker(market, wire.day.decode(frame.tick), frame.ts, at),)

    def _on_candle(self, symbol: str, interval: str, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        new = wire.candle(symbol, interval, wire.bar.decode(frame.tick), at)
        before = self._candles.setdefault(frame.ch, new)
        if new.open_time < before.open_time:
            return (evolve(new, closed=True),)
        self._candles[frame.ch] = new
        ended = new.open_time > before.open_time
        return (evolve(before, closed=True, received=at), new) if ended else (new,)

    def _on_funding(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        return self._fundings(wire.noticed_rates.decode(frame.data), frame.ts, at)

    def _on_liquidations(self, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
        orders = wire.forced.decode(frame.data)
        ours = [order for order in orders if self._wanted(Channel.LIQUIDATIONS, order.contract_code)]
        return [self._liquidation(order, at) for order in ours]

    def _liquidation(self, order: wire.Forced, at: Nanos) -> Liquidation:
        positive(order.price, order.amount)
        symbol, stamp = self._market(order.contract_code).symbol, nanos(order.created_at)
        return Liquidation("htx", symbol, order.direction, order.price, order.amount, stamp, at)

    def _daily(self, symbol: str, at: Nanos) -> tuple[Decimal | None, Decimal | None]:
        day = self.feed.board.get(symbol)
        return (day.last, day.volume) if day and at - day.at < FRESH else (None, None)

    def _tickers(self, days: wire.Days, at: Nanos) -> Sequence[Output]:
        named = [(day.contract_code or day.symbol, day) for day in days.data or days.ticks]
        ours = [(self._market(native), day) for native, day in named if self._wanted(Channel.TICKER, native)]
        return [self._ticker(market, day, days.ts, at) for market, day in ours]

    def _ticker(self, market: wire.Market, day: wire.Day, ts: int | str | None, at: Nanos) -> Ticker:
        last = day.last_price or day.close
        quantities(last, day.amount)
        sides = (*_level(day.bid, day.bid_size, market), *_level(day.ask, day.ask_size, market))
        stamp = wire.time(ts if day.ts is None else day.ts)
        self.feed.board[market.symbol] = Daily(last, day.amount, at)
        return Ticker("htx", market.symbol, *sides, last, day.amount, stamp, at)

    def _fundings(self, rates: Iterable[wire.Rate], ts: int | str | None, at: Nanos) -> Sequence[Output]:
        ours = [rate for rate in rates if self._wanted(Channel.FUNDING, rate.contract_code)]
        return [self._funding(rate, rate.funding_rate, ts, at) for rate in ours if rate.funding_rate is not None]

    def _funding(self, told: wire.Rate, rate: Decimal, ts: int | str | None, at: Nanos) -> Funding:
        quantities(abs(rate))
        due = wire.time(told.settlement_time or told.funding_time)
        return Funding("htx", self._market(told.contract_code).symbol, rate, None, None, due, wire.time(ts), at)

    def _open_interest(self, item: wire.Held, ts: int, at: Nanos) -> OpenInterest:
        quantities(item.amount)
        return OpenInterest("htx", self._market(item.contract_code).symbol, item.amount, nanos(ts), at)


def _asking(path: str, natives: Sequence[str], *, instead: str, every: float, host: str = "") -> Iterable[Fetch]:
    """A request for each of a few markets, or one for all."""
    paths = [path + native for native in natives] if len(natives) <= FEW else [instead]
    return [Fetch(path, every=every, host=host) for path in paths]


def _socket(item: Subscription) -> str:
    """The socket of a subscription; empty where its market lacks the channel or has no stream of it."""
    swap = "-" in item.native
    match item.channel:
        case Channel.TRADES | Channel.TICKER | Channel.CANDLES:
            return SWAP if swap else SPOT
        case Channel.FUNDING | Channel.LIQUIDATIONS if swap:
            return NOTICES
    return ""


def _on_trades(market: wire.Market, frame: wire.Frame, at: Nanos) -> Sequence[Output]:
    return wire.trades(market, wire.deals[market.swap].decode(frame.tick).data, at)


def _level(price: Decimal | list[Decimal] | None, size: Decimal | None, market: wire.Market) -> Level:
    """A side of the best bid and ask, in either form; nothing where nobody offers."""
    if isinstance(price, list):
        price, size = price if len(price) == 2 else (None, None)
    quantities(price, size)
    if not price:
        return None, None
    if market.swap and size is not None:
        size = None if market.size is None else size * market.size
    return price, size


def _named(query: Mapping[str, str]) -> str:
    native = query.get("symbol") or query.get("contract_code")
    if not native:
        raise WireError("the request names no symbol")
    return native
