"""One market on many exchanges: how far each exchange's price is from what the others say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from statistics import median_high, median_low

from attrs import frozen

from trioagg.model import Nanos


@frozen
class Price:
    """What one exchange says a market is worth.

    Attributes:
        price: quote currency, more than zero.
        received: when it arrived, nanoseconds UTC.
    """

    exchange: str
    symbol: str
    price: Decimal
    received: Nanos


def deviations(prices: Iterable[Price], *, since: Nanos) -> Mapping[tuple[str, str], float]:
    """How much higher each price is than the median of the others', 0.01 is one percent, by (symbol, exchange).

    Where the others are an even number, every price between the two middle ones is a median of theirs: the one that is
    nearest counts. So as soon as there are three prices, one that is far off spoils no other's.

    Args:
        prices: one of each exchange and symbol.
        since: those that arrived earlier say nothing, neither of themselves nor of others.
    """
    symbols: dict[str, list[Price]] = {}
    for price in prices:
        if price.received >= since:
            symbols.setdefault(price.symbol, []).append(price)
    return {
        (symbol, price.exchange): _deviation(price.price, [other.price for other in told if other is not price])
        for symbol, told in symbols.items()
        if len(told) > 1
        for price in told
    }


def _deviation(price: Decimal, others: list[Decimal]) -> float:
    reference = min(max(price, median_low(others)), median_high(others))
    return float((price - reference) / reference)
