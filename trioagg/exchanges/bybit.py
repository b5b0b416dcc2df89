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
from urllib.parse import parse_qsl, urlsplit

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
    Heartbeat,
    Limits,
    Output,
    Proof,
    Refused,
    Send,
    Subscription,
)
from trioagg.exchanges import _bybit as wire
from trioagg.exchanges._numbers import quantities
from trioagg.model import Channel, Event, Instrument, Nanos, Ticker

QUOTES = ("USDT", "USDC", "USDE", "USD1", "EUR", "BRL", "TRY", "BTC", "ETH", "MNT", "USD")
FRESH = 300 * 1_000_000_000  # ns for which the last price and volume may stand beside a newer best bid and ask
ALREADY = "already subscribed"

QUOTE = frozenset({"bid1_price", "bid1_size", "ask1_price", "ask1_size", "last_price", "volume24h"})
FUNDING = frozenset({"funding_rate", "next_funding_time", "mark_price", "index_price"})
INTEREST = frozenset({"open_interest", "single_open_interest"})
NEEDED: dict[wire.Market, frozenset[str]] = {
    "spot": frozenset({"last_price", "volume24h"}),
    "linear": frozenset({"last_price", "volume24h", "bid1_price", "ask1_price"}),
}
"""What a whole ticker must have."""

UNUSED = frozenset(
    {"orderbook", "liquidation", "lt", "kline_lt", "tickers_lt", "insurance", "adlAlert", "priceLimit", "system"}
)
"""Topics that are known and not collected; of ``orderbook`` all but the first level."""
UNUSED_PATHS = frozenset(
    (
        "time instruments-info orderbook full_orderbook rpi_orderbook mark-price-kline index-price-kline "
        "premium-index-price-kline funding/history open-interest historical-volatility insurance risk-limit "
        "delivery-price new-delivery-price account-ratio index-price-components price-limit adlAlert"
    ).split()
)

