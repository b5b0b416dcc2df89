"""Gemini spot and perpetuals.

Documentation: "WebSocket API", "Stream Reference", "Market Data v2 (Archived)" and of REST "Symbol Details", "Ticker",
"Trade History", "Candles" and "Risk Stats" of developer.gemini.com.

- A trade and a best bid and ask name no event type: a trade has ``t``, a quote has ``B``. ``m`` true: the buyer was the
  maker, so the taker sold. ``E`` is in nanoseconds. A side of a quote that is empty comes as ``""``.
- Trade ids are no sequence, and nothing else proves that none was missed; REST tells seven days of trades. Auctions and
  block trades have no taker; they are left out.
- A book begins whole (``?snapshot=-1``): ``U`` and ``u`` of that message are the same, nothing else marks it. Changes
  follow if their ``U`` is at most one more than the last ``u``; on the wire it is that ``u`` itself. After a hole the
  book begins anew, by a subscription, since books of REST bear no number.
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
from typing import ClassVar

import msgspec
from msgspec import UNSET

from trioagg.errors import WireError
from trioagg.exchanges import (
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
    Send,
)
from trioagg.exchanges import _gemini as wire
from trioagg.exchanges._books import Change, JoinedBook
from trioagg.exchanges._numbers import positive, quantities
from trioagg.exchanges._records import Changed, asked, known, parted, unused
from trioagg.exchanges._times import nanos
from trioagg.model import Channel, Funding, Instrument, Nanos, OpenInterest, Side, Ticker, Trade

PAGE = 500  # trades in one answer
QUOTES = "RLUSD USDT USDC USD EUR GBP SGD BTC ETH SOL FIL DAI LTC BCH".split()  # for spelling without a list
GUSD = ("BTCGUSD", "ETHGUSD")  # all its spot markets: of PAXGUSD the base is PAXG
STREAMS = {
    Channel.TRADES: "trade",
    Channel.TICKER: "bookTicker",
    Channel.BOOK: "depth@100ms",
    Channel.FUNDING: "fundingAmount",
}
UNUSED = ["markPrice", "heartbeat", "mark_price_updates", "funding_amount_updates"]
UNUSED += [f"candles_{interval}_updates" for interval in wire.FRAMES]
"""Kinds that are known and not collected."""


class Adapter(Exchange):
    """One connection to Gemini, or the polling of its tickers, candles and open interest."""

    name = "gemini"
    rest_url = "https://api.gemini.com"
    ws_url = "wss://ws.gemini.com"
    streamed = frozenset({Channel.TRADES, Channel.TICKER, Channel.BOOK, Channel.FUNDING})
    polled = frozenset({Channel.TICKER, Channel.CANDLES, Channel.OPEN_INTEREST})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        **dict.fromkeys((Channel.TRADES, Channel.CANDLES), Proof.OVERLAP),
        Channel.BOOK: Proof.CHAIN,
        **dict.fromkeys((Channel.TICKER, Channel.FUNDING, Channel.OPEN_INTEREST), Proof.NOTHING),
    }
    limits = Limits(streams=200, sends=10, weight=60, window=60)

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._books: dict[str, JoinedBook] = {}
        self._changed = Changed()
        self._routes: dict[str, Callable[[bytes, Nanos], Sequence[Output]]] = {
            "depthUpdate": self._on_depth,
            "fundingAmount": self._on_funding,
            "trade": self._on_old,
            "l2_updates": self._on_old,
            **dict.fromkeys(UNUSED, unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return (Fetch("/v1/symbols/details/all"),)

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        listed = wire.rest_symbols.decode(body)
        return [
            wire.instrument(m) for m in listed if m.product_type in ("spot", "swap") and m.contract_type != "inverse"
        ]

    @classmethod
    def native(cls, symbol: str) -> str:
        pair, colon, _ = symbol.partition(":")
        return pair.replace("/", "").lower() + ("perp" if colon else "")

    @classmethod
    def unified(cls, native: str) -> str:
        name, perpetual = native.upper().removesuffix("PERP"), native.lower().endswith("perp")
        pair = parted(name, ("GUSD", *QUOTES) if perpetual or name in GUSD else QUOTES)
        return "/".join(pair) + (f":{pair[1]}" if perpetual else "") if pair else native

    def polls(self) -> Iterable[Fetch]:
        paths = [path for item in self.feed.subscriptions if (path := wire.polled(item, self.feed.candle))]
        every = max(self.feed.interval, float(len(paths)))
        return [Fetch(path, every=every) for path in paths]

    def begin(self) -> Iterable[Action]:
        yield Connect("/?snapshot=-1")

    def opened(self) -> Iterable[Action]:
        requests: dict[tuple[str, bool], list[str]] = {}
        for item in self.feed.subscriptions:
            if item.channel in STREAMS and (item.channel is not Channel.FUNDING or item.native.endswith("perp")):
                streams = requests.setdefault((item.native, item.channel is Channel.FUNDING), [])
                streams.append(f"{item.native}@{STREAMS[item.channel]}")
        return [_request("subscribe", str(number), streams) for number, streams in enumerate(requests.values(), 1)]

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        head = wire.frame.decode(frame)
        if head.B is not UNSET:
            return self._on_quote(frame, at)
        if head.t is not UNSET:
            return self._on_trade(frame, at)
        if kind := head.e or head.type:
            if kind not in self._routes:
                raise WireError(f"unknown message kind {kind[:40]!r}")
            return self._routes[kind](frame, at)
        return () if head.lastUpdateId is not UNSET else (wire.reply(head),)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        wire.complain(body)
        path, _ = asked(fetch)
        match path.strip("/").split("/"):
            case ["v1", "pubticker", native]:
                return (self._rest_ticker(self.symbol(native), wire.rest_ticker.decode(body), at),)
            case ["v1", "trades", native]:
                symbol = self.symbol(native)
                return [made for trade in wire.rest_trades.decode(body) for made in wire.taken(symbol, trade, at)]
            case ["v2", "candles", native, frame] | ["v2", "derivatives", "candles", native, frame]:
                market = self.symbol(native), known(frame[:20], wire.INTERVALS, "candles")
                rows = wire.rest_candles.decode(body)
                return self._changed.told(fetch.path, [wire.rest_candle(market, row, at) for row in rows])
            case ["v1", "riskstats", native]:
                held = wire.rest_risk.decode(body).open_interest
                quantities(held)
                return (OpenInterest("gemini", self.symbol(native), held, None, at),)
            case ["v1", "symbols" | "pricefeed" | "book" | "fundingamount", *_] | ["v2", "ticker", _]:
                return ()
        raise WireError("unknown REST path")

    def missing(self, hole: Hole) -> Fetch:
        after = hole.since // 1_000_000 - 1  # its own millisecond belongs to it
        return Fetch(f"/v1/trades/{hole.native}?timestamp={after}&limit_trades={PAGE}")

    def _on_trade(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        trade = wire.trade.decode(frame)
        if not self.wants(symbol := self.symbol(trade.s), Channel.TRADES):
            return ()
        positive(trade.p, trade.q)
        side: Side = "sell" if trade.m else "buy"
        return (Trade("gemini", symbol, trade.t, trade.p, trade.q, side, nanos(trade.E), at),)

    def _on_quote(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        q = wire.quote.decode(frame)
        if not self.wants(symbol := self.symbol(q.s), Channel.TICKER):
            return ()
        sides, last = (wire.figure(q.b), wire.figure(q.B), wire.figure(q.a), wire.figure(q.A)), wire.figure(q.c)
        quantities(*sides, last)
        day_last, volume = self.daily(symbol, at)
        return (Ticker("gemini", symbol, *sides, last or day_last, volume, nanos(q.E), at),)

    def _on_depth(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.depth.decode(frame)
        if not self.wants(symbol := self.symbol(told.s), Channel.BOOK):
            return ()
        if symbol not in self._books:
            self._books[symbol] = JoinedBook("gemini", symbol, self.feed.book)
        book, stamp = self._books[symbol], nanos(told.E)
        if not book.standing and told.u == told.U:
            return book.join(told.u, told.b, told.a, stamp=stamp, at=at)
        out = book.step(Change(told.U - 1, told.u, told.b, told.a, stamp), at)
        return [*out, *_anew(told.s)] if book.due(at) else out

    def _on_funding(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        told = wire.funding.decode(frame)
        if told.R or not self.wants(symbol := self.symbol(told.s), Channel.FUNDING):
            return ()
        positive(told.p)
        quantities(abs(told.f))
        return (Funding("gemini", symbol, told.f / told.p, told.p, None, nanos(told.T), None, at),)

    def _on_old(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        """The archived socket shouts its symbols."""
        told = wire.old.decode(frame)
        trades = [told] if isinstance(told, wire.OldTrade) else told.trades
        return [made for trade in trades for made in wire.taken(self.symbol(trade.symbol.lower()), trade, at)]

    def _rest_ticker(self, symbol: str, t: wire.RestTicker, at: Nanos) -> Ticker:
        quantities(t.bid, t.ask, t.last, *t.volume.values())
        volume, stamp = t.volume.get(symbol.partition("/")[0]), t.volume.get("timestamp")
        if volume is not None:
            self.feed.board[symbol] = Daily(t.last, volume, at)
        timestamp = None if stamp is None else nanos(int(stamp))
        return Ticker("gemini", symbol, t.bid, None, t.ask, None, t.last, volume, timestamp, at)


def _request(method: str, name: str, streams: Sequence[str]) -> Send:
    return Send(msgspec.json.encode({"id": name, "method": method, "params": streams}).decode())


def _anew(native: str) -> list[Send]:
    """Ask for a market's book from its beginning."""
    streams = [f"{native}@{STREAMS[Channel.BOOK]}"]
    return [_request(method, native, streams) for method in ("unsubscribe", "subscribe")]
