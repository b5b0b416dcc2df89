"""The ledger's arithmetic against a plain set of ids, through everything that a feed and a store do to it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trioagg.integrity.continuity import Continuity
from trioagg.model import Gap, Part

FIRST, LENGTH = 100, st.integers(1, 6)


def ids(part: Part | Gap) -> range:
    return range(part.first, part.last + 1)


class Market(RuleBasedStateMachine):
    """An exchange that counts up, a link that loses, repeats and reorders, and a store that keeps every id and gap."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: set[int] = set()
        self.ledger: dict[int, Gap] = {}
        self.continuity = Continuity("binance", "BTC/USDT", "trades")
        self.next = FIRST
        self.now = 0
        self.cause = "not received"

    def store(self, *batch: int) -> None:
        """What the writer does: the rows and the gaps that the batch changed, both at once."""
        self.now += 1
        new = set(batch) - self.stored
        self.stored.update(batch)
        for gap in self.continuity.see(batch, self.now, self.cause):
            before = self.ledger.get(gap.first)
            assert before is None or (before.last, before.cause, before.detected) == (gap.last, gap.cause, gap.detected)
            assert before is not None or (gap.cause, gap.detected) == (self.cause, self.now)
            assert gap != before
            self.check_times(gap, new)
            self.ledger[gap.first] = gap

    def check_times(self, gap: Gap, new: set[int]) -> None:
        """What is filled now was filled now; nothing is filled before it was noticed, or closed while open."""
        for part in gap.parts:
            assert (part.closed is None) == (part.status == "open")
            if part.closed is not None:
                assert gap.detected <= part.closed <= self.now
                assert part.closed == self.now or not new & set(ids(part))

    @initialize(length=LENGTH)
    def begin(self, length: int) -> None:
        """The first ids ever."""
        self.deliver(length)

    @rule(length=LENGTH)
    def deliver(self, length: int) -> None:
        """The next ids, in order."""
        self.store(*range(self.next, self.next + length))
        self.next += length

    @rule(length=LENGTH)
    def drop(self, length: int) -> None:
        """Ids that never arrive."""
        self.next += length

    @rule(data=st.data(), length=st.integers(2, 8))
    def reorder(self, data: st.DataObject, length: int) -> None:
        """Some of the next ids, in any order, in one batch or two."""
        some = st.lists(st.integers(self.next, self.next + length - 1), min_size=1, unique=True)
        batch = data.draw(some)
        cut = data.draw(st.integers(0, len(batch) - 1))
        self.next += length
        if cut:
            self.store(*batch[:cut])
        self.store(*batch[cut:])

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Ids that are stored already, some of them twice."""
        self.store(*data.draw(st.lists(st.sampled_from(sorted(self.stored)), min_size=1, max_size=6)))

    @rule(data=st.data(), length=st.integers(1, 10))
    def backlog(self, data: st.DataObject, length: int) -> None:
        """What an exchange replays on subscribing, or an older recording: a run that begins anywhere."""
        start = data.draw(st.integers(max(0, min(self.stored) - 15), self.next))
        self.store(*range(start, start + length))
        self.next = max(self.next, start + length)

    @rule(batch=st.lists(st.integers(0, FIRST + 60), min_size=1, max_size=6))
    def anything(self, batch: list[int]) -> None:
        """Any ids at all."""
        self.store(*batch)
        self.next = max(self.next, *(number + 1 for number in batch))

    @rule(length=LENGTH, cause=st.sampled_from(["disconnect", "stall"]))
    def disconnect(self, length: int, cause: str) -> None:
        """A link that was down for a while; what it missed has this cause."""
        self.next += length
        self.cause = cause

    @rule()
    def restart(self) -> None:
        """The memory is gone, and begun again from what the store knows: the edges, and the gaps with an open part."""
        known = [self.ledger[origin] for origin in sorted(self.ledger) if self.ledger[origin].missing]
        self.continuity = Continuity("binance", "BTC/USDT", "trades", min(self.stored), max(self.stored), known)

    @precondition(lambda self: self.lacking())
    @rule(data=st.data())
    def repair(self, data: st.DataObject) -> None:
        """Some of what is missing, wherever it is."""
        self.store(*data.draw(st.lists(st.sampled_from(sorted(self.lacking())), min_size=1, unique=True)))

    @precondition(lambda self: self.lacking())
    @rule()
    def repair_all(self) -> None:
        """Everything that is missing."""
        self.store(*self.lacking())

    def lacking(self) -> set[int]:
        """What a set says is missing."""
        return set(range(min(self.stored), max(self.stored))) - self.stored if self.stored else set()

    def parts(self, status: str) -> Iterator[Part]:
        """The ledger's parts of one fate."""
        return (part for gap in self.ledger.values() for part in gap.parts if part.status == status)

    @invariant()
    def open_parts_are_what_is_missing(self) -> None:
        """Exactly, and the numbers add up."""
        named = [number for part in self.parts("open") for number in ids(part)]
        assert sorted(named) == sorted(self.lacking())
        assert sum(gap.missing for gap in self.ledger.values()) == len(self.lacking())
        assert self.continuity.open == [gap for _, gap in sorted(self.ledger.items()) if gap.missing]

    @invariant()
    def filled_parts_are_stored(self) -> None:
        """Every id of them."""
        assert {number for part in self.parts("filled") for number in ids(part)} <= self.stored

    @invariant()
    def gaps_do_not_overlap(self) -> None:
        """Nor do their parts, which cover them in order and without a break."""
        gaps = sorted(self.ledger.values(), key=lambda gap: gap.first)
        assert all(one.last < other.first for one, other in pairwise(gaps))
        for gap in gaps:
            assert (gap.first, gap.last) == (gap.parts[0].first, gap.parts[-1].last)
            assert all(part.first <= part.last for part in gap.parts)
            assert all(one.last + 1 == other.first and one.status != other.status for one, other in pairwise(gap.parts))

    @invariant()
    def edges_are_those_of_the_rows(self) -> None:
        """The lowest and the highest id."""
        edges = (min(self.stored), max(self.stored)) if self.stored else (None, None)
        assert (self.continuity.lowest, self.continuity.highest) == edges


TestMarket = Market.TestCase
TestMarket.settings = settings(derandomize=True, max_examples=60, stateful_step_count=30, deadline=None)
