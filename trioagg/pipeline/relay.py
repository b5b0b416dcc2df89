"""Make before break: a connection that is known to end soon is given a successor first, and ends when that one carries.

Both run side by side until the new one has brought something of every stream that flowed on the old one, by id where
there are ids. Meanwhile what every sink stores once by its key comes through both; the rest through the one that leads
alone. When another one leads, of that rest as much as one connection lags the other may be lost or come twice.

With redundancy there are several relays for the same subscriptions, each under a supervisor of its own. They share the
lead, so that the others go on, and one of them leads, when the connection of one is lost.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio
from attrs import define, field

from trioagg.errors import LinkError, Retired, first
from trioagg.integrity.pulse import Key, overlaps
from trioagg.pipeline.lead import Lead, Leg
from trioagg.pipeline.stream import Stream
from trioagg.pipeline.supervise import BRIEF
from trioagg.transport.backoff import Attempts

log = structlog.get_logger(__name__)

RECENT = 60.0
"""Seconds within which a stream must have brought something for a successor to be waited for."""
SETTLE = 5.0
"""Seconds that the exchange has to hear the subscriptions, also to streams that bring nothing now."""
PATIENCE = 60.0
"""Seconds after which the old connection ends, whatever the new one has brought."""


@define(eq=False)
class Relay:
    """Carries what one connection would, by one after the other.

    Attributes:
        attempts: how long to wait after a successor that failed.
        lead: says which connection leads; relays of the same subscriptions share it.
    """

    stream: Stream
    attempts: Attempts
    lead: Lead
    _legs: list[Leg] = field(factory=list, init=False)
    _last: Leg | None = field(default=None, init=False)

    def change(self, stream: Stream, reason: str) -> None:
        """Carry another stream from now on, in the place of the one that is carried."""
        self.stream = stream
        for leg in self._legs:
            leg.kept = stream.brings
            leg.retire(reason)

    def give_up(self) -> None:
        """Nothing of it is wanted any more; whoever says so ends it."""
        for leg in self._legs:
            leg.kept = lambda key: False

    async def live(self) -> None:
        """Carry on until a connection ends that has no successor beside it.

        Raises:
            LinkError: it ended, or never came to be; Retired where its end was announced.
        """
        async with trio.open_nursery() as nursery:
            leg = self._leg()
            leg.carrying.set()
            nursery.start_soon(self._run, leg, nursery)

    def _leg(self) -> Leg:
        """The next one: it knows what those before it brought."""
        before = self._last
        self._last = Leg(self.lead, before.heard, before.pulse) if before else Leg(self.lead)
        self._legs.append(self._last)
        return self._last

    async def _run(self, leg: Leg, nursery: trio.Nursery) -> None:
        try:
            with leg.scope:
                async with trio.open_nursery() as own:
                    own.start_soon(self._relieve, leg, nursery)
                    await self.stream.live(leg)
        except* LinkError as group:
            self._failed(leg, first(group))
        finally:
            self._legs.remove(leg)
            leg.lost()
            leg.over.set()
            for other in self._legs:
                other.carrying.set()

    def _failed(self, leg: Leg, error: BaseException) -> None:
        """One connection is lost: no harm where another one runs.

        Raises:
            LinkError: none does.
        """
        if self._legs == [leg]:
            raise Retired(leg.reason) if leg.reason else error
        log.warning("one of two connections ended", reason=str(error))
        leg.failure = error if isinstance(error, LinkError) else None

    async def _relieve(self, old: Leg, nursery: trio.Nursery) -> None:
        """When a connection is to end, open one beside it until one has taken over."""
        await old.carrying.wait()
        with trio.move_on_at(old.began + (self.stream.adapter.limits.lifetime or math.inf)):
            await old.retiring.wait()
        old.retire("the exchange closes connections of this age")
        lasted = trio.current_time() - old.began
        if lasted <= BRIEF:
            await trio.sleep(self.attempts.failed(lasted))
        while not await self._succeeded(old, new := self._leg(), nursery):
            wait = max(self.attempts.failed(0), getattr(new.failure, "retry_after", 0.0))
            log.warning("no successor yet; the connection goes on", wait=f"{wait:.1f} s")
            await trio.sleep(wait)
        log.info("handed over", reason=old.reason)
        self.lead.hand_over(old, new)
        new.carrying.set()
        old.scope.cancel()

    async def _succeeded(self, old: Leg, new: Leg, nursery: trio.Nursery) -> bool:
        """Run the new one; True once it carries all that the old one does, False if it ends before."""
        log.info("opening a successor", reason=old.reason)
        nursery.start_soon(self._run, new, nursery)
        async with trio.open_nursery() as racing:
            racing.start_soon(_first, new.over.wait, racing.cancel_scope)
            racing.start_soon(_first, partial(self._carries, old, new), racing.cancel_scope)
        return not new.over.is_set()

    async def _carries(self, old: Leg, new: Leg) -> None:
        """Wait until the new one brings all that the old one does, or until the patience with it is over."""
        await new.opened.wait()
        with trio.move_on_after(PATIENCE) as patience:
            await trio.sleep(SETTLE)
            left = old.pulse.flowing(trio.current_time() - RECENT)
            while left := {key for key in left if self.stream.brings(key) and not _joined(key, old, new)}:
                await new.heard.park()
        if patience.cancelled_caught:
            log.warning("the successor does not bring everything yet", after=f"{PATIENCE:g} s")


def _joined(key: Key, old: Leg, new: Leg) -> bool:
    return overlaps(old.pulse.streams()[key], new.pulse.streams().get(key))


async def _first(wait: Callable[[], Awaitable[None]], race: trio.CancelScope) -> None:
    """Wait, and end the race."""
    await wait()
    race.cancel()
