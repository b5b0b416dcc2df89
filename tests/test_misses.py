"""What one connection lacked, against the plainest model there is: a set of ids."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from trioagg.integrity.misses import Course, Misses
from trioagg.model import Trade

BATCHES = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=8), min_size=1, max_size=12)


@given(BATCHES)
def test_what_is_missed_is_what_lies_between_and_did_not_come(batches: list[list[int]]) -> None:
    """In any order, late, and twice; ids below the first batch's lowest are none of it."""
    course, came = Course(), set[int]()
    lowest = min(batches[0])
    for batch in batches:
        course.see(batch)
        came |= {number for number in batch if number >= lowest}
        assert course.missed == max(came) - lowest + 1 - len(came)


@given(BATCHES)
def test_a_connection_counts_as_its_markets_do(batches: list[list[int]]) -> None:
    """Whether an id is the one that is due or not."""
    course, misses = Course(), Misses()
    for batch in batches:
        course.see(batch)
        misses.hear([trade("A", number) for number in batch])
        assert misses.count == course.missed


def test_markets_are_counted_apart() -> None:
    """And ids that are texts not at all."""
    misses = Misses()
    misses.hear([trade("A", 1), trade("B", 7), trade("A", 4), trade("C", "x"), trade("C", "z")])
    misses.hear([trade("B", 9), trade("A", 2)])

    assert misses.count == 2


def trade(symbol: str, number: int | str) -> Trade:
    """One with this id."""
    return Trade("binance", symbol, number, Decimal(1), Decimal(1), "buy", None, 1)
