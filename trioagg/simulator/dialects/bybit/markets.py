"""One market of Bybit, in its own words: what trades, quotes, books, candles and the day's figures look like."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import define

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Levels, Pair, Print, Source, Span
from trioagg.simulator.dialects._kit import (
    DAY,
    HOUR,
    MILLI,
    MINUTE,
    SECOND,
    daily,
    funding,
    interest,
    last,
    lately,
    next_funding,
    plain,
    short,
)

MINUTES = (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)
INTERVALS = (*map(str, MINUTES), "D", "W", "M")
MONDAY = 4 * DAY  # the first one of 1970
QUOTES = "USDT USDC USDE USD1 EUR BRL TRY BTC ETH MNT".split()
LOW = 2**48 - 1
_TRADE = re.compile(rb'"topic":"publicTrade\.(\w+)".*?"i":"([^"]+)"')


@define(eq=False)
class Listed:
    """A market as one product lists it."""

    source: Source
    pair: Pair
    native: str
    product: str

    def held(self, at: Nanos) -> int:
        """The open interest, one side."""
        return interest(self.source, self.pair.symbol, at) // self.pair.step * self.pair.step

    def last(self, at: Nanos) -> int:
        """The price of the last trade."""
        return last(self.source, self.pair.symbol, at)[2]

    def price(self, figure: int) -> str:
        """With the decimals of the smallest step."""
        return _fitted(figure, self.pair.tick)

    def size(self, figure: int) -> str:
        """With the decimals of the smallest step."""
        return _fitted(figure, self.pair.step)

    def levels(self, levels: Levels) -> list[list[str]]:
        """One side of a book; a level that went has the size ``0``."""
        return [[self.price(price), self.size(amount) if amount else "0"] for price, amount in levels]

    def ident(self, number: int) -> str:
        """A trade's id: its number on spot, a UUID on linear."""
        if self.product == "spot":
            return str(number)
        return f"{zlib.crc32(self.native.encode()):08x}-d8dd-5{number >> 48:03x}-9112-{number & LOW:012x}"

    def trade(self, trade: Print) -> dict[str, Any]:
        """One of ``publicTrade``; the products order it otherwise."""
        number, at, price, amount, buy = trade
        ident, side, marks = {"i": self.ident(number)}, {"S": "Buy" if buy else "Sell"}, {"BT": False, "RPI": False}
        when, what = {"T": at // MILLI}, {"v": self.size(amount), "p": self.price(price)}
        if self.product == "spot":
            return {**ident, **when, **what, **side, "seq": number, "s": self.native, **marks}
        tick = "PlusTick" if buy else "MinusTick"
        return {**when, "s": self.native, **side, **what, "L": tick, **ident, **marks, "seq": number}

    def deal(self, trade: Print) -> dict[str, Any]:
        """One of ``recent-trade``."""
        number, at, price, amount, buy = trade
        return {
            "execId": self.ident(number), "symbol": self.native, "price": self.price(price),
            "size": self.size(amount), "side": "Buy" if buy else "Sell", "time": str(at // MILLI),
            "isBlockTrade": False, "isRPITrade": False, "seq": str(number),
        }  # fmt: skip

    def forced(self, trade: Print) -> dict[str, Any]:
        """One of ``allLiquidation``: by the side of the position, which the order was against."""
        _, at, price, amount, buy = trade
        side = "Sell" if buy else "Buy"
        return {"T": at // MILLI, "s": self.native, "S": side, "v": self.size(amount), "p": self.price(price)}

    def day(self, at: Nanos) -> dict[str, str]:
        """What the tickers of both products and roads have."""
        span = daily(self.source, self.pair.symbol, at)
        return {
            "symbol": self.native, "lastPrice": self.price(span.close), "highPrice24h": self.price(span.high),
            "lowPrice24h": self.price(span.low), "prevPrice24h": self.price(span.open),
            "volume24h": self.size(span.volume), "turnover24h": self.turnover(span),
            "price24hPcnt": _fitted((span.close - span.open) * SCALE // span.open, 10**4),
        }  # fmt: skip

    def index(self, at: Nanos) -> dict[str, str]:
        """What only spot has: the asset's price in dollars."""
        return {"usdIndexPrice": self.price(self.last(at)) if self.pair.quote.startswith("USD") else ""}

    def quote(self, at: Nanos) -> dict[str, str]:
        """The best prices; the ticker stream of spot lacks them."""
        _, _, bid, bids, ask, asks = self.source.quote(self.pair.symbol, at)
        sides = {"bid1Price": self.price(bid), "bid1Size": self.size(bids)}
        return sides | {"ask1Price": self.price(ask), "ask1Size": self.size(asks)}

    def contract(self, at: Nanos) -> dict[str, str]:
        """What only contracts have; ``openInterest`` counts both sides."""
        mark, hour, held = self.mark(at), lately(self.source, self.pair.symbol, at, HOUR), self.held(at)
        return {
            "prevPrice1h": self.price(hour.open), "markPrice": self.price(mark), "indexPrice": self.price(mark),
            "openInterest": self.size(2 * held), "openInterestValue": short(2 * held * mark // SCALE),
            "singleOpenInterest": self.size(held), "singleOpenInterestValue": short(held * mark // SCALE),
            "fundingRate": short(funding(self.pair.symbol, at)), "nextFundingTime": str(next_funding(at) // MILLI),
            "fundingIntervalHour": "8", "fundingCap": "0.005",
        }  # fmt: skip

    def mark(self, at: Nanos) -> int:
        """The mark price: the middle of the best ones."""
        _, _, bid, _, ask, _ = self.source.quote(self.pair.symbol, at)
        return (bid + ask) // 2 // self.pair.tick * self.pair.tick

    def bar(self, interval: str, at: Nanos) -> tuple[Nanos, Span]:
        """When the candle that a time falls into ends, and what there is of it."""
        opens, ends = frame(interval, at)
        return ends, self.source.span(self.pair.symbol, opens, min(ends, at + 1))

    def prices(self, span: Span) -> list[str]:
        """Open, high, low and close."""
        return [self.price(figure) for figure in (span.open, span.high, span.low, span.close)]

    def turnover(self, span: Span) -> str:
        """The volume in the quote currency."""
        return short(span.quote_volume)

    def rule(self) -> dict[str, Any]:
        """One of ``instruments-info``."""
        return self._spot() if self.product == "spot" else self._linear()

    def _spot(self) -> dict[str, Any]:
        base, quote = self.pair.base, self.pair.quote
        step, most = self.size(self.pair.step), self.size(SCALE * 10**6)
        return {
            "symbol": self.native, "baseCoin": base, "quoteCoin": quote, "innovation": "0", "status": "Trading",
            "marginTrading": "utaOnly", "stTag": "0",
            "lotSizeFilter": {
                "basePrecision": step, "quotePrecision": "0.00000001", "minOrderQty": step, "maxOrderQty": most,
                "minOrderAmt": "5", "maxOrderAmt": "8000000", "maxLimitOrderQty": most, "maxMarketOrderQty": most,
            },
            "priceFilter": {"tickSize": self.price(self.pair.tick)}, "riskParameters": RISK, "symbolType": "",
        }  # fmt: skip

    def _linear(self) -> dict[str, Any]:
        base, quote = self.pair.base, self.pair.quote
        tick, step, most = self.price(self.pair.tick), self.size(self.pair.step), self.size(SCALE * 10**6)
        return {
            "symbol": self.native, "symbolId": zlib.crc32(self.native.encode()) % 1000, "status": "Trading",
            "contractType": "LinearPerpetual", "baseCoin": base, "quoteCoin": quote, "settleCoin": quote,
            "launchTime": "1584230400000", "deliveryTime": "0", "deliveryFeeRate": "",
            "priceScale": str(_digits(self.pair.tick)),
            "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
            "priceFilter": {"minPrice": tick, "maxPrice": self.price(SCALE * 10**7), "tickSize": tick},
            "lotSizeFilter": {
                "maxOrderQty": most, "minOrderQty": step, "qtyStep": step, "postOnlyMaxOrderQty": most,
                "maxMktOrderQty": most, "minNotionalValue": "5",
            },
            "unifiedMarginTrade": True, "fundingInterval": 480, "copyTrading": "both", "upperFundingRate": "0.005",
            "lowerFundingRate": "-0.005", "displayName": "", "isPreListing": False, "preListingInfo": None,
            "riskParameters": RISK, "symbolType": "",
        }  # fmt: skip


RISK: Mapping[str, str] = {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"}


def native(symbol: str) -> str:
    """``BTCUSDT`` on both products, ``BTCPERP`` for a contract in USDC."""
    pair, _, settled = symbol.partition(":")
    return pair.partition("/")[0] + "PERP" if settled == "USDC" else pair.replace("/", "")


def listed(source: Source, product: str) -> dict[str, Listed]:
    """What a product lists, by the exchange's spelling."""
    markets = {symbol: "linear" if ":" in symbol else "spot" for symbol in source.pairs}
    ours = [symbol for symbol, whose in markets.items() if whose == product]
    return {native(symbol): Listed(source, source.pairs[symbol], native(symbol), product) for symbol in ours}


def told(frame: bytes) -> tuple[str, int] | None:
    """The symbol and number of the trade in a frame."""
    if not (found := _TRADE.search(frame)):
        return None
    name, ident = found[1].decode(), found[2].decode()
    base, quote = (name[:-4], "USDC") if name.endswith("PERP") else _parted(name)
    if "-" not in ident:
        return f"{base}/{quote}", int(ident)
    _, _, high, _, low = ident.split("-")
    return f"{base}/{quote}:{quote}", (int(high[1:], 16) << 48) + int(low, 16)


def frame(interval: str, at: Nanos) -> tuple[Nanos, Nanos]:
    """When the candle that a time falls into begins and ends; weeks begin on Mondays."""
    if interval == "M":
        day = datetime.fromtimestamp(at // SECOND, UTC).replace(day=1, hour=0, minute=0, second=0)
        after = day.replace(year=day.year + day.month // 12, month=day.month % 12 + 1)
        return int(day.timestamp()) * SECOND, int(after.timestamp()) * SECOND
    length, shift = {"D": (DAY, 0), "W": (7 * DAY, MONDAY)}.get(interval) or (int(interval) * MINUTE, 0)
    opens = (at - shift) // length * length + shift
    return opens, opens + length


def frames(interval: str, first: Nanos, last: Nanos) -> Iterator[Nanos]:
    """The beginnings of candles from ``first`` to ``last``, the latest first."""
    opens = frame(interval, last)[0]
    while opens >= first:
        yield opens
        opens = frame(interval, opens - 1)[0]


def _parted(name: str) -> tuple[str, str]:
    quote = next((asset for asset in QUOTES if name.endswith(asset)), name[-3:])
    return name.removesuffix(quote), quote


def _digits(step: int) -> int:
    return max(0, len(str(SCALE // step)) - 1)


def _fitted(figure: int, step: int) -> str:
    whole = plain(figure)
    return whole[: len(whole) - 8 + _digits(step)].rstrip(".")
