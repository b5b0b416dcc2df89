"""How far what was read from a log is durable in every store: what the log need not keep for us any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

import trio
from attrs import define, field

from trioagg.sources import Ends, Part

PATIENCE = 5.0
"""Seconds in which what is under way is finished before parts of the log go to another loader."""


@define(eq=False)
class Progress:
    """Counts what was put into the flows, and what each store's writer took out and stored, in the same order.

    Attributes:
        stores: how many there are.
    """

    stores: int
    _put: int = field(default=0, init=False)
    _settled: list[int] = field(init=False)
    _marks: deque[tuple[int, dict[Part, int]]] = field(factory=deque, init=False)
    _moved: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    def __attrs_post_init__(self) -> None:
        self._settled = [0] * self.stores

    @property
    def done(self) -> bool:
        """Whether all that was put is durable everywhere."""
        return min(self._settled) >= self._put

    def put(self, count: int, ends: Ends) -> None:
        """So many messages more are in every flow; in the log they go so far."""
        self._put += count
        self._marks.append((self._put, dict(ends)))

    def settle(self, store: int, count: int) -> None:
        """So many messages more are durable in a store, by its number."""
        self._settled[store] += count
        self._moved.unpark_all()

    def durable(self) -> Ends:
        """How far in the log everything is durable everywhere, where that has changed."""
        ends: dict[Part, int] = {}
        while self._marks and self._marks[0][0] <= min(self._settled):
            ends |= self._marks.popleft()[1]
        return ends

    async def release(self, parts: Collection[Part]) -> Ends:
        """See ``Books.release``; a store that is away holds nobody up for long: another may read the same again."""
        with trio.move_on_after(PATIENCE, shield=True):
            while not self.done:
                await self._moved.park()
        ends = self.durable()
        self.forget(parts)
        return ends

    def forget(self, parts: Collection[Part]) -> None:
        """See ``Books.forget``."""
        for _, ends in self._marks:
            for part in parts:
                ends.pop(part, None)
