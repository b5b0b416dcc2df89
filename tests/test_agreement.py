"""Rows and ledger compared by sets of ids; Python's own sets are the model."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagg.integrity.agreement import Difference, differences, holes, size, union, without
from trioagg.integrity.continuity import Run, runs

UNNAMED, STORED, UNFILLED = (
    "missing, not in the ledger",
    "in the ledger, but stored",
    "filled in the ledger, but not stored",
)
BEYOND = 2**63 - 1
sets = st.sets(st.integers(0, 40))
any_runs = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)).map(lambda pair: (pair[0], sum(pair))))


def ids(spans: Iterable[Run]) -> set[int]:
    return {number for first, last in spans for number in range(first, last + 1)}


def told(found: list[Difference]) -> list[tuple[int, int, str]]:
    return [(one.first, one.last, one.problem) for one in found]


@given(any_runs)
def test_a_union_is_the_ids_of_all(given_runs: list[Run]) -> None:
    """Each once, as the fewest runs there are, in ascending order."""
    assert union(given_runs) == runs(ids(given_runs))


@given(sets, sets)
def test_without_is_the_difference_of_sets(some: set[int], others: set[int]) -> None:
    """And its runs are as few as they can be where no other touches."""
    assert ids(without(runs(some), runs(others))) == some - others
    assert without(runs(some), []) == runs(some)


@given(sets)
def test_holes_lie_between_the_edges(stored: set[int]) -> None:
    """Nothing is missing from nothing, and nothing beyond the lowest and the highest."""
    lacking = set(range(min(stored), max(stored))) - stored if stored else set()

    assert holes(runs(stored)) == runs(lacking)
    assert size(runs(stored)) == len(stored)


@given(sets, any_runs, any_runs)
def test_each_difference_is_told_exactly(stored: set[int], named: list[Run], filled: list[Run]) -> None:
    """By its kind: what the ledger does not mention, what it names in vain, and what it takes for stored."""
    found = differences(stored=runs(stored), named=named, filled=filled)

    by_kind = {kind: ids((one.first, one.last) for one in found if one.problem == kind) for kind in (UNNAMED, STORED)}
    lacking = ids(holes(runs(stored)))
    assert by_kind == {UNNAMED: lacking - ids(named) - ids(filled), STORED: ids(named) & stored}
    assert ids((one.first, one.last) for one in found if one.problem == UNFILLED) == ids(filled) - stored
    assert found == sorted(found) and all(one.count == len(ids([(one.first, one.last)])) for one in found)


@pytest.mark.parametrize(
    ("stored", "named", "filled", "expected"),
    [
        ([], [], [], []),
        ([(1, 9)], [], [], []),
        ([(1, 3), (7, 9)], [(4, 6)], [], []),
        ([(1, 3), (7, 9)], [(6, 6), (4, 5)], [], []),
        ([(1, 9)], [], [(4, 6)], []),
        ([(5, 9)], [(1, 4), (10, BEYOND)], [], []),
        ([], [(1, 4)], [], []),
        ([(1, 3), (7, 9)], [(5, 5)], [], [(4, 4, UNNAMED), (6, 6, UNNAMED)]),
        ([(1, 3), (7, 9)], [(3, 7)], [], [(3, 3, STORED), (7, 7, STORED)]),
        ([(1, 3), (7, 9)], [], [(4, 6)], [(4, 6, UNFILLED)]),
        ([(1, 3)], [], [(4, 4)], [(4, 4, UNFILLED)]),
        ([(1, 3), (7, 9)], [(4, 6)], [(5, 5)], [(5, 5, UNFILLED)]),
    ],
)
def test_what_is_a_difference(
    stored: list[Run], named: list[Run], filled: list[Run], expected: list[tuple[int, int, str]]
) -> None:
    """What the ledger names beyond the edges is none; what it says was filled must be there, edges or not."""
    assert told(differences(stored=stored, named=named, filled=filled)) == expected
