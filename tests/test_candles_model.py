"""What a candle's coverage claims, against a market of which everything is known, instant by instant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import pytest
from attrs import frozen
from hypothesis import event, given
from hypothesis import strategies as st

from trioagg.integrity.candles import Evidence, Life, Trail, connected

END = 40
MOMENTS = range(-5, END + 5)

lives = st.lists(
    st.builds(
        lambda name, opened, length, lost: Life(f"ws-{name}", opened, opened + length, lost),
        st.integers(1, 2),
        st.integers(0, END),
        st.integers(0, 15),
        st.booleans(),
    ),
    max_size=5,
    unique_by=lambda life: (life.connection, life.opened),
)


@frozen
class Market:
    """When each trade happened, by its number, and which of them are stored."""

    times: Sequence[int]
    stored: Sequence[int]

    def among(self, start: int, end: int) -> set[int]:
        """The trades of an interval."""
        return {number for number, at in enumerate(self.times) if start <= at < end}

    def next_pairs(self) -> Iterator[tuple[int, int, bool]]:
        """The times of stored trades and of those stored next, and whether the numbers follow each other."""
        for one, other in pairwise(self.stored):
            yield self.times[one], self.times[other], other == one + 1

    def evidence(self, around: Sequence[Life]) -> Evidence:
        """What is told of it."""
        trail = Trail()
        for number in self.stored:
            trail.see(number, self.times[number])
        return Evidence.of(trail, connected(around))


@st.composite
def markets(draw: st.DrawFn) -> Market:
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 1, 2, 7]), min_size=1, max_size=25))
    lost = draw(st.sets(st.integers(0, len(steps) - 1), max_size=draw(st.sampled_from([0, 2, 25]))))
    return Market([*accumulate(steps)], [number for number in range(len(steps)) if number not in lost])


def listened(around: Sequence[Life], at: int) -> bool:
    """Whether something was open, and no connection of which the end was a loss was still to come back."""
    for life in around:
        later = [other.opened for other in around if other.connection == life.connection and other.opened > life.opened]
        if life.lost and later and life.closed <= at < min(later):
            return False
    return any(life.opened <= at < life.closed for life in around)


@given(around=lives)
def test_listening_is_told_instant_by_instant(around: list[Life]) -> None:
    """However connections overlap, break and come back."""
    told = {at for first, last in connected(around) for at in range(first, last + 1)}
    assert {at for at in MOMENTS if at in told} == {at for at in MOMENTS if listened(around, at)}


@given(market=markets(), around=lives, start=st.integers(0, END), length=st.integers(1, 20), late=st.booleans())
def test_no_candle_claims_more_than_is_there(
    market: Market, around: list[Life], start: int, length: int, *, late: bool
) -> None:
    """One that is proven has every trade of its interval; coverage and status are what single instants add up to."""
    end = start + length
    covered, status = market.evidence(around).judge(start, end, late=late)
    event(status)

    proven: set[int] = set()
    holes: set[int] = set()
    touched = False
    for before, after, follows in market.next_pairs():
        (proven if follows else holes).update(range(before, after))
        touched = touched or (not follows and before < end and after >= start)
    inside = set(range(start, end))
    heard = {at for at in inside if listened(around, at)}
    assert covered == len((proven | (heard - holes)) & inside)
    if covered < length or touched:
        assert status == "partial"
    elif not inside | {start - 1} <= proven:
        assert status == "unproven"
    else:
        assert status == ("backfilled" if late else "complete")
        assert market.among(start, end) <= {*market.stored}


def test_a_run_of_numbers_whose_times_are_not_in_order() -> None:
    """It proves what lies between its earliest and its latest trade."""
    trail = Trail()
    for number, at in ((1, 10), (2, 30), (3, 20), (7, 15), (8, 50)):
        trail.see(number, at)
    found = Evidence.of(trail, [])
    assert (found.proven, found.broken) == ([(10, 49)], [(15, 20)])
    assert found.judge(11, 15, late=False) == (4, "complete")
    assert found.judge(11, 16, late=False)[1] == "partial"


@pytest.mark.parametrize("hole", [(20, 20), (3, 10), (29, 30), (29, 45)])
def test_a_hole_that_takes_no_time_of_a_candle_takes_its_word(hole: tuple[int, int]) -> None:
    """What is missing between trades of one instant, or just before the first, may have happened in it all the same."""
    trail = Trail()
    for number, at in ((1, 0), (2, hole[0]), (5, hole[1]), (6, 50)):
        trail.see(number, at)
    assert Evidence.of(trail, []).judge(10, 30, late=False)[1] == "partial"
    assert Evidence.of(trail, []).judge(46, 50, late=False)[1] == "complete"
