"""One exchange that is being played: its language, its faults, its clock, and who is connected."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Protocol

import trio
from attrs import define, field, frozen

from trioagg.model import Nanos
from trioagg.simulator import Answer, Dialect, Request, Session
from trioagg.simulator.faults import Fault, Faults, Statistics
from trioagg.simulator.feeds import Feed, MarketFeed, Tape, TapeFeed
from trioagg.simulator.recording import Recording

LEAD = 0.5
"""Seconds from the first subscription to the first recorded frame, so that a client can subscribe to all it wants."""
MOMENT = 1e-6
"""Seconds after which a fault's bout is over for reckoning its next: a sum of seconds is not exact."""


STRIKING = ("cut", "shutdown", "stall", "partition", "ack-and-silence", "huge")
"""The faults that befall each WebSocket at their beginning."""
MEGABYTE = 1_000_000


class Connected(Protocol):
    """A WebSocket that faults can end."""

    async def end(self, how: str) -> None:
        """End it: ``drop``, ``reset`` or ``close``."""

    async def announce(self) -> None:
        """Say that a shutdown is planned."""

    async def swell(self, size: int) -> None:
        """Send a frame of so many bytes that means nothing."""


@define(eq=False)
class Clock:
    """Our time: steady, and right when it was started."""

    wall: Nanos = field(factory=time.time_ns)
    started: float = field(factory=trio.current_time)

    def elapsed(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self.started

    def now(self) -> Nanos:
        """Nanoseconds UTC."""
        return self.wall + round(self.elapsed() * 1e9)


@frozen
class Deck:
    """A recording that is to play onto a tape, at ``rate`` frames per second or its own pace."""

    recording: Recording
    tape: Tape
    rate: float | None


@define(eq=False)
class House:
    """See the module.

    Attributes:
        deck: what plays; None where a market is made up.
        connections: those that are open, the oldest first.
        awaited: set when somebody subscribes for the first time.
    """

    dialect: Dialect
    faults: Faults
    statistics: Statistics
    deck: Deck | None = None
    clock: Clock = field(factory=Clock)
    _since: float = field(default=math.inf, init=False)
    _begun: trio.Event = field(factory=trio.Event, init=False)
    connections: list[Connected] = field(factory=list)
    awaited: trio.Event = field(factory=trio.Event)

    def begin(self) -> Nanos:
        """Let the times of the faults count from now; until then they stand at 0."""
        self._begun.set()
        self._since = now = self.clock.now()
        return now

    def age(self, at: Nanos | None = None) -> float:
        """Seconds of the faults' time at a moment, or by now."""
        return max(0.0, ((self.clock.now() if at is None else at) - self._since) / 1e9)

    def answer(self, request: Request) -> Answer:
        """Answer a REST request, or refuse it if a fault says so."""
        now = self.clock.now()
        refused = self.faults.status(self.age())
        answer = self.dialect.refusal(*refused, now) if refused else self.dialect.answer(request, now)
        self.statistics.requests[answer.status] += 1
        return answer

    def feed(self, session: Session) -> Feed:
        """Where a new connection begins."""
        return TapeFeed(session, self.deck.tape) if self.deck else MarketFeed(session, self.clock.now())

    def pace(self) -> float:
        """Bytes per second that each connection may get."""
        return self.faults.pace(self.age())

    def cut_off(self) -> float:
        """Seconds until anything gets through again."""
        return self.faults.cut_off(self.age())

    async def run(self) -> None:
        """Play the recording once somebody listens, and end connections whenever a fault says so."""
        async with trio.open_nursery() as nursery:
            if self.deck:
                nursery.start_soon(self._play, self.deck)
            await self._begun.wait()
            for fault in self.faults.all:
                if fault.kind in STRIKING:
                    nursery.start_soon(self._repeat, fault)

    async def _play(self, deck: Deck) -> None:
        await self.awaited.wait()
        await trio.sleep(LEAD)
        await deck.recording.play(deck.tape, deck.rate)

    async def _repeat(self, fault: Fault) -> None:
        at = fault.next(self.age())
        while at is not None:
            await trio.sleep(max(0.0, at - self.age()))
            await self._strike(fault)
            at = fault.next(max(self.age(), at) + MOMENT)

    async def _strike(self, fault: Fault) -> None:
        struck = self.connections[: None if fault.oldest is None else math.ceil(fault.oldest)]
        match fault.kind:
            case "shutdown":
                await self._each(connection.announce for connection in struck)
                await trio.sleep(min(fault.lasting, 600))
                await self._each(partial(connection.end, "close") for connection in struck)
            case "huge":
                await self._each(partial(connection.swell, round(fault.size * MEGABYTE)) for connection in struck)
            case "cut":
                await self._each(partial(connection.end, fault.how) for connection in struck)
        self.statistics.faults[fault.kind] += len(struck)

    async def _each(self, acts: Iterable[Callable[[], Awaitable[None]]]) -> None:
        async with trio.open_nursery() as nursery:
            for act in acts:
                nursery.start_soon(act)
