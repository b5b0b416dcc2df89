"""A made-up order book that is a function of the best prices: exact at every change, so that diffs and snapshots agree.

Below the best bid and above the best ask lie levels on a grid, a hundred a side. What rests on a price changes every
64 changes of the book, at another moment for every price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import frozen

from trioagg.simulator import Levels, Quote

DEPTH = 100
"""Levels of a side, beside the best one."""
_TURN = 6  # two to the power of it: changes of the book between two amounts of one price


@frozen
class Books:
    """The books of one symbol.

    Attributes:
        quotes: the best prices from one change to before another.
        amounts: what may rest on a price.
    """

    tick: int
    gap: int
    amounts: list[int]
    quotes: Callable[[int, int], Iterable[Quote]]

    def size(self, price: int, update: int) -> int:
        """What rests on a price after change ``update``."""
        return self.amounts[(price // self.tick * 7919 + self._turn(price, update) * 104729) % len(self.amounts)]

    def _turn(self, price: int, update: int) -> int:
        return (update + price // self.tick) >> _TURN

    def at(self, update: int) -> tuple[Levels, Levels]:
        """The whole book after a change."""
        ((_, _, bid, _, ask, _),) = self.quotes(update, update + 1)
        bids, asks = [bid, *self._below(bid)], [ask, *self._above(ask)]
        return [(p, self.size(p, update)) for p in bids], [(p, self.size(p, update)) for p in asks]

    def _below(self, bid: int) -> range:
        return range((bid - 1) // self.gap * self.gap, 0, -self.gap)[:DEPTH]

    def _above(self, ask: int) -> range:
        first = (ask // self.gap + 1) * self.gap
        return range(first, first + DEPTH * self.gap, self.gap)

    def changes(self, before: int, after: int) -> tuple[Levels, Levels]:
        """Every level that any change after ``before`` up to ``after`` touched, as ``after`` left it; 0 where it went.

        It takes any book from ``before`` on to ``after``, as an exchange's diffs do.
        """
        quotes = list(self.quotes(before, after + 1))
        bids, asks = {quote[2] for quote in quotes}, {quote[4] for quote in quotes}
        final = [dict(side) for side in self.at(after)]
        lower = [self._below(bid) for bid in (min(bids), max(bids))]
        upper = [self._above(ask) for ask in (min(asks), max(asks))]
        turned = (before, after)
        return self._touched(bids, lower, final[0], turned), self._touched(asks, upper, final[1], turned)

    def _touched(self, best: set[int], grids: list[range], final: dict[int, int], turned: tuple[int, int]) -> Levels:
        """Those that were best, those that were not on the grid all the time, and those whose amount changed."""
        always = set(grids[0]) & set(grids[1])
        grid = range(min(min(grid) for grid in grids), max(max(grid) for grid in grids) + 1, self.gap)
        moved = {p for p in grid if p not in always or self._turn(p, turned[0]) != self._turn(p, turned[1])}
        return [(price, final.get(price, 0)) for price in sorted(best | moved)]
