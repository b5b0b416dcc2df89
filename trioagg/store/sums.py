"""What the trades of one market add up to, interval by interval, in whatever order they are taken."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from decimal import Context, Decimal
from operator import itemgetter
from typing import Any

from attrs import define, field

from trioagg.integrity.continuity import Run
from trioagg.model import Nanos
from trioagg.store.order import Found, Span

EXACT = Context(prec=200)
"""Adds without rounding anything that a market could trade."""

LATE = 10 * 10**9
"""Nanoseconds after which a trade did not come live, ledger or not: a backlog told on connecting."""


@define
class Sum:
    """What was traded in one interval.

    Attributes:
        first, last: when the opening and the closing price were made, and under which id.
        received: when the newest of it arrived, nanoseconds UTC.
        late: whether some of it did not come live.
    """

    first: tuple[Any, ...]
    last: tuple[Any, ...]
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    received: Nanos
    late: bool
    trades: int = 1

    def add(self, other: Sum) -> None:
        """Take in what else was traded in the interval."""
        if other.first < self.first:
            self.first, self.open = other.first, other.open
        if other.last > self.last:
            self.last, self.close = other.last, other.close
        self.high, self.low = max(self.high, other.high), min(self.low, other.low)
        self.volume = EXACT.add(self.volume, other.volume)
        self.received = max(self.received, other.received)
        self.late = self.late or other.late
        self.trades += other.trades


@define
class Sums:
    """The intervals of a range of times in which something was traded.

    Attributes:
        length: of an interval, nanoseconds.
        span: trades of other times do not count.
        filled: the ids that were missing for a while, as runs in ascending order.
        found: by the first instant of the interval.
    """

    length: Nanos
    span: Span
    filled: Sequence[Run]
    found: dict[Nanos, Sum] = field(factory=dict)

    def add(self, one: Found) -> None:
        """Take a trade in."""
        at, row = one.moment, one.row
        if not self.span.first <= at < self.span.end:
            return
        price, amount, received = Decimal(row["price"]), Decimal(row["amount"]), row["received"]
        key = (at, isinstance(one.position[-1], str), one.position[-1])
        late = received - at > LATE or self._filled(one.position[-1])
        traded = Sum(key, key, price, price, price, price, amount, received, late)
        if (there := self.found.setdefault(at - at % self.length, traded)) is not traded:
            there.add(traded)

    def _filled(self, number: int | str) -> bool:
        if not self.filled or isinstance(number, str):
            return False
        place = bisect_left(self.filled, number, key=itemgetter(1))
        return place < len(self.filled) and self.filled[place][0] <= number
