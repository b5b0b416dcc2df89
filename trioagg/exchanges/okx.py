"""OKX v5: spot and perpetual swaps under one name.

Documentation: "Public Data", "Order Book Trading: Market Data" and "WebSocket" of the OKX API guide.

- Trades come one match each as ``trades-all``; their ids are +1 per instrument. That channel and the candles live on
  the business socket, everything else on the public one. The aggregated ``trades`` of a capture are understood too:
  one row each, under the last id of the aggregate.
- ``books`` tells 400 levels, then changes every 100 ms; each names by ``prevSeqId`` the one before it. A number smaller
  than the one before is a count that begins anew. The checksum is 0 since June 2026 and checked where it is not. A book
  whose chain breaks is unsubscribed from and begun anew. OKX recommends fewer than 30 books on one connection.
- ``side`` is the taker's. Sizes of swaps are in contracts: times ``ctVal`` times ``ctMult``, which only the instrument
  list tells; a connection that lacks it asks for it first. Inverse contracts are worth 100 USD (BTC) or 10 USD. What
  comes of a linear contract of unknown size is refused rather than stored wrong; its ticker lacks the sizes.
- Numbers and times are text; before listing, and where a side of the book is empty, the text is empty.
- ``ping`` and ``pong`` are bare words, no JSON. Each argument is acknowledged or refused by itself, a refusal naming
  only the request. REST tells errors with status 200 too. A refusal for haste replaces the connection.
- Candles of six hours and more open at UTC+8 unless their name ends in ``utc``; only those are collected.
- Read from REST: ``market/`` trades, history-trades, candles, history-candles, ticker, tickers, and ``public/``
  instruments, funding-rate, open-interest, time.
- Dated futures and options are not listed; a capture's futures are spelled by rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar, TypeVar

import msgspec

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import (
    Action,
    Connect,
    Exchange,
    Feed,
    Fetch,
    Heartbeat,
    Hole,
    Limits,
    Missed,
    Output,
    Proof,
    Send,
    Subscription,
)
from trioagg.exchanges import _okx as wire
from trioagg.exchanges._books import ChainedBook, Change
from trioagg.exchanges._numbers import EXACT, positive, quantities
from trioagg.exchanges._okx import INTERVALS, Arg, Frame
from trioagg.exchanges._records import asked, unused
from trioagg.exchanges._times import nanos
from trioagg.model import Channel, Funding, Instrument, Liquidation, Nanos, OpenInterest, Ticker, Trade

PER_MESSAGE = 100  # arguments in one subscription; 64 KB are allowed
BOOKS = 29  # on one connection
PUBLIC, BUSINESS = "/ws/v5/public", "/ws/v5/business"
LISTING = "/api/v5/public/instruments?instType="
HASTE = (50011, 50013, 50040, 50061)  # REST: too many requests, busy
PAUSE = 2.0  # seconds: the window of all limits of REST

STREAMS = {
    Channel.TRADES: "trades-all",
    Channel.TICKER: "tickers",
    Channel.BOOK: "books",
    Channel.FUNDING: "funding-rate",
    Channel.OPEN_INTEREST: "open-interest",
    Channel.LIQUIDATIONS: "liquidation-orders",
}
ON_BUSINESS = (Channel.TRADES, Channel.CANDLES)
OF_SWAPS = (Channel.FUNDING, Channel.OPEN_INTEREST, Channel.LIQUIDATIONS)

Row = TypeVar("Row")
Route = Callable[[Frame, Nanos], Sequence[Output]]


class Adapter(Exchange):
    """One connection to OKX's public or business socket."""

    name = "okx"
    rest_url = "https://openapi.okx.com"
    ws_url = "wss://ws.okx.com:8443"
    streamed = frozenset({Channel.CANDLES, *STREAMS})
    proofs: ClassVar[Mapping[Channel, Proof]] = {
        **dict.fromkeys(STREAMS, Proof.NOTHING),
        Channel.TRADES: Proof.ID,
        Channel.BOOK: Proof.CHAIN,
        Channel.CANDLES: Proof.OVERLAP,
    }
    limits = Limits(streams=300, sends=2, weight=20, window=PAUSE)
    heartbeat = Heartbeat(25, "ping")
    clock = Fetch("/api/v5/public/time")

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._sizes: dict[str, Decimal | None] = {}
        self._learn(feed.instruments)
        self._books: dict[str, ChainedBook] = {}
        self._args = dict.fromkeys(_arg(item, feed.candle) for item in feed.subscriptions if _offered(item))
        self._routes: dict[str, Route] = {
            "trades-all": _each(wire.deals, self._trade),
            "trades": _each(wire.deals, self._trade),
            "tickers": _each(wire.ticks, self._ticker),
            "books": self._on_books,
            "funding-rate": _each(wire.rates, self._funding),
            "open-interest": _each(wire.interests, self._interest),
            "liquidation-orders": self._on_closings,
            **dict.fromkeys(INTERVALS, self._on_bars),
            **dict.fromkeys(wire.UNUSED, unused),
        }

    @classmethod
    def listing(cls) -> Sequence[Fetch]:
        return Fetch(LISTING + "SPOT"), Fetch(LISTING + "SWAP")

    @classmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        return wire.instruments(wire.data(wire.answers.decode(body)))

    @classmethod
    def native(cls, symbol: str) -> str:
        pair, _, settled = symbol.partition(":")
        term = [settled.partition("-")[2] or "SWAP"] if settled else []
        return "-".join([*pair.split("/"), *term])

    @classmethod
    def unified(cls, native: str) -> str:
        return wire.unified(native)

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        ours = [item for item in subscriptions if _offered(item)]
        business = [item for item in ours if item.channel in ON_BUSINESS]
        books = [item for item in ours if item.channel is Channel.BOOK]
        public = [item for item in ours if item not in business and item not in books]
        shelves = [books[start : start + BOOKS] for start in range(0, len(books), BOOKS)]
        return [*super().connections(business), *super().connections(public), *shelves]

    def begin(self) -> Iterable[Action]:
        subscribed = self.feed.subscriptions
        if any(":" in item.symbol and item.native not in self._sizes for item in subscribed):
            yield Fetch(LISTING + "SWAP")
        yield Connect(BUSINESS if any(item.channel in ON_BUSINESS for item in subscribed) else PUBLIC)

    def opened(self) -> Iterable[Action]:
        args = [_named(*arg) for arg in self._args]
        for count, start in enumerate(range(0, len(args), PER_MESSAGE), 1):
            yield _request("subscribe", args[start : start + PER_MESSAGE], id=str(count))

    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        if frame == b"pong":
            return ()
        told = wire.frames.decode(frame)
        if told.event:
            return wire.event(told)
        if not told.arg.channel:
            raise WireError("unknown message kind")
        route = self._route(told.arg.channel)
        if self._args and (told.arg.channel, told.arg.inst_id) not in self._args:
            return ()
        return route(told, at)

    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        path, query = asked(fetch)
        path = path.removeprefix("/api/v5/")
        answer = wire.answers.decode(body)
        if answer.code in HASTE:
            raise RateLimited(f"{answer.msg[:200]} ({answer.code})", PAUSE)
        if path == "public/instruments":
            return self._learn(self.instruments(fetch, body))
        if path in wire.UNUSED_PATHS:
            return ()
        if path not in wire.REST:
            raise WireError("unknown REST path")
        bar = query.get("bar", "1m") if wire.REST[path] == "candle" else ""
        arg = Arg(wire.REST[path] + bar, query.get("instId", ""))
        return self._route(arg.channel)(Frame(arg, wire.data(answer)), at)

    def missing(self, hole: Hole) -> Fetch | None:
        if hole.last is None:
            return None
        return Fetch(f"/api/v5/market/history-trades?instId={hole.native}&type=1&after={hole.last + 1}&limit=100")

    @classmethod
    def time(cls, body: bytes) -> Nanos:
        return nanos(wire.clocks.decode(wire.data(wire.answers.decode(body)))[0].ts)

    def _route(self, channel: str) -> Route:
        if (route := self._routes.get(channel)) is None:
            raise WireError(f"unknown message kind {channel[:40]!r}")
        return route

    def _learn(self, listed: Sequence[Instrument]) -> Sequence[Output]:
        self._sizes |= {item.native: item.contract_size for item in listed}
        return ()

    def _size(self, native: str) -> Decimal | None:
        """What a contract is worth in the currency of ``Trade.amount``; None where nothing told it."""
        if native not in self._sizes:
            self._sizes[native] = wire.size(native)
        return self._sizes[native]

    def _known(self, native: str) -> Decimal:
        size = self._size(native)
        if size is None:
            raise WireError(f"unknown contract size of {native[:40]!r}")
        return size

    def _measured(self, native: str, contracts: Decimal) -> tuple[str, Decimal]:
        """The symbol, and a size in the currency of ``Trade.amount``."""
        return self.symbol(native), EXACT.multiply(contracts, self._known(native))

    def _trade(self, row: wire.Deal, at: Nanos) -> Trade:
        positive(row.px, row.sz)
        symbol, amount = self._measured(row.inst_id, row.sz)
        return Trade("okx", symbol, row.trade_id, row.px, amount, row.side, nanos(row.ts), at)

    def _ticker(self, row: wire.Tick, at: Nanos) -> Ticker:
        return wire.ticker(self.symbol(row.inst_id), row, self._size(row.inst_id), at)

    def _on_books(self, told: Frame, at: Nanos) -> Sequence[Output]:
        native, whole = told.arg.inst_id, told.action == "snapshot"
        if not whole and told.action != "update":
            raise WireError(f"unknown action {told.action[:40]!r}")
        rows = wire.books.decode(told.data)
        return [out for row in rows for out in self._on_book(native, row, at, whole=whole)]

    def _on_book(self, native: str, row: wire.Book, at: Nanos, *, whole: bool) -> Sequence[Output]:
        """The book stands in contracts, since the checksum is over the digits that were sent."""
        size, book = self._known(native), self._book(native)
        change = Change(row.prev_seq_id, row.seq_id, wire.levels(row.bids), wire.levels(row.asks), nanos(row.ts))
        out: Sequence[Output] = (book.begin if whole else book.follow)(change, at)
        if book.standing and not wire.checks(row.checksum, book):
            book.fall()
            out = [Missed(book.symbol, Channel.BOOK, "the checksum of the order book is another")]
        again = self._anew(native) if book.due(at) else []
        return [*(wire.measured(item, size) for item in out), *again]

    def _book(self, native: str) -> ChainedBook:
        if native not in self._books:
            self._books[native] = ChainedBook("okx", self.symbol(native), self.feed.book)
        return self._books[native]

    @staticmethod
    def _anew(native: str) -> list[Send]:
        """Ask for a market's book from its beginning."""
        return [_request(op, [_named("books", native)]) for op in ("unsubscribe", "subscribe")]

    def _on_bars(self, told: Frame, at: Nanos) -> Sequence[Output]:
        market = self.symbol(told.arg.inst_id), INTERVALS[told.arg.channel]
        return [wire.bar(market, row, at) for row in wire.bars.decode(told.data)]

    def _funding(self, row: wire.Rate, at: Nanos) -> Funding:
        return wire.funding(self.symbol(row.inst_id), row, at)

    def _interest(self, row: wire.Interest, at: Nanos) -> OpenInterest:
        quantities(row.oi)
        return OpenInterest("okx", *self._measured(row.inst_id, row.oi), nanos(row.ts), at)

    def _on_closings(self, told: Frame, at: Nanos) -> Sequence[Output]:
        """One frame holds those of any swaps, ours or not."""
        rows = [(self.symbol(row.inst_id), row) for row in wire.closings.decode(told.data)]
        ours = [row for symbol, row in rows if self.wants(symbol, Channel.LIQUIDATIONS)]
        return [self._liquidation(row.inst_id, item, at) for row in ours for item in row.details]

    def _liquidation(self, native: str, item: wire.Closing, at: Nanos) -> Liquidation:
        positive(item.bk_px, item.sz)
        symbol, amount = self._measured(native, item.sz)
        return Liquidation("okx", symbol, item.side, item.bk_px, amount, nanos(item.ts), at)


def _offered(subscription: Subscription) -> bool:
    return ":" in subscription.symbol or subscription.channel not in OF_SWAPS


def _arg(subscription: Subscription, candle: str) -> tuple[str, str]:
    """The channel and the instrument to subscribe to; liquidations come for all swaps at once."""
    channel = STREAMS.get(subscription.channel) or f"candle{wire.BARS[candle]}"
    return channel, "" if subscription.channel is Channel.LIQUIDATIONS else subscription.native


def _named(channel: str, native: str) -> dict[str, str]:
    return {"channel": channel, "instId": native} if native else {"channel": channel, "instType": "SWAP"}


def _request(op: str, args: Sequence[dict[str, str]], **ident: str) -> Send:
    return Send(msgspec.json.encode({**ident, "op": op, "args": args}).decode())


def _each(decoder: msgspec.json.Decoder[list[Row]], event: Callable[[Row, Nanos], Output]) -> Route:
    """The route of a channel whose rows are one event each."""
    return lambda told, at: [event(row, at) for row in decoder.decode(told.data)]
