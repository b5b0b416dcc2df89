"""The spool of one sink: where its records wait on disk while it is away, first in, first out.

``segments`` are its files, in a worker thread; here is what a task may ask of it, and what waits in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import trio
from attrs import define, field

from trioagg.errors import StoreError
from trioagg.model import Record
from trioagg.pipeline.segments import Batch, Damage, Found, Full, Mark, Segments
from trioagg.settings import redacted

P = ParamSpec("P")
T = TypeVar("T")

MEGABYTE = 1_000_000


@define(eq=False)
class Spool:
    """A queue of records on disk, for the tasks of one writer.

    Attributes:
        folder: where it lies; not there while nothing waits.
        limit: bytes that it may hold; at 0 it only gives out what an earlier run left.
        earlier: events that earlier runs left and that were not delivered.
    """

    folder: Path
    limit: int
    earlier: int = field(default=0, init=False)
    _segments: Segments | None = field(default=None, init=False)
    _done: Mark = field(default=Mark(), init=False)
    _end: Mark = field(default=Mark(), init=False)
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1), init=False)

    @property
    def empty(self) -> bool:
        """Whether all was delivered."""
        return self._end <= self._done

    async def find(self) -> int:
        """Look for what an earlier run left.

        Returns:
            Bytes of torn ends that were cut off.

        Raises:
            StoreError: another process has the folder, or it cannot be used.
        """
        if not self._is_there():
            return 0
        segments, found = await self._open()
        self._take(segments, found)
        return found.torn

    async def append(self, records: Sequence[Record]) -> Mark:
        """Add records at the end.

        Returns:
            The place after them.

        Raises:
            Full: nothing was added, for a reason that may pass.
        """
        if not self.limit:
            raise Full("there is none")
        try:
            segments = self._segments or await self._begin()
        except StoreError as error:
            raise Full(str(error)) from None
        self._end = await self.aside(segments.append, records)
        return self._end

    async def read(self, most: int) -> Batch | Damage | None:
        """The next records, ``most`` or a few more; None when all was delivered.

        Raises:
            StoreError: they cannot be read now.
        """
        if self.empty or self._segments is None:
            return None
        try:
            return await self.aside(self._segments.read, self._done, most)
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror or error}") from None

    def passed(self, end: Mark, *, earlier: int = 0) -> None:
        """Believe that all before a place needs no more delivering; so many events in it were of earlier runs."""
        self._done = end
        self.earlier -= earlier

    async def close(self) -> None:
        """Keep what waits for certain, for the next run; where nothing does, no trace is left.

        Raises:
            StoreError: it is not certain.
        """
        if self._segments is not None:
            with trio.CancelScope(shield=True):
                await self.aside(self._segments.close, self._done)

    async def aside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what blocks in a thread, one call at a time, to its end."""
        return await trio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=self._limiter)

    def _is_there(self) -> bool:
        return self.folder.is_dir()

    async def _begin(self) -> Segments:
        """Take a folder that was not there when the run began."""
        segments, found = await self._open()
        if found.events:
            await self.aside(segments.close, found.done)
            raise StoreError(f"{self.folder}: another run has left something there meanwhile")
        self._take(segments, found)
        return segments

    async def _open(self) -> tuple[Segments, Found]:
        segments = Segments(self.folder, self.limit)
        return segments, await self.aside(segments.open)

    def _take(self, segments: Segments, found: Found) -> None:
        self._segments, self._done, self._end, self.earlier = segments, found.done, found.end, found.events


def folder_of(database: Path, url: str, worker: int = 1) -> Path:
    """Where a sink's spool lies: beside the database, by a hash of the URL without its secrets; one for each worker."""
    name = hashlib.sha256(redacted(url).encode()).hexdigest()[:16] + (f"-{worker}" if worker > 1 else "")
    return database.with_name(f"{database.name}-spool") / name


def left_behind(database: Path, url: str, workers: int) -> list[Path]:
    """Spools of a sink that belong to workers of an earlier run, beyond those that there are now."""
    own = folder_of(database, url)
    kin = ((path, path.name.removeprefix(f"{own.name}-")) for path in own.parent.glob(f"{own.name}-*"))
    return sorted(path for path, number in kin if number.isdecimal() and int(number) > workers)
