"""What stands between a sink's blocking driver and Trio: a worker thread, one call at a time.

These sinks keep events, not the ledger: what is missing is told by the database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import trio
from attrs import define

from trioagg.integrity.ledger import Draft
from trioagg.model import Event, Instrument
from trioagg.store import Counts


class Driver(Protocol):
    """A sink that blocks, for one thread at a time."""

    def write(self, batch: Sequence[Event], /) -> Counts:
        """See ``Sink.write``; every call ends in bounded time."""
        ...

    def describe(self, instruments: Sequence[Instrument], /) -> None:
        """See ``Sink.describe``."""
        ...

    def close(self) -> None:
        """Let go of everything; raises nothing of ours."""
        ...


@define(eq=False)
class Threaded:
    """A driver as a ``Sink``."""

    _driver: Driver
    _limiter: trio.CapacityLimiter

    async def write(self, batch: Sequence[Event], draft: Draft, /) -> Counts:
        """See ``Sink.write``."""
        return await trio.to_thread.run_sync(self._driver.write, batch, limiter=self._limiter)

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        """See ``Sink.describe``."""
        await trio.to_thread.run_sync(self._driver.describe, instruments, limiter=self._limiter)


@asynccontextmanager
async def threaded(make: Callable[[], Driver]) -> AsyncIterator[Threaded]:
    """Make a driver, and close it at the end, cancelled or not."""
    limiter = trio.CapacityLimiter(1)
    driver = await trio.to_thread.run_sync(make, limiter=limiter)
    try:
        yield Threaded(driver, limiter)
    finally:
        with trio.CancelScope(shield=True):  # what is gathered would wait for the next run
            await trio.to_thread.run_sync(driver.close, limiter=limiter)
