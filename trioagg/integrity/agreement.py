"""Whether a ledger names exactly the ids that the stored rows lack. Pure, and as small as the holes are many.

Sets of ids are spans here: runs in ascending order that neither overlap nor touch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from attrs import frozen

from trioagg.integrity.continuity import Run

Problem = Literal["missing, not in the ledger", "in the ledger, but stored", "filled in the ledger, but not stored"]


@frozen(order=True)
class Difference:
    """Consecutive ids of which the rows and the ledger tell different things.

    Attributes:
        first, last: inclusive.
    """

    first: int
    last: int
    problem: Problem

    @property
    def count(self) -> int:
        """How many ids."""
        return self.last - self.first + 1


def differences(*, stored: Sequence[Run], named: Iterable[Run], filled: Iterable[Run]) -> list[Difference]:
    """Where the rows and the ledger of one market disagree, by id.

    Args:
        stored: the ids of the rows, as spans.
        named: what the ledger says is missing, in any order; beyond the lowest and the highest row it may say so too.
        filled: what it says was missing and is stored now, in any order.
    """
    named, filled = union(named), union(filled)
    found: dict[Problem, list[Run]] = {
        "missing, not in the ledger": without(holes(stored), union([*named, *filled])),
        "in the ledger, but stored": without(named, without(named, stored)),
        "filled in the ledger, but not stored": without(filled, stored),
    }
    return sorted(Difference(*run, problem) for problem, spans in found.items() for run in spans)


def holes(stored: Sequence[Run]) -> list[Run]:
    """What lies between the lowest and the highest of spans, and in none of them."""
    return without([(stored[0][0], stored[-1][1])], stored) if stored else []


def union(runs: Iterable[Run]) -> list[Run]:
    """Runs in any order, overlapping or not, as spans."""
    spans: list[Run] = []
    for first, last in sorted(runs):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(spans[-1][1], last))
        else:
            spans.append((first, last))
    return spans


def without(spans: Sequence[Run], others: Sequence[Run]) -> list[Run]:
    """The ids of the first spans that are not in the others."""
    left: list[Run] = []
    place = 0
    for first, last in spans:
        while place < len(others) and others[place][1] < first:
            place += 1
        start, ahead = first, place
        while ahead < len(others) and others[ahead][0] <= last:
            if start < others[ahead][0]:
                left.append((start, others[ahead][0] - 1))
            start = others[ahead][1] + 1
            ahead += 1
        if start <= last:
            left.append((start, last))
    return left


def size(spans: Iterable[Run]) -> int:
    """How many ids."""
    return sum(last - first + 1 for first, last in spans)