Route = Callable[[wire.Frame, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to one product of Bybit."""

    name = "bybit"
    rest_url = "https://api.bybit.com"
    ws_url = "wss://stream.bybit.com"
    streamed = frozenset(
        {
            Channel.TRADES,
            Channel.TICKER,
            Channel.CANDLES,
            Channel.FUNDING,
            Channel.OPEN_INTEREST,
            Channel.LIQUIDATIONS,
        }
    )
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        Channel.TRADES: Proof.OVERLAP,
        Channel.TICKER: Proof.NOTHING,
        Channel.CANDLES: Proof.OVERLAP,
        Channel.FUNDING: Proof.NOTHING,
        Channel.OPEN_INTEREST: Proof.NOTHING,
        Channel.LIQUIDATIONS: Proof.NOTHING,
    }
    # 250 subscriptions: two topics each at the most, and 21,000 characters of topics on one connection
    limits = Limits(streams=250, sends=20, weight=600, window=5, cooldown={429: 10.0, 403: 600.0})
    heartbeat = Heartbeat(20, '{"req_id":"beat","op":"ping"}')

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        known: list[Instrument | Subscription] = [*feed.instruments, *feed.subscriptions]
        self._symbols = {(wire.market_of(item.symbol), item.native): item.symbol for item in known}
        self._wanted = {(item.symbol, item.channel) for item in feed.subscriptions}
        self._asked: dict[str, list[wire.Market]] = {}
        self._requests: dict[str, str] = {}
        for item in feed.subscriptions:
            for topic in self._topics(item):
                self._ask(wire.market_of(item.symbol), topic)
        self._told: set[wire.Market] = {market for market in wire.MARKETS if f"/{market}" in feed.source}
        self._routes: dict[str, Route] = {}
        self._tops: dict[str, tuple[wire.Half, wire.Half]] = {}
        self._tickers: dict[str, wire.Told] = {}

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        path = "/v5/market/instruments-info"
        return Fetch(f"{path}?category=spot"), Fetch(f"{path}?category=linear&limit=1000")

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        answer = wire.answer.decode(body)
        if answer.ret_code:
            raise WireError(f"{answer.ret_msg[:200]} ({answer.ret_code})")
        category = wire.category.decode(answer.result).category
        if category not in wire.MARKETS:
            return []
        listed = wire.rest_symbols.decode(answer.result).rows
        return [
            wire.instrument(item) for item in listed if category == "spot" or item.contract_type == "LinearPerpetual"
        ]

    @classmethod
    def native(cls, symbol: str) -> str:
        pair, _, settled = symbol.upper().partition(":")
        base, _, quote = pair.partition("/")
        return f"{base}PERP" if settled == "USDC" else f"{base}{quote}"

    @classmethod
    def unified(cls, native: str) -> str:
        """The spot market of that spelling, unless there is only a contract."""
        if native.endswith("PERP") and native != "PERP":
            return f"{native.removesuffix('PERP')}/USDC:USDC"
        for asset in QUOTES:
            if native.endswith(asset) and native != asset:
                return f"{native.removesuffix(asset)}/{asset}"
        return native

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        kinds = [[item for item in subscriptions if wire.market_of(item.symbol) == market] for market in wire.MARKETS]
        return [some for items in kinds for some in super(Adapter, cls).connections(items)]

    def begin(self) -> Iterable[Action]:
        for market in wire.MARKETS:
            if any(market in markets for markets in self._asked.values()):
                yield Connect(f"/v5/public/{market}")

    def opened(self) -> Iterable[Action]:
        for number, topic in self._requests.items():
            yield Send(msgspec.json.encode({"req_id": number, "op": "subscribe", "args": [topic]}).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.frame.decode(frame)
        if told.topic:
            route = self._routes.get(told.topic) or self._route(told.topic)
            return route(told, at)
        if told.op:
            return self._reply(told)
        raise WireError("unknown message kind")

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        answer = wire.answer.decode(body)
        if answer.ret_code:
            wire.check(answer)
        path = urlsplit(fetch.path).path.removeprefix("/v5/market/")
        if path in UNUSED_PATHS:
            return ()
        category = wire.category.decode(answer.result).category
        for market in wire.MARKETS:
            if market == category:
                return self._rest(path, market, answer, fetch=fetch, at=at)
        return ()

    def _topics(self, subscription: Subscription) -> Sequence[str]:
        native, spot = subscription.native, wire.market_of(subscription.symbol) == "spot"
        match subscription.channel:
            case Channel.TRADES:
                return (f"publicTrade.{native}",)
            case Channel.CANDLES:
                return (f"kline.{wire.SPELLED[self.feed.candle]}.{native}",)
            case Channel.TICKER if spot:
                return f"orderbook.1.{native}", f"tickers.{native}"
            case Channel.TICKER | Channel.FUNDING | Channel.OPEN_INTEREST if not spot:
                return (f"tickers.{native}",)
            case Channel.LIQUIDATIONS if not spot:
                return (f"allLiquidation.{native}",)
        return ()

    def _ask(self, market: wire.Market, topic: str) -> None:
        markets = self._asked.setdefault(topic, [])
        if market not in markets:
            markets.append(market)
            self._requests[f"{market}-{len(self._requests) + 1}"] = topic

    def _route(self, topic: str) -> Route:
        """The route of a topic's frames, unless it is one that nobody asked for."""
        kind, _, native = topic.rpartition(".")
        routes = {
            "publicTrade": self._on_trades,
            "orderbook.1": self._on_top,
            "tickers": self._on_ticker,
            "kline": self._on_candles,
            "allLiquidation": self._on_liquidations,
        }
        route = routes.get(kind) or routes.get(kind.partition(".")[0])
        if not route and kind.partition(".")[0] not in UNUSED:
            raise WireError(f"unknown message kind {topic[:40]!r}")
        uninvited = self.feed.subscriptions and topic not in self._asked
        inverse = native.endswith("USD") and ("spot", native) not in self._symbols
        self._routes[topic] = self._unused if not route or uninvited or inverse else partial(route, native)
        return self._routes[topic]

    def _reply(self, told: wire.Frame) -> Sequence[Output]:
        for market in wire.MARKETS:
            if told.req_id.startswith(f"{market}-"):
                self._told.add(market)
        if told.op in ("ping", "pong"):
            return ()
        what = self._requests.get(told.req_id) or f"{told.op} {told.req_id[:40]}".strip()
        if told.success or ALREADY in told.ret_msg:
            return (Ack(what),)
        return (Refused(f"{what}: {told.ret_msg[:200]}"),)

    def _unused(self, told: wire.Frame, at: Nanos) -> Sequence[Output]:
        return ()

    def _market_of(self, topic: str, native: str, hint: wire.Market | None) -> wire.Market:
        """Which product a frame is of: the one subscribed to, the one that it shows, else what is known so far."""
        asked = self._asked.get(topic, wire.MARKETS)
        if len(asked) == 1:
            return asked[0]
        if hint:
            self._told.add(hint)
            return hint
        known: set[wire.Market] = {market for market in wire.MARKETS if (market, native) in self._symbols}
        for seen in (self._told, known):
            if len(seen) == 1:
                return next(iter(seen))
            if seen:
                raise WireError("spot or linear: the frame does not say")
        return "linear" if ":" in self.unified(native) else "spot"

    def _symbol(self, market: wire.Market, native: str) -> str:
        if (market, native) not in self._symbols:
            self._symbols[market, native] = wire.spelled(market, self.unified(native))
        return self._symbols[market, native]

    def _on_trades(self, native: str, told: wire.Frame, at: Nanos) -> Sequence[Output]:
        trades = wire.deals.decode(told.data)
        if not trades:
            return ()
        hint: wire.Market = "linear" if "-" in trades[0].i else "spot"
        symbol = self._symbol(self._market_of(told.topic, native, hint), native)
        return [wire.trade(symbol, trade, at) for trade in trades]

    def _on_top(self, native: str, told: wire.Frame, at: Nanos) -> Sequence[Output]:
        top = wire.top.decode(told.data)
        for side in (top.b, top.a):
            for level in side:
                quantities(*level)
        stamp = wire.stamp(told.ts if told.cts is None else told.cts)
        symbol = self._symbol(self._market_of(told.topic, native, None), native)
        nothing: wire.Half = (None, None)
        bid, ask = self._tops.get(symbol, (nothing, nothing)) if told.type == "delta" else (nothing, nothing)
        self._tops[symbol] = bid, ask = wire.best(top.b, bid), wire.best(top.a, ask)
        day = self.feed.board.get(symbol)
        last, volume = (day.last, day.volume) if day and at - day.at < FRESH else (None, None)
        return (Ticker("bybit", symbol, *bid, *ask, last, volume, stamp, at),)

    def _on_ticker(self, native: str, told: wire.Frame, at: Nanos) -> Sequence[Output]:
        fields = wire.numbers(wire.fields.decode(told.data))
        linear = told.type == "delta" or any(name in fields for name in ("mark_price", "bid1_price", "open_interest"))
        market = self._market_of(told.topic, native, "linear" if linear else "spot")
        symbol, stamp = self._symbol(market, native), wire.stamp(told.ts)
        if told.type != "delta" and not fields.keys() >= NEEDED[market]:
            raise WireError(f"a ticker without {', '.join(sorted(NEEDED[market] - fields.keys()))}")
        if market == "spot":
            return self._on_day(symbol, fields, stamp, at=at)
        known = fields if told.type != "delta" else self._tickers.get(symbol, {}) | fields
        events = self._events(symbol, fields, known, stamp=stamp, at=at)
        self._tickers[symbol] = known
        return events

    def _on_day(self, symbol: str, told: wire.Told, stamp: Nanos | None, *, at: Nanos) -> Sequence[Output]:
        """Spot's ticker: for the next quote, and a row of its own only where no quotes come."""
        self._note(symbol, told, at)
        return () if symbol in self._tops else (wire.ticker(symbol, told, stamp, at),)

    def _note(self, symbol: str, known: wire.Told, at: Nanos) -> None:
        last, volume = known.get("last_price"), known.get("volume24h")
        if last is not None and volume is not None:
            self.feed.board[symbol] = Daily(last, volume, at)

    def _events(
        self, symbol: str, told: wire.Told, known: wire.Told, *, stamp: Nanos | None, at: Nanos
    ) -> Sequence[Output]:
        """What a ticker tells, as far as it is collected and changed."""
        events: list[Event] = []
        if told.keys() & QUOTE and self._wants(symbol, Channel.TICKER):
            self._note(symbol, known, at)
            events.append(wire.ticker(symbol, known, stamp, at))
        if told.keys() & FUNDING and self._wants(symbol, Channel.FUNDING):
            events += wire.funding(symbol, known, stamp, at)
        if told.keys() & INTEREST and self._wants(symbol, Channel.OPEN_INTEREST):
            events += wire.interest(symbol, told, stamp, at)
        return events

    def _wants(self, symbol: str, channel: Channel) -> bool:
        return not self._wanted or (symbol, channel) in self._wanted

    def _on_candles(self, native: str, told: wire.Frame, at: Nanos) -> Sequence[Output]:
        candles = wire.bars.decode(told.data)
        symbol = self._symbol(self._market_of(told.topic, native, None), native)
        return [wire.candle(symbol, wire.interval(k.interval)[0], k, closed=k.confirm, at=at) for k in candles]

    def _on_liquidations(self, native: str, told: wire.Frame, at: Nanos) -> Sequence[Output]:
        symbol = self._symbol(self._market_of(told.topic, native, "linear"), native)
        return [wire.liquidation(symbol, forced, at) for forced in wire.forced.decode(told.data)]

    def _rest(
        self, path: str, market: wire.Market, answer: wire.Answer, *, fetch: Fetch, at: Nanos
    ) -> Sequence[Output]:
        match path:
            case "tickers":
                rows = wire.rest_tickers.decode(answer.result).rows
                stamp = wire.stamp(answer.time)
                return [event for row in rows for event in self._rest_ticker(market, row, stamp=stamp, at=at)]
            case "recent-trade":
                trades = wire.rest_deals.decode(answer.result).rows
                return [wire.trade(self._symbol(market, trade.symbol), trade, at) for trade in reversed(trades)]
            case "kline":
                told = wire.rest_bars.decode(answer.result)
                symbol, interval = self._symbol(market, told.symbol), wire.interval(_asked(fetch, "interval"))
                return [wire.rest_candle(symbol, interval, k, at) for k in reversed(told.rows)]
        raise WireError("unknown REST path")

    def _rest_ticker(
        self, market: wire.Market, row: wire.Fields, *, stamp: Nanos | None, at: Nanos
    ) -> Sequence[Output]:
        told = wire.numbers(row)
        return self._events(self._symbol(market, row.symbol), told, told, stamp=stamp, at=at)


def _asked(fetch: Fetch, key: str) -> str:
    query = dict(parse_qsl(urlsplit(fetch.path).query))
    if key not in query:
        raise WireError(f"the request names no {key}")
    return query[key]
