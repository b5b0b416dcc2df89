"""The channels between stages: batches move, messages are counted.

A Trio memory channel counts the things in it; here those are lists, and a list may hold one message or a thousand. So a
flow bounds the messages: whoever puts a batch waits until the number waiting is below the bound again. Putting itself
never waits: a batch that a task holds when it is cancelled is already in the flow, and nothing is lost on the way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

import trio
from attrs import define, field

T = TypeVar("T")


@define(eq=False)
class Gauge:
    """How full a flow is.

    Attributes:
        name: the flow's.
        capacity: messages that may wait before those who put must wait.
        waiting: messages put and not taken.
        peak: the most that ever waited.
    """

    name: str
    capacity: int
    waiting: int = 0
    peak: int = 0
    _room: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    def add(self, count: int) -> None:
        """Count messages in."""
        self.waiting += count
        self.peak = max(self.peak, self.waiting)

    def remove(self, count: int) -> None:
        """Count messages out; wakes those who wait for room."""
        self.waiting -= count
        if self.waiting < self.capacity:
            self._room.unpark_all()

    async def room(self) -> None:
        """Wait until fewer than ``capacity`` wait."""
        while self.waiting >= self.capacity:
            await self._room.park()


@define(eq=False)
class Inlet(Generic[T]):
    """The end that batches are put into; closing it ends the flow."""

    gauge: Gauge
    _channel: trio.MemorySendChannel[Sequence[T]]

    def put(self, batch: Sequence[T]) -> None:
        """Put a batch, which nobody may change any more; never waits."""
        if batch:
            self.gauge.add(len(batch))
            try:
                self._channel.send_nowait(batch)
            except trio.BrokenResourceError:
                self.gauge.remove(len(batch))
                raise

    async def room(self) -> None:
        """Wait until the flow is below its bound."""
        await self.gauge.room()

    def close(self) -> None:
        """Put nothing more."""
        self._channel.close()

    def __enter__(self) -> Inlet[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@define(eq=False)
class Outlet(Generic[T]):
    """The end that batches are taken from."""

    gauge: Gauge
    _channel: trio.MemoryReceiveChannel[Sequence[T]]

    async def take(self, most: int) -> list[T]:
        """Wait for a batch, and bring what else waits: ``most`` messages, or more by what the last batch holds beyond.

        Raises:
            trio.EndOfChannel: the inlet is closed and all was taken.
        """
        batch = list(await self._channel.receive())
        self.gauge.remove(len(batch))
        return batch + self.take_waiting(most - len(batch))

    def take_waiting(self, most: float = math.inf) -> list[T]:
        """What waits, up to about ``most`` messages, without waiting for more."""
        batch: list[T] = []
        while len(batch) < most:
            try:
                batch.extend(self._channel.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        self.gauge.remove(len(batch))
        return batch


def flow(name: str, capacity: int) -> tuple[Inlet[Any], Outlet[Any]]:
    """A channel of batches that holds about ``capacity`` messages."""
    gauge = Gauge(name, capacity)
    send, receive = trio.open_memory_channel[Sequence[Any]](math.inf)  # the gauge bounds it
    return Inlet(gauge, send), Outlet(gauge, receive)
