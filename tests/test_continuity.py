"""Gaps in ids that count up by one, against the plainest model there is: a set of ids."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from trioagg.integrity.continuity import PARTS, Continuity, runs
from trioagg.model import Gap, Trade


def fresh() -> Continuity:
    """A market of which nothing is stored."""
    return Continuity("binance", "BTC/USDT", "trades")


def spans(gap: Gap) -> list[tuple[int, int, str]]:
    """The parts of a gap, without their times."""
    return [(part.first, part.last, part.status) for part in gap.parts]


def test_ids_in_order_are_no_gap() -> None:
    """The first ids set the range; those that follow extend it."""
    market = fresh()

    assert market.see([5, 6, 7], 1, "x") == []
    assert market.see([8, 9], 2, "x") == []
    assert (market.lowest, market.highest, market.open) == (5, 9, [])


@given(st.lists(st.integers(4, 9), min_size=1, max_size=4))
def test_the_next_ids_are_taken_at_once_and_others_not_at_all(ids: list[int]) -> None:
    """With the same result; a copy is changed apart."""
    market = fresh()
    market.see([1, 5], 1, "x")
    one, other = market.copy(), market.copy()
    trades = [Trade("binance", "BTC/USDT", number, Decimal(1), Decimal(1), "buy", None, 2) for number in ids]

    followed = one.follow(trades)
    gaps = other.see(ids, 2, "x")

    assert followed == (ids == [*range(6, 6 + len(ids))])
    assert one == (other if followed else market)
    assert not (followed and gaps)
    assert (market.lowest, market.highest, len(market.open), market.open[0].missing) == (1, 5, 1, 3)


def test_a_jump_is_one_gap_with_exact_bounds() -> None:
    """What lies between is missing, from when it was noticed."""
    market = fresh()
    market.see([5], 1, "x")

    (gap,) = market.see([9], 2, "disconnect")

    assert spans(gap) == [(6, 8, "open")]
    assert (gap.cause, gap.detected, gap.missing) == ("disconnect", 2, 3)


def test_disorder_and_repetition_within_a_batch_are_no_gap() -> None:
    """Only what is missing at the end of a batch counts."""
    market = fresh()

    assert market.see([7, 5, 6, 6, 5], 1, "x") == []
    assert market.see([9, 8, 7], 2, "x") == []


def test_a_gap_filled_in_pieces_ends_as_one_filled_row() -> None:
    """While it is being filled, exactly what is missing is open."""
    market = fresh()
    market.see([1, 10], 1, "x")

    (gap,) = market.see([5, 6], 2, "x")
    assert spans(gap) == [(2, 4, "open"), (5, 6, "filled"), (7, 9, "open")]
    market.see([2, 3, 4], 3, "x")
    (gap,) = market.see([9, 8, 7], 4, "x")

    assert spans(gap) == [(2, 9, "filled")]
    assert gap.parts[0].closed == 4
    assert market.open == []


def test_a_gap_says_by_what_each_part_was_filled() -> None:
    """Late by a connection, or told by REST, also where both come in one batch; by the same twice is one part."""
    market = fresh()
    market.see([1, 10], 1, "x")

    market.see([3, 5, 4, 7], 2, "x", asked={4, 5})
    (gap,) = market.see([6, 8], 3, "x", asked={6})
    assert [(part.first, part.last, part.filled_by) for part in gap.parts] == [
        (2, 2, None),
        (3, 3, "stream"),
        (4, 6, "rest"),
        (7, 8, "stream"),
        (9, 9, None),
    ]
    (gap,) = market.forgo((2, 2), 4)
    assert gap.parts[0].filled_by is None
    (gap,) = market.see([2], 5, "x", road="replay")
    assert gap.parts[0].filled_by == "replay"


def test_what_is_filled_already_changes_no_gap() -> None:
    """An exchange that replays its last trades after a reconnect leaves the ledger as it is."""
    market = fresh()
    market.see([1, 10], 1, "x")
    market.see([5], 2, "x")

    assert market.see([5, 1, 10], 3, "x") == []
    assert [spans(gap)[1] for gap in market.see([5, 6], 4, "x")] == [(5, 6, "filled")]


def test_older_ids_widen_the_range_downwards() -> None:
    """What lies between an older recording and what is stored is missing too."""
    market = fresh()
    market.see([100, 101], 1, "x")

    (gap,) = market.see([10, 11], 2, "x")

    assert spans(gap) == [(12, 99, "open")]
    assert (market.lowest, market.highest) == (10, 101)


@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=8), max_size=12))
def test_the_open_parts_are_always_what_a_set_lacks(batches: list[list[int]]) -> None:
    """Whatever comes in whatever order: open is exactly what is missing between the lowest and the highest."""
    market, seen, ledger = fresh(), set[int](), dict[int, Gap]()
    for at, batch in enumerate(batches):
        ledger.update({gap.first: gap for gap in market.see(batch, at, "x")})
        seen.update(batch)

        lacking = set(range(min(seen), max(seen))) - seen
        parts = [part for gap in ledger.values() for part in gap.parts]
        assert {i for part in parts if part.status == "open" for i in range(part.first, part.last + 1)} == lacking
        filled = [i for part in parts if part.status == "filled" for i in range(part.first, part.last + 1)]
        assert len(filled) == len(set(filled)) and set(filled) <= seen
        assert all(gap.first == gap.parts[0].first and gap.last == gap.parts[-1].last for gap in ledger.values())


@given(st.lists(st.integers(0, 30)))
def test_runs_hold_the_same_ids(ids: list[int]) -> None:
    """Runs are the sorted ids, cut where one is missing."""
    found = runs(ids)

    assert [i for first, last in found for i in range(first, last + 1)] == sorted(set(ids))
    assert all(second[0] > first[1] + 1 for first, second in pairwise(found))


def test_ids_in_no_order_do_not_make_one_endless_gap() -> None:
    """What one of them changes is told with few others, and all parts together are the same as of one gap."""
    ids = [number * 3 for number in range(2000)]
    Random(7).shuffle(ids)
    market = Continuity("binance", "BTC/USDT", "trades")
    told: dict[int, Gap] = {}
    market.see([0, 10_000], 1, "lost")
    told = {gap.first: gap for gap in market.open}
    for number in ids:
        changed = market.see([number], 2, "lost")
        assert sum(len(gap.parts) for gap in changed) <= PARTS + 2
        told |= {gap.first: gap for gap in changed}

    parts = [part for first in sorted(told) for part in told[first].parts]
    assert all(before.last + 1 == after.first for before, after in pairwise(parts))
    there = {number for part in parts if part.status == "filled" for number in range(part.first, part.last + 1)}
    assert there == set(ids) - {0}
