"""How far one exchange's price is from the others'."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagg.integrity.deviation import Price, deviations

NAMES = "abcdefgh"


def told(*prices: float, received: int = 10) -> list[Price]:
    """What exchanges a, b, … say of one market."""
    return [Price(name, "BTC/USDT", Decimal(str(price)), received) for name, price in zip(NAMES, prices, strict=False)]


def of(prices: list[Price], since: int = 0) -> dict[str, float]:
    """Exchange → its deviation."""
    return {name: ratio for (_, name), ratio in deviations(prices, since=since).items()}


@pytest.mark.parametrize(
    ("prices", "expected"),
    [
        ([100], {}),
        ([100, 100], {"a": 0, "b": 0}),
        ([100, 110], {"a": -1 / 11, "b": 0.1}),
        ([100, 101, 200], {"a": -1 / 101, "b": 0, "c": 200 / 101 - 1}),
        ([100, 100, 100, 50], {"a": 0, "b": 0, "c": 0, "d": -0.5}),
        ([99, 100, 101, 102], {"a": -0.01990099, "b": -0.00990099, "c": 0.01, "d": 0.00990099 + 0.01}),
    ],
)
def test_each_is_measured_by_the_others(prices: list[float], expected: dict[str, float]) -> None:
    """The median of the others is the measure; who is alone has none."""
    assert of(told(*prices)) == pytest.approx(expected, abs=2e-4)


def test_a_stale_price_says_nothing() -> None:
    """Neither of itself nor of others."""
    stale = Price("z", "BTC/USDT", Decimal(1), 9)

    assert of([*told(100, 110), stale], since=10) == of(told(100, 110))
    assert of([*told(100), stale], since=10) == {}


def test_markets_are_apart() -> None:
    """Only the prices of one symbol are compared."""
    others = [Price("a", "ETH/USDT", Decimal(3), 10), Price("b", "ETH/USDT", Decimal(3), 10)]

    assert deviations([*told(100, 100), *others], since=0).keys() == {
        (symbol, name) for symbol in ("BTC/USDT", "ETH/USDT") for name in "ab"
    }


@given(st.lists(st.floats(99, 101), min_size=2, max_size=7), st.floats(0.001, 1e9))
def test_one_outlier_never_spoils_the_reference(honest: list[float], outlier: float) -> None:
    """Whatever one of at least three says, the others deviate from each other as little as they do."""
    found = of(told(*honest, outlier))

    assert all(abs(found[name]) <= 2 / 99 for name in NAMES[: len(honest)])
