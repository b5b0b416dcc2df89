"""Order books, as the adapters keep them: what an exchange's snapshots and changes make of one market.

An ``OrderBook`` takes whole books and changes of levels, and tells what is wanted of them. A ``JoinedBook`` counts the
changes too: it holds those back that come before their snapshot, leaves out those that the snapshot has, and falls when
one is missing. A book that has fallen, and one that never stood, waits for a snapshot; who asks for it is the adapter.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from decimal import Decimal

from attrs import frozen

from trioagg.exchanges import BookPlan, Missed
from trioagg.exchanges._numbers import SMALLEST, positive
from trioagg.model import Book, Channel, Delta, Event, Level, Nanos, Quote

PATIENCE: Nanos = 5_000_000_000
"""How long a snapshot may be under way before it is asked for again."""

WAITING = 5_000
"""Changes that may wait for a snapshot; of more, the oldest are dropped."""

Half = tuple[Decimal | None, Decimal | None]
"""One side of a quote: the best price, and how much stands there."""
NOBODY: Half = (None, None)


class _Side:
    """One side: what stands at each price, and the prices in ascending order."""

    def __init__(self) -> None:
        self.amounts: dict[Decimal, Decimal] = {}
        self.prices: list[Decimal] = []

    def put(self, price: Decimal, amount: Decimal) -> None:
        if not amount:
            if self.amounts.pop(price, None) is not None:
                del self.prices[bisect_left(self.prices, price)]
            return
        if price not in self.amounts:
            insort(self.prices, price)
        self.amounts[price] = amount

    def fill(self, levels: Sequence[Level]) -> None:
        self.amounts = {price: amount for price, amount in levels if amount}
        self.prices = sorted(self.amounts)

    def drop(self, prices: Sequence[Decimal]) -> None:
        for price in prices:
            self.put(price, Decimal(0))

    def levels(self, prices: Sequence[Decimal]) -> list[Level]:
        return [(price, self.amounts[price]) for price in prices]


class OrderBook:
    """The book of one market.

    Args:
        plan: what is wanted of it.
        depth: levels of a side that the exchange keeps us told of; those beyond are dropped. None for all.

    Attributes:
        standing: whether it is whole; changes of one that is not mean nothing.
    """

    def __init__(self, exchange: str, symbol: str, plan: BookPlan, *, depth: int | None = None) -> None:
        self.exchange, self.symbol = exchange, symbol
        self.standing = False
        self._plan, self._depth = plan, depth
        self._bids, self._asks = _Side(), _Side()
        self._best: tuple[Half, Half] = (NOBODY, NOBODY)
        self._period = -1
        self._asked: tuple[Nanos | None, Nanos | None] = (None, None)
        self._outstanding = False

    def replace(self, bids: Sequence[Level], asks: Sequence[Level], stamp: Nanos | None, at: Nanos) -> list[Event]:
        """Take a whole book, in any order.

        Returns:
            What is wanted of it.

        Raises:
            WireError: a number cannot be; nothing was taken.
        """
        _check(bids, asks)
        self._bids.fill(bids)
        self._asks.fill(asks)
        self.standing, self._outstanding = True, False
        self._best, self._period = (NOBODY, NOBODY), -1
        return self._told(bids, asks, stamp, at, whole=True)

    def change(self, bids: Sequence[Level], asks: Sequence[Level], stamp: Nanos | None, at: Nanos) -> list[Event]:
        """Take changes: what stands at each price now; 0 where nothing does any more.

        Returns:
            What is wanted of it; nothing where the book does not stand.

        Raises:
            WireError: a number cannot be; nothing was taken.
        """
        _check(bids, asks)
        if not self.standing:
            return []
        for price, amount in bids:
            self._bids.put(price, amount)
        for price, amount in asks:
            self._asks.put(price, amount)
        return self._told(bids, asks, stamp, at, whole=False)

    def retold(self, bids: Sequence[Level], asks: Sequence[Level], stamp: Nanos | None, at: Nanos) -> list[Event]:
        """Take a book that is told whole each time: after the first one, what is another in it is what changed.

        Raises:
            WireError: a number cannot be; nothing was taken.
        """
        _check(bids, asks)
        if not self.standing:
            return self.replace(bids, asks, stamp, at)
        return self.change(_difference(self.bids(), bids), _difference(self.asks(), asks), stamp, at)

    def fall(self) -> None:
        """It is not whole any more: its changes mean nothing until the next snapshot."""
        self.standing = False

    def due(self, at: Nanos) -> bool:
        """Whether a snapshot is to be asked for now.

        What is asked for is given time to come; a book that falls again and again asks twice in that time, no more.
        """
        last = self._asked[-1 if self._outstanding else 0]
        if self.standing or (last is not None and 0 <= at - last < PATIENCE):
            return False
        self._asked, self._outstanding = (self._asked[-1], at), True
        return True

    def bids(self, count: int | None = None) -> list[Level]:
        """The best bids, best first."""
        prices = self._bids.prices
        return self._bids.levels(prices[::-1] if count is None else prices[: -count - 1 : -1])

    def asks(self, count: int | None = None) -> list[Level]:
        """The best asks, best first."""
        return self._asks.levels(self._asks.prices[:count])

    def _told(
        self, bids: Sequence[Level], asks: Sequence[Level], stamp: Nanos | None, at: Nanos, *, whole: bool
    ) -> list[Event]:
        if self._depth is not None:
            self._bids.drop(self._bids.prices[: -self._depth])
            self._asks.drop(self._asks.prices[self._depth :])
        kept, who, events = self._plan.kept, (self.exchange, self.symbol), list[Event]()
        if "deltas" in kept:
            events.append(Delta(*who, tuple(bids), tuple(asks), whole, stamp, at))
        best = self._half(self._bids, -1), self._half(self._asks, 0)
        if best != self._best and "best" in kept:
            events.append(Quote(*who, *best[0], *best[1], stamp, at))
        self._best = best
        period = at // self._plan.period
        if period != self._period and "snapshots" in kept:
            count = self._plan.levels
            events.append(Book(*who, tuple(self.bids(count)), tuple(self.asks(count)), stamp, at))
        self._period = period
        return events

    @staticmethod
    def _half(side: _Side, place: int) -> Half:
        return (price := side.prices[place], side.amounts[price]) if side.prices else NOBODY


@frozen
class Change:
    """One message of changes, counted by the exchange.

    Attributes:
        after: the number that it follows: with it held, nothing is missing.
        number: the one that is held once it was taken.
        stamp: the matching engine's time.
    """

    after: int
    number: int
    bids: Sequence[Level]
    asks: Sequence[Level]
    stamp: Nanos | None


class JoinedBook(OrderBook):
    """A book whose changes are counted, and whose snapshots are asked for.

    Attributes:
        held: the number of the last change that is in it.
    """

    def __init__(self, exchange: str, symbol: str, plan: BookPlan, *, depth: int | None = None) -> None:
        super().__init__(exchange, symbol, plan, depth=depth)
        self.held = -1
        self._waiting: deque[Change] = deque(maxlen=WAITING)

    def join(
        self, number: int, bids: Sequence[Level], asks: Sequence[Level], *, stamp: Nanos | None, at: Nanos
    ) -> list[Event | Missed]:
        """Take a snapshot that holds every change up to ``number``, and then what waited for it.

        A snapshot that is older than the first change that waits, or than a book that stands, changes nothing.

        Raises:
            WireError: a number cannot be; nothing was taken.
        """
        if self.standing and number <= self.held:
            return []
        waiting = [change for change in self._waiting if change.number > number]
        if waiting and waiting[0].after > number:
            return []
        out: list[Event | Missed] = list(self.replace(bids, asks, stamp, at))
        self.held = number
        self._waiting.clear()
        for change in waiting:
            out += self.step(change, at)
        return out

    def step(self, change: Change, at: Nanos) -> list[Event | Missed]:
        """Take a change in its turn.

        Returns:
            What is wanted of it; or what never came: then the book has fallen, and the change waits for a snapshot.

        Raises:
            WireError: a number cannot be; nothing was taken.
        """
        if not self.standing:
            _check(change.bids, change.asks)
            self._waiting.append(change)
            return []
        if change.number == self.held or (change.number < self.held and change.after != self.held):
            return []
        if change.after > self.held:
            self.fall()
            self._waiting.append(change)
            return [_missed(self.symbol, self.held + 1, change.after)]
        events = self.change(change.bids, change.asks, change.stamp, at)
        self.held = change.number
        return list(events)


class ChainedBook(OrderBook):
    """A book whose snapshots come in its stream, and whose changes each name the one before.

    Args:
        counted: whether numbers are one more each time, so that a jump tells what is missing.

    Attributes:
        held: the number of the last message that is in it.
    """

    def __init__(
        self, exchange: str, symbol: str, plan: BookPlan, *, depth: int | None = None, counted: bool = False
    ) -> None:
        super().__init__(exchange, symbol, plan, depth=depth)
        self.held = -1
        self._counted = counted

    def begin(self, whole: Change, at: Nanos) -> list[Event]:
        """Take a snapshot, whatever was held before; it follows nothing.

        Raises:
            WireError: a number cannot be; nothing was taken.
        """
        events = self.replace(whole.bids, whole.asks, whole.stamp, at)
        self.held = whole.number
        return events

    def follow(self, change: Change, at: Nanos) -> list[Event | Missed]:
        """Take a change that follows what is held, even where the count begins anew, or that tells it once more.

        Returns:
            What is wanted of it; or that something never came: then the book has fallen, and the change is lost.

        Raises:
            WireError: a number cannot be; nothing was taken.
        """
        if self.standing and self.held not in (change.after, change.number):
            _check(change.bids, change.asks)
            self.fall()
            jump = self._counted and change.after > self.held
            return [_missed(self.symbol, self.held + 1, change.after) if jump else _missed(self.symbol)]
        events = self.change(change.bids, change.asks, change.stamp, at)
        self.held = change.number
        return list(events)


def _missed(symbol: str, first: int | None = None, last: int | None = None) -> Missed:
    return Missed(symbol, Channel.BOOK, "changes of the order book are missing", first, last)


def _difference(before: Sequence[Level], now: Sequence[Level]) -> list[Level]:
    """The levels of one side that went, at 0, and those that are new or of another amount."""
    old, new = dict(before), dict(now)
    return [(price, new.get(price, Decimal(0))) for price in old | new if old.get(price) != new.get(price)]


def _check(bids: Sequence[Level], asks: Sequence[Level]) -> None:
    for price, amount in (*bids, *asks):
        positive(price, amount or SMALLEST)
