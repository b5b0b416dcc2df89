"""The channels between stages: batches move, messages are counted.

A Trio memory channel counts the things in it; here those are lists, and a list may hold one message or a thousand. So a
flow bounds the messages: whoever puts a batch waits until the number waiting is below the bound again. Putting itself
never waits: a batch that a task holds when it is cancelled is already in the flow, and nothing is lost on the way.

A flow may be told which messages are the newest of a state, as a ticker is of its market. Under pressure such a message
takes the place of the one of its state that waits already, and none of them makes anybody wait: what waits is bounded
by the capacity and one message of each state. All others wait, in their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

import trio
from attrs import define, field, frozen

T = TypeVar("T")

PRESSURE = 0.5
"""Share of a flow's capacity beyond which what waits counts as pressure.

While one transaction is written, a writer that keeps up has no more than the next one waiting: a fifth of the default
capacity. The other half is left to the messages that cannot be replaced.
"""


@frozen
class Conflation:
    """Which messages of a flow a newer one may replace, where newer means received later.

    Attributes:
        kinds: their types; any other message always waits.
        state: what a message of those kinds is the newest of.
        count: told how many were replaced.
    """

    kinds: frozenset[type]
    state: Callable[[Any], Hashable]
    count: Callable[[int], None]


class Slot(list[Any]):
    """A batch of one message that a newer one of its state may replace while it waits."""

    __slots__ = ("state",)

    def __init__(self, message: Any, state: Hashable) -> None:
        super().__init__((message,))
        self.state = state

    def offer(self, message: Any) -> None:
        """Hold the newer of two messages; the streams and the polls of one market may come out of order."""
        if message.received >= self[0].received:
            self[0] = message


@define(eq=False)
class Gauge:
    """How full a flow is.

    Attributes:
        name: the flow's.
        capacity: messages that may wait, beside those in slots, before those who put must wait.
        limit: messages that may wait before that counts as pressure.
        waiting: messages put and not taken.
        slots: while there is pressure, where the newest message of each state waits.
    """

    name: str
    capacity: int
    limit: float = math.inf
    waiting: int = 0
    slots: dict[Hashable, Slot] = field(factory=dict)
    _peak: int = 0
    _room: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    @property
    def peak(self) -> int:
        """The most that ever waited."""
        return max(self._peak, self.waiting)

    @property
    def full(self) -> bool:
        """Whether those who put must wait."""
        return self.waiting - len(self.slots) >= self.capacity

    def add(self, count: int) -> None:
        """Count messages in."""
        self.waiting += count

    def remove(self, count: int) -> None:
        """Count messages out; wakes those who wait for room."""
        self._peak = self.peak
        self.waiting -= count
        if self.slots and self.waiting <= self.limit:
            self.slots.clear()  # the next of a state goes behind those, to keep their order
        if not self.full:
            self._room.unpark_all()

    def vacate(self, slot: Slot) -> None:
        """Let nothing be put any more into a slot that was taken."""
        if self.slots.get(slot.state) is slot:
            del self.slots[slot.state]

    async def room(self) -> None:
        """Wait until fewer than ``capacity`` wait."""
        while self.full:
            await self._room.park()


@define(eq=False)
class Inlet(Generic[T]):
    """The end that batches are put into; closing it ends the flow."""

    gauge: Gauge
    _channel: trio.MemorySendChannel[Sequence[T]]
    _conflation: Conflation | None = None

    def put(self, batch: Sequence[T]) -> None:
        """Put a batch, which nobody may change any more; never waits."""
        if self.gauge.waiting > self.gauge.limit and self._conflation:
            batch = self._conflated(batch, self._conflation)
        if batch:
            self._channel.send_nowait(batch)
            self.gauge.add(len(batch))

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

    def _conflated(self, batch: Sequence[T], rule: Conflation) -> Sequence[T]:
        """Find a slot for each message that has a state; the others are left to be put."""
        if rule.kinds.isdisjoint(map(type, batch)):
            return batch
        left, replaced, slots = [], 0, self.gauge.slots
        for message in batch:
            if type(message) not in rule.kinds:
                left.append(message)
            elif (state := rule.state(message)) in slots:
                slots[state].offer(message)
                replaced += 1
            else:
                self._open(Slot(message, state))
        rule.count(replaced)
        return left

    def _open(self, slot: Slot) -> None:
        self._channel.send_nowait(slot)
        self.gauge.slots[slot.state] = slot
        self.gauge.add(1)


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
        first = await self._channel.receive()
        if type(first) is Slot:
            self.gauge.vacate(first)
        batch = list(first)
        self.gauge.remove(len(batch))
        return batch + self.take_waiting(most - len(batch))

    def take_waiting(self, most: float = math.inf) -> list[T]:
        """What waits, up to about ``most`` messages, without waiting for more."""
        batch: list[T] = []
        while len(batch) < most:
            try:
                more = self._channel.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            if type(more) is Slot:
                self.gauge.vacate(more)
            batch += more
        self.gauge.remove(len(batch))
        return batch


def flow(name: str, capacity: int, conflation: Conflation | None = None) -> tuple[Inlet[Any], Outlet[Any]]:
    """A channel of batches that holds about ``capacity`` messages.

    Args:
        conflation: what may be replaced under pressure; nothing if None.
    """
    gauge = Gauge(name, capacity, capacity * PRESSURE if conflation else math.inf)
    send, receive = trio.open_memory_channel[Sequence[Any]](math.inf)  # the gauge bounds it
    return Inlet(gauge, send, conflation), Outlet(gauge, receive)
