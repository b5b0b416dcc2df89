"""Connections side by side that carry the same subscriptions: one leads, the others bring what cannot come in twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from trioagg.errors import LinkError
from trioagg.integrity.misses import Misses
from trioagg.integrity.pulse import Key, Pulse, Rhythm
from trioagg.model import Event, Nanos
from trioagg.pipeline.intake import Intake
from trioagg.transport.clock import Stamps

FRESH = 1.0
"""Seconds from its opening in which a connection beside another one lets that one tell first ..."""
LAG = 0.05
"""... what came in the last so many seconds: what has no predecessor yet would look like a gap."""
SECOND = 1_000_000_000


@define(eq=False)
class Lead:
    """Says which of some connections leads: the one that does, as long as it is open, and then another that is.

    Attributes:
        whole: the door for the one that leads, or for one that runs alone.
    """

    whole: Intake
    _part: Intake = field(init=False)
    _legs: list[Leg] = field(factory=list, init=False)
    _leader: Leg | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._part = self.whole.beside()

    def door(self, leg: Leg) -> Intake:
        """Where a connection delivers now."""
        return self.whole if leg is self._leader else self._part

    def join(self, leg: Leg) -> None:
        """There is one more."""
        self._legs.append(leg)
        self.elect()

    def leave(self, leg: Leg) -> None:
        """One is lost: if it led, another one leads from this moment on."""
        if leg in self._legs:
            self._legs.remove(leg)
            self.elect()

    def elect(self) -> None:
        """Choose, unless the one that leads is open."""
        if self._leader in self._legs and self._leader.opened.is_set():
            return
        self._leader = max(self._legs, key=lambda leg: (leg.opened.is_set(), leg.carrying.is_set()), default=None)

    def brings(self, key: Key) -> bool:
        """Whether an open connection has brought something of a stream, and so brings what comes."""
        heard = (leg.pulse.streams().get(key) for leg in self._legs if leg.opened.is_set())
        return any(stream is not None and stream.first is not None for stream in heard)

    def hand_over(self, old: Leg, new: Leg) -> None:
        """If the old one leads, the new one leads from this moment on."""
        if self._leader is old:
            self._leader = new


@define(eq=False)
class Leg:
    """One connection's part in a relay.

    Attributes:
        lead: says whether it leads.
        heard: parks who waits for its next data.
        pulse: what it brought; before it is open, what the one before it brought.
        misses: what it lacks; None where that cannot be told.
        opened: set once it is open, ``since`` then.
        carrying: set once it stands for its relay, and is not just the successor of one that does.
        retiring: set once it is to be replaced; ``reason`` says why.
        kept: whether what replaces it brings a stream.
        over: set once it has ended; ``failure`` says how, if not by us.
        scope: ends it.
    """

    lead: Lead
    heard: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)
    pulse: Pulse = field(factory=lambda: Pulse(Rhythm(trio.current_time())))
    misses: Misses | None = None
    began: float = field(factory=trio.current_time)
    opened: trio.Event = field(factory=trio.Event)
    since: float = math.inf
    carrying: trio.Event = field(factory=trio.Event)
    retiring: trio.Event = field(factory=trio.Event)
    reason: str = ""
    kept: Callable[[Key], bool] = lambda key: True
    over: trio.Event = field(factory=trio.Event)
    failure: LinkError | None = None
    scope: trio.CancelScope = field(factory=trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        self.lead.join(self)

    @property
    def intake(self) -> Intake:
        """Where it delivers now."""
        return self.lead.door(self)

    async def turn(self, stamps: Stamps, came: Nanos) -> Intake:
        """Wait until what came may be delivered, and where: where it was to go until then.

        What waits here when its connection ends is not delivered: the connection beside it brings the same.

        Args:
            came: when, by these stamps.
        """
        intake = self.intake
        if intake is not self.lead.whole and trio.current_time() < self.since + FRESH:
            age = (stamps.take() - came) / SECOND
            await trio.sleep(LAG - min(max(0.0, age), LAG))
        return intake

    def open(self, *, counted: bool) -> None:
        """It is open, and what it brings counts from now on.

        Args:
            counted: whether the ids of trades tell what it lacks.
        """
        self.pulse = self.pulse.renewed(trio.current_time())
        self.since = trio.current_time()
        self.misses = Misses() if counted else None
        self.opened.set()
        self.lead.elect()

    def lost(self) -> None:
        """It brings nothing any more, though saying good-bye may take a while."""
        self.lead.leave(self)

    def hear(self, events: Sequence[Event]) -> None:
        """It brought something."""
        self.pulse.hear(events, trio.current_time())
        if self.misses:
            self.misses.hear(events)
        self.heard.unpark_all()

    def retire(self, reason: str) -> None:
        """It is to be replaced."""
        self.reason = self.reason or reason
        self.retiring.set()
