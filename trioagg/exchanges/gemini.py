"""Gemini spot and perpetuals.

Documentation: "WebSocket API", "Stream Reference", "Market Data v2 (Archived)" and of REST "Symbol Details", "Ticker",
"Trade History", "Candles" and "Risk Stats" of developer.gemini.com.

- A trade and a best bid and ask name no event type: a trade has ``t``, a quote has ``B``. ``m`` true: the buyer was the
  maker, so the taker sold. ``E`` is in nanoseconds. A side of a quote that is empty comes as ``""``.
- Trade ids are no sequence, and nothing else proves that none was missed; REST tells seven days of trades. Auctions and
  block trades have no taker; they are left out.
- The last price and the day's volume are merged from REST's ticker. It is asked for symbol by symbol, as are candles;
  all polls together are held to one request a second. Candles that did not change since the last poll are left out.
- One bad stream name refuses the whole message, so each symbol has one of its own; and so has the stream of funding,
  which is not documented: the rate is its amount over its mark price, since the rate that it tells is cut to 3 digits.
- In the instrument list ``tick_size`` is the step of the amount, and ``quote_increment`` that of the price. A perpetual
  is one unit of its base and settles in its quote, whatever ``contract_price_currency`` says.

REST answers that are understood: ``/v1/symbols/details/all`` (the listing), ``/v1/pubticker``, ``/v1/trades``,
``/v2/candles`` and ``/v1/riskstats``. Of the archived v2 socket the trades are understood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar, Literal
from urllib.parse import urlsplit

import msgspec
from attrs import evolve
from msgspec import UNSET, Raw, Struct, UnsetType

from trioagg.errors import RateLimited, WireError
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
from trioagg.exchanges._numbers import nanos, positive, quantities
from trioagg.model import Candle, Channel, Funding, Instrument, Nanos, OpenInterest, Side, Ticker, Trade

SECOND = 1_000_000_000
FRESH = 300 * SECOND  # ns for which REST's last price and volume may stand beside a newer best bid and ask
SECONDS = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "6h": 21600, "1d": 86400}
FRAMES = {interval: {"1h": "1hr", "6h": "6hr", "1d": "1day"}.get(interval, interval) for interval in SECONDS}
INTERVALS = {frame: interval for interval, frame in FRAMES.items()}  # by REST's names of candles
QUOTES = "RLUSD USDT USDC USD EUR GBP SGD BTC ETH SOL FIL DAI LTC BCH".split()  # for spelling without a list
GUSD = ("BTCGUSD", "ETHGUSD")  # all its spot markets: of PAXGUSD the base is PAXG
STREAMS = {Channel.TRADES: "trade", Channel.TICKER: "bookTicker", Channel.FUNDING: "fundingAmount"}
UNUSED = ["depthUpdate", "markPrice", "heartbeat", "mark_price_updates", "funding_amount_updates"]
UNUSED += [f"candles_{interval}_updates" for interval in SECONDS]
"""Kinds that are known and not collected."""


class _Frame(Struct):
    """Whatever comes: an event of a named type or of none, a reply, or an error of REST."""

    e: str = ""
    type: str = ""
    t: Raw | UnsetType = UNSET
    B: Raw | UnsetType = UNSET
    lastUpdateId: Raw | UnsetType = UNSET
    id: int | str | None = None
    status: int | UnsetType = UNSET
    error: dict[str, int | str] = {}
    reason: str = ""
    message: str = ""


class _Trade(Struct):
    s: str
    t: int
    p: Decimal
    q: Decimal
    E: int
    m: bool


class _Quote(Struct):
    """Best bid and ask: numbers as text, which may be empty; ``c`` is the last price."""

    s: str
    b: str
    B: str
    a: str
    A: str
    E: int
    c: str = ""


class _Funding(Struct):
    """``f``: to be paid for one unit of the base at ``T``; ``p``: the mark price; ``R``: it was paid."""

    s: str
    f: Decimal
    p: Decimal
    T: int
    R: bool


class _RestTrade(Struct, rename={"id": "tid", "time": "timestampms", "side": "type"}):
    id: int
    time: int
    price: Decimal
    amount: Decimal
    side: Literal["buy", "sell", "block", "auction"]


class _OldTrade(Struct, tag="trade", rename={"id": "event_id", "time": "timestamp", "amount": "quantity"}):
    symbol: str
    id: int
    time: int
    price: Decimal
    amount: Decimal
    side: Literal["buy", "sell", "block", "auction"]


class _OldBook(Struct, tag="l2_updates"):
    trades: list[_OldTrade] = []


class _RestCandle(Struct, array_like=True):
    time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class _RestTicker(Struct):
    bid: Decimal
    ask: Decimal
    last: Decimal
    volume: dict[str, Decimal]  # by currency, and a ``timestamp``


class _RestRisk(Struct):
    open_interest: Decimal


class _RestSymbol(Struct):
    symbol: str
    base_currency: str
    quote_currency: str
    status: str
    tick_size: Decimal = Decimal(0)
    quote_increment: Decimal = Decimal(0)
    product_type: str = "spot"
    contract_type: str = ""


_frame = msgspec.json.Decoder(_Frame)
_trade = msgspec.json.Decoder(_Trade)
_quote = msgspec.json.Decoder(_Quote)
_funding = msgspec.json.Decoder(_Funding)
_old = msgspec.json.Decoder(_OldTrade | _OldBook)


class Adapter(Exchange):
    """One connection to Gemini, or the polling of its tickers, candles and open interest."""

    name = "gemini"
    rest_url = "https://api.gemini.com"
    ws_url = "wss://ws.gemini.com"
    streamed = frozenset({Channel.TRADES, Channel.TICKER, Channel.FUNDING})
    polled = frozenset({Channel.TICKER, Channel.CANDLES, Channel.OPEN_INTEREST})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        **dict.fromkeys((Channel.TRADES, Channel.CANDLES), Proof.OVERLAP),
        **dict.fromkeys((Channel.TICKER, Channel.FUNDING, Channel.OPEN_INTEREST), Proof.NOTHING),
    }
    limits = Limits(streams=200, sends=10, weight=60, window=60)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._symbols = {instrument.native: instrument.symbol for instrument in feed.instruments}
        self._wanted = {(item.channel, item.native) for item in feed.subscriptions}
        self._candles: dict[str, Mapping[Nanos, Candle]] = {}
        self._routes: dict[str, Callable[[bytes, Nanos], Sequence[Output]]] = {
            "fundingAmount": self._on_funding,
            "trade": self._on_old,
            "l2_updates": self._on_old,
            **dict.fromkeys(UNUSED, self._unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/v1/symbols/details/all"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        listed = msgspec.json.decode(body, type=list[_RestSymbol])
        return [_instrument(m) for m in listed if m.product_type in ("spot", "swap") and m.contract_type != "inverse"]

    @classmethod
    def native(cls, symbol: str) -> str:
        pair, colon, _ = symbol.partition(":")
        return pair.replace("/", "").lower() + ("perp" if colon else "")

    @classmethod
    def unified(cls, native: str) -> str:
        pair, perpetual = native.upper().removesuffix("PERP"), native.lower().endswith("perp")
        for asset in ("GUSD", *QUOTES) if perpetual or pair in GUSD else QUOTES:
            if pair.endswith(asset) and pair != asset:
                return f"{pair.removesuffix(asset)}/{asset}" + (f":{asset}" if perpetual else "")
        return native

    def polls(self) -> Iterable[Fetch]:
        paths = [path for item in self.feed.subscriptions if (path := _path(item, self.feed.candle))]
        every = max(self.feed.interval, float(len(paths)))
        return [Fetch(path, every=every) for path in paths]

    def begin(self) -> Iterable[Action]:
        yield Connect("/")

    def opened(self) -> Iterable[Action]:
        requests: dict[tuple[str, bool], list[str]] = {}
        for item in self.feed.subscriptions:
            if item.channel in STREAMS and (item.channel is not Channel.FUNDING or item.native.endswith("perp")):
                streams = requests.setdefault((item.native, item.channel is Channel.FUNDING), [])
                streams.append(f"{item.native}@{STREAMS[item.channel]}")
        for number, streams in enumerate(requests.values(), 1):
            request = {"id": str(number), "method": "subscribe", "params": streams}
            yield Send(msgspec.json.encode(request).decode())

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        head = _frame.decode(frame)
        if head.B is not UNSET:
            return self._on_quote(frame, at)
        if head.t is not UNSET:
            return self._on_trade(frame, at)
        if kind := head.e or head.type:
            if kind not in self._routes:
                raise WireError(f"unknown message kind {kind[:40]!r}")
            return self._routes[kind](frame, at)
        return () if head.lastUpdateId is not UNSET else (_reply(head),)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        _complain(body)
        match urlsplit(fetch.path).path.strip("/").split("/"):
            case ["v1", "pubticker", native]:
                return (self._rest_ticker(native, body, at),)
            case ["v1", "trades", native]:
                trades = msgspec.json.decode(body, type=list[_RestTrade])
                return [made for trade in trades for made in self._taken(native, trade, at)]
            case ["v2", "candles", native, frame] | ["v2", "derivatives", "candles", native, frame]:
                return self._changed(fetch.path, self._rest_candles(native, frame, body, at))
            case ["v1", "riskstats", native]:
                held = msgspec.json.decode(body, type=_RestRisk).open_interest
                quantities(held)
                return (OpenInterest("gemini", self._symbol(native), held, None, at),)
            case ["v1", "symbols" | "pricefeed" | "book" | "fundingamount", *_] | ["v2", "ticker", _]:
                return ()
        raise WireError("unknown REST path")

    def _collects(self, channel: Channel, native: str) -> bool:
        return not self._wanted or (channel, native) in self._wanted

    def _symbol(self, native: str) -> str:
        if (native := native.lower()) not in self._symbols:  # the archived socket shouts
            self._symbols[native] = self.unified(native)
        return self._symbols[native]

    def _on_trade(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        trade = _trade.decode(frame)
        if not self._collects(Channel.TRADES, trade.s):
            return ()
        positive(trade.p, trade.q)
        side: Side = "sell" if trade.m else "buy"
        return (Trade("gemini", self._symbol(trade.s), trade.t, trade.p, trade.q, side, _moment(trade.E), at),)

    def _on_quote(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        q = _quote.decode(frame)
        if not self._collects(Channel.TICKER, q.s):
            return ()
        numbers = [msgspec.convert(text, Decimal) if text else None for text in (q.b, q.B, q.a, q.A, q.c)]
        quantities(*numbers)
        bid, bid_size, ask, ask_size, last = numbers
        symbol = self._symbol(q.s)
        day = self.feed.board.get(symbol)
        day_last, volume = (day.last, day.volume) if day and at - day.at < FRESH else (None, None)
        return (Ticker("gemini", symbol, bid, bid_size, ask, ask_size, last or day_last, volume, _moment(q.E), at),)

    def _on_funding(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = _funding.decode(frame)
        if told.R or not self._collects(Channel.FUNDING, told.s):
            return ()
        positive(told.p)
        quantities(abs(told.f))
        return (Funding("gemini", self._symbol(told.s), told.f / told.p, told.p, None, _moment(told.T), None, at),)

    def _on_old(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = _old.decode(frame)
        trades = [told] if isinstance(told, _OldTrade) else told.trades
        return [made for trade in trades for made in self._taken(trade.symbol, trade, at)]

    def _taken(self, native: str, trade: _RestTrade | _OldTrade, at: Nanos) -> Sequence[Trade]:
        """A trade, if it has a taker."""
        if trade.side not in ("buy", "sell"):
            return ()
        positive(trade.price, trade.amount)
        symbol, time = self._symbol(native), _moment(trade.time)
        return (Trade("gemini", symbol, trade.id, trade.price, trade.amount, trade.side, time, at),)

    def _unused(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        return ()

    def _rest_ticker(self, native: str, body: bytes, at: Nanos) -> Ticker:
        t, symbol = msgspec.json.decode(body, type=_RestTicker), self._symbol(native)
        quantities(t.bid, t.ask, t.last, *t.volume.values())
        volume, stamp = t.volume.get(symbol.partition("/")[0]), t.volume.get("timestamp")
        if volume is not None:
            self.feed.board[symbol] = Daily(t.last, volume, at)
        timestamp = None if stamp is None else _moment(int(stamp))
        return Ticker("gemini", symbol, t.bid, None, t.ask, None, t.last, volume, timestamp, at)

    def _rest_candles(self, native: str, frame: str, body: bytes, at: Nanos) -> list[Candle]:
        if frame not in INTERVALS:
            raise WireError(f"unknown candles {frame[:20]!r}")
        candles = msgspec.json.decode(body, type=list[_RestCandle])
        return [_candle(self._symbol(native), INTERVALS[frame], candle, at) for candle in candles]

    def _changed(self, path: str, candles: Sequence[Candle]) -> list[Candle]:
        """Candles that differ from what the poll before told."""
        before = self._candles.get(path, {})
        now = self._candles[path] = {candle.open_time: evolve(candle, received=0) for candle in candles}
        return [candle for candle in candles if before.get(candle.open_time) != now[candle.open_time]]


def _path(item: Subscription, candle: str) -> str:
    """The request that a subscription is polled with; empty where there is none."""
    native, perpetual = item.native, item.native.endswith("perp")
    match item.channel:
        case Channel.TICKER:
            return f"/v1/pubticker/{native}"
        case Channel.OPEN_INTEREST if perpetual:
            return f"/v1/riskstats/{native}"
        case Channel.CANDLES if perpetual:
            return f"/v2/derivatives/candles/{native}/1m" if candle == "1m" else ""
        case Channel.CANDLES if candle in FRAMES:
            return f"/v2/candles/{native}/{FRAMES[candle]}"
    return ""


def _reply(head: _Frame) -> Ack | Refused | Retire:
    code, text = head.error.get("code"), head.error.get("msg")
    if code == -1003:
        return Retire(f"too many requests: {text}"[:200])
    if head.error or head.reason:
        return Refused(f"request {head.id}: {text} ({code})"[:200] if head.error else head.reason[:200])
    if head.status is not UNSET:
        return Ack(f"request {head.id}")
    raise WireError("unknown message kind")


def _complain(body: bytes) -> None:
    """Raise where an answer is an error, whatever its status."""
    error = _frame.decode(body) if body.lstrip().startswith(b"{") else _Frame()
    if error.reason in ("Too Many Requests", "RateLimit"):
        raise RateLimited(error.message or error.reason, 10)  # it names no time
    if error.reason:
        raise WireError(f"{error.reason}: {error.message}")


def _moment(stamp: int) -> Nanos:
    """A time as nanoseconds: as it is, unless it is so small that it is in milliseconds or microseconds."""
    return stamp if 9_000_000_000_000_000 <= stamp < 9_000_000_000_000_000_000 else nanos(stamp)


def _candle(symbol: str, interval: str, row: _RestCandle, at: Nanos) -> Candle:
    positive(row.open, row.high, row.low, row.close)
    quantities(row.volume)
    opens, prices = nanos(row.time), (row.open, row.high, row.low, row.close, row.volume)
    return Candle("gemini", symbol, interval, opens, *prices, opens + SECONDS[interval] * SECOND <= at, at)


def _instrument(listed: _RestSymbol) -> Instrument:
    base, asset = listed.base_currency.upper(), listed.quote_currency.upper()
    return Instrument(
        exchange="gemini",
        symbol=f"{base}/{asset}" + (f":{asset}" if listed.product_type == "swap" else ""),
        native=listed.symbol.lower(),
        base=base,
        quote=asset,
        tick_size=listed.quote_increment or None,
        amount_step=listed.tick_size or None,
        contract_size=Decimal(1),
        amount_unit=base,
        status="trading" if listed.status == "open" else listed.status.lower(),
    )
