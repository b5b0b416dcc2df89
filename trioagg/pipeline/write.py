"""A writer: takes batches from a flow and offers each to its sink until it is durable."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar, cast

import structlog
import trio
from attrs import define, field

from trioagg.errors import SinkError, StoreError, spent
from trioagg.integrity.ledger import Ledger
from trioagg.model import NOTES, Event, Note, Record
from trioagg.pipeline.flow import Outlet
from trioagg.pipeline.tally import Tally
from trioagg.settings import Buffers
from trioagg.sinks import Sink
from trioagg.transport.backoff import Backoff

log = structlog.get_logger(__name__)

T = TypeVar("T")

AGAIN = Backoff(0.1, 5)
"""Waits between offers of a batch that the sink did not take."""


@define(eq=False)
class Writer:
    """One sink's task.

    Attributes:
        tally: where it accounts for every event that it took.
        dead: called when the sink will take nothing any more.
        noticed: called when gaps were opened or changed.
    """

    outlet: Outlet[Record]
    sink: Sink
    ledger: Ledger
    tally: Tally
    buffers: Buffers
    dead: Callable[[], None]
    noticed: Callable[[], None]
    _in_hand: list[Record] = field(factory=list, init=False)
    _due: float = field(default=-math.inf, init=False)

    async def run(self) -> None:
        """Write until the flow ends; what a cancellation or a dead sink leaves unwritten is counted as lost."""
        try:
            await self._work()
        except trio.EndOfChannel:
            pass
        except StoreError as error:
            log.error("nothing more can be stored", reason=str(error))
            self.dead()
            await self._discard()
        finally:
            self.lose()

    def lose(self) -> None:
        """Count what is in hand and what waits as lost."""
        self.tally.lost += len(_events(self._in_hand)) + len(_events(self.outlet.take_waiting()))
        self._in_hand = []

    async def _work(self) -> None:
        while True:
            await self._gather()
            await self._store()

    async def _gather(self) -> None:
        """What came since the last time, which lies a commit delay back at least, or a whole transaction's worth."""
        rows = self.buffers.commit_rows
        if not self._in_hand:
            self._in_hand = await self.outlet.take(rows)
        if len(self._in_hand) < rows:
            await trio.sleep_until(self._due)
            self._in_hand += self.outlet.take_waiting(rows - len(self._in_hand))
        self._due = trio.current_time() + self.buffers.commit_delay

    async def _store(self) -> None:
        await self._offer(self._in_hand, self.ledger, self.tally)
        self._in_hand = []

    async def _offer(self, records: list[Record], ledger: Ledger, tally: Tally) -> None:
        """Offer a batch until it is taken, and then enter it into a ledger and an account."""
        events, draft = _events(records), ledger.draft(records)
        written = await self._until_taken(partial(self.sink.write, events, draft))
        if ledger.keep(draft):
            self.noticed()
        tally.stored += written.stored
        tally.duplicates += written.duplicates
        tally.quarantined += written.quarantined

    async def _until_taken(self, offer: Callable[[], Awaitable[T]]) -> T:
        """Offer the sink something again and again."""
        failures = 0
        while True:
            try:
                return await offer()
            except SinkError as error:
                failures += 1
                spent(error)
                await self._refused(error, failures)

    async def _refused(self, error: SinkError, failures: int) -> None:
        """Tell it, and wait."""
        waiting = len(self._in_hand) + self.outlet.gauge.waiting
        log.error("not stored; trying again", reason=str(error), waiting=waiting)
        await trio.sleep(AGAIN.delay(failures))

    async def _discard(self) -> None:
        """Keep the flow empty until it ends, so that a dead sink holds up no other."""
        with suppress(trio.EndOfChannel):
            while True:
                self.lose()
                self._in_hand = await self.outlet.take(self.buffers.commit_rows)


def _events(records: list[Record]) -> list[Event]:
    """The records without the notes among them."""
    if NOTES.isdisjoint(map(type, records)):
        return cast(list[Event], records)
    return [record for record in records if not isinstance(record, Note)]
