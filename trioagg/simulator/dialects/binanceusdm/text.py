"""How Binance USD-M spells figures, and the objects that REST and streams share."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Levels, Pair, Print, Source, Span
from trioagg.simulator.dialects._kit import MILLI, SECOND, daily, funding, next_funding, plain

STRIDE = 7
"""Numbers between two changes of one book: those in between are other markets'."""
RAW = 3_600_000_000
"""How far the count of raw trades is ahead of the aggregated ones'."""
ROWS = 1000
"""Levels of a side that REST tells at the most."""


def native(symbol: str) -> str:
    """``BTCUSDT``."""
    return symbol.partition(":")[0].replace("/", "")


def decimals(step: int) -> int:
    """How many decimals a step has."""
    return len(str(SCALE // step)) - 1


def cut(figure: int, places: int) -> str:
    """A figure with so many decimals."""
    whole = plain(figure)
    return whole[: len(whole) - 8 + places] if places else whole[:-9]


@frozen
class Contract:
    """One contract, and how its figures are written."""

    source: Source
    pair: Pair

    @property
    def name(self) -> str:
        """``BTCUSDT``."""
        return native(self.pair.symbol)

    def price(self, figure: int) -> str:
        """With the contract's own decimals."""
        return cut(figure, decimals(self.pair.tick))

    def amount(self, figure: int) -> str:
        """With the contract's own decimals."""
        return cut(figure, decimals(self.pair.step))

    def rows(self, levels: Levels) -> list[list[str]]:
        """One side of a book."""
        return [[self.price(price), self.amount(amount)] for price, amount in levels]

    def update(self, at: Nanos) -> int:
        """The number of the book's last change before a time."""
        return self.source.update(self.pair.symbol, at) * STRIDE

    def book(self, at: Nanos, depth: int) -> dict[str, Any]:
        """The top of the book, as REST prints it."""
        bids, asks = self.source.book(self.pair.symbol, self.source.update(self.pair.symbol, at))
        times = {"E": at // MILLI, "T": at // MILLI}
        sides = {"bids": self.rows(bids[:depth]), "asks": self.rows(asks[:depth])}
        return {"lastUpdateId": self.update(at), **times, **sides}

    def dealt(self, trade: Print) -> dict[str, Any]:
        """The figures of an aggregated trade."""
        number, at, price, amount, buy = trade
        return {
            "a": number, "p": self.price(price), "q": self.amount(amount), "nq": self.amount(amount),
            "f": number + RAW, "l": number + RAW, "T": at // MILLI, "m": not buy,
        }  # fmt: skip

    def best(self, at: Nanos) -> dict[str, Any]:
        """The best prices, as REST prints them."""
        _, when, bid, bids, ask, asks = self.source.quote(self.pair.symbol, at)
        return {
            "symbol": self.name, "bidPrice": self.price(bid), "bidQty": self.amount(bids),
            "askPrice": self.price(ask), "askQty": self.amount(asks), "time": when // MILLI,
            "lastUpdateId": self.update(at),
        }  # fmt: skip

    def day(self, at: Nanos) -> Span:
        """The last 24 hours."""
        return daily(self.source, self.pair.symbol, at)

    def last_amount(self, span: Span) -> str:
        """The amount of a span's last trade."""
        last = self.source.prints(self.pair.symbol, span.last, span.last + 1)
        return self.amount(next((amount for _, _, _, amount, _ in last), 0))

    def ticker(self, at: Nanos) -> dict[str, Any]:
        """The 24 hours as the stream prints them, without bid and ask."""
        span = self.day(at)
        percent = 100 * (span.close - span.open) / span.open if span.open else 0.0
        mean = span.quote_volume * SCALE // span.volume if span.volume else 0
        return {
            "p": self.price(span.close - span.open), "P": f"{percent:.3f}", "w": self.price(mean),
            "c": self.price(span.close), "Q": self.last_amount(span), "o": self.price(span.open),
            "h": self.price(span.high), "l": self.price(span.low), "v": self.amount(span.volume),
            "q": cut(span.quote_volume, 2), "O": span.start // MILLI, "C": span.end // MILLI,
            "F": span.first + RAW, "L": span.last + RAW, "n": span.count,
        }  # fmt: skip

    def mark(self, at: Nanos) -> tuple[str, str]:
        """The mark price, and the index price."""
        price = self.source.span(self.pair.symbol, at - SECOND, at).close
        return plain(price + self.pair.tick // 2), plain(price - self.pair.tick)

    def rate(self, at: Nanos) -> str:
        """The funding rate."""
        return plain(funding(self.pair.symbol, at))

    def due(self, at: Nanos) -> int:
        """When it is next paid, milliseconds."""
        return next_funding(at) // MILLI

    def candle(self, span: Span) -> list[Any]:
        """Open, high, low, close, volume, turnover, count and what takers bought."""
        prices = [self.price(figure) for figure in (span.open, span.high, span.low, span.close)]
        bought = [self.amount(span.bought), cut(span.quote_bought, 2)]
        return [*prices, self.amount(span.volume), cut(span.quote_volume, 2), span.count, *bought]
