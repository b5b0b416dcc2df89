"""``sqlite:///path/to/file.db``: the default store; ``--database FILE`` is this with a plain path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field

from trioagg.errors import SettingsError
from trioagg.integrity.continuity import Run
from trioagg.integrity.ledger import Draft
from trioagg.model import Event, Instrument, Nanos
from trioagg.settings import redacted
from trioagg.store import Counts, Readable, Writer
from trioagg.store import connect as opened
from trioagg.store.write import WORTH

PREFIX = "sqlite:///"

QUIET = 0.001
"""Seconds without a write after which nobody seems to wait for one."""


def url_of(path: Path) -> str:
    """The URL of a database file."""
    return f"{PREFIX}{path}"


def path_of(url: str) -> Path:
    """The file of a URL.

    Raises:
        SettingsError: it names none.
    """
    path = url.removeprefix(PREFIX)
    if not url.startswith(PREFIX) or not path:
        raise SettingsError(f"bad value {redacted(url)!r}: must look like {PREFIX}path/to/file.db")
    return Path(path)


def readable(url: str) -> Readable:
    """The file for reading only.

    Raises:
        SettingsError: the URL names no path.
        StoreError: there is no such file, or it cannot be used.
    """
    return opened(path_of(url))


@define(eq=False)
class SqliteSink:
    """The store's writer in a worker thread, one call at a time."""

    _writer: Writer
    _limiter: trio.CapacityLimiter
    _written: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    async def write(self, batch: Sequence[Event], draft: Draft, /) -> Counts:
        """See ``Sink.write``."""
        written = await trio.to_thread.run_sync(self._writer.write, batch, draft, limiter=self._limiter)
        if self._writer.log >= WORTH:
            self._written.unpark_all()
        return written

    async def around(self, exchange: str, symbol: str, run: Run, /) -> tuple[Nanos | None, Nanos | None]:
        """See ``Database.around``."""
        return await trio.to_thread.run_sync(self._writer.around, exchange, symbol, run, limiter=self._limiter)

    async def tend(self) -> None:
        """Fold the write-ahead log into the file while nothing is written: within a commit somebody waits for it."""
        while True:
            await self._written.park()
            await trio.sleep(QUIET)
            if not self._limiter.borrowed_tokens:
                await trio.to_thread.run_sync(self._writer.fold, limiter=self._limiter)

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        """See ``Sink.describe``."""
        await trio.to_thread.run_sync(self._writer.instruments, instruments, limiter=self._limiter)


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[SqliteSink]:
    """Open the file, and create it if need be; closes it at the end, cancelled or not.

    Raises:
        SettingsError: the URL names no path.
        StoreError: the file cannot be used.
    """
    path, limiter = path_of(url), trio.CapacityLimiter(1)
    writer = await trio.to_thread.run_sync(Writer.open, path, limiter=limiter)
    try:
        yield SqliteSink(writer, limiter)
    finally:
        with trio.CancelScope(shield=True):  # a close that is cut off leaves a journal behind
            await trio.to_thread.run_sync(writer.close, limiter=limiter)
