"""The moments of one gate as this host's processes share them: a small file of the user's, locked for microseconds.

A killed process leaves no lock behind, and what it spent stays spent; one that is stopped while it has the lock holds
up no other for good. Times in the file are the host's monotonic clock, which all of its processes read alike.
"""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

import structlog
from attrs import astuple, define, frozen

from trioagg import host
from trioagg.transport.backoff import LONGEST_SILENCE

log = structlog.get_logger(__name__)

RECORD = struct.Struct("<6d")
"""When it was written, and the moments."""
NOTHING = RECORD.pack(math.inf, *[-math.inf] * 4, 0)
"""A record of no time, so that room for one is there before anything depends on it."""


@define
class Moments:
    """What one gate goes by; seconds of a clock, ``-inf`` for never.

    Attributes:
        free_at: when the least delay after the last start is over.
        full_at: when the bucket is full again.
        closed_until: before that nobody asks.
        failed_at: when a failure was counted last.
        failures: how many in a row.
    """

    free_at: float = -math.inf
    full_at: float = -math.inf
    closed_until: float = -math.inf
    failed_at: float = -math.inf
    failures: float = 0

    def learn(self, other: Moments) -> None:
        """Believe whichever is later, and the other's count of failures."""
        self.free_at = max(self.free_at, other.free_at)
        self.full_at = max(self.full_at, other.full_at)
        self.closed_until = max(self.closed_until, other.closed_until)
        self.failed_at = max(self.failed_at, other.failed_at)
        self.failures = other.failures

    def moved(self, seconds: float) -> Moments:
        """The same by another clock."""
        free, full, closed, failed = (moment + seconds for moment in astuple(self)[:-1])
        return Moments(free, full, closed, failed, self.failures)


@frozen
class Common:
    """One file.

    Attributes:
        clock: seconds, the same for all processes of the host.
    """

    path: Path
    clock: Callable[[], float] = time.monotonic

    @contextmanager
    def together(self, mine: Moments, ahead: float) -> Iterator[None]:
        """What all know, taken into ``mine``; and what ``mine`` is after the block, told to all.

        Args:
            ahead: seconds that the clock of ``mine`` is ahead of the file's.

        Raises:
            OSError: another process has the file now, or it cannot be used.
        """
        file = self._locked()
        try:
            if known := self._known(os.read(file, RECORD.size)):
                mine.learn(known.moved(ahead))
            yield
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, RECORD.pack(self.clock(), *astuple(mine.moved(-ahead))))
        finally:
            os.close(file)

    def _locked(self) -> int:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            host.lock(file, RECORD.size)
            _furnish(file)
        except BaseException:
            os.close(file)
            raise
        return file

    def _known(self, told: bytes) -> Moments | None:
        """What was written, if it was since the host was started."""
        written, *moments = RECORD.unpack(told)
        return Moments(*moments) if written <= self.clock() and not any(map(math.isnan, moments)) else None


def common(exchange: str, base: str) -> Common | None:
    """What all gates of this host to one exchange at one address share; None, which is told, where nothing can be."""
    try:
        folder = host.folder() / "gates"
        folder.mkdir(mode=host.PRIVATE_FOLDER, exist_ok=True)
        _clear(folder)
    except OSError as error:
        log.warning("other runs on this host do not know what this one asks", reason=str(error))
        return None
    return Common(folder / f"{exchange}-{blake2b(base.encode(), digest_size=8).hexdigest()}")


def _furnish(file: int) -> None:
    found = os.fstat(file)
    if not found.st_nlink:
        raise BlockingIOError("it was just cleared away")
    if found.st_size < RECORD.size:
        os.write(file, NOTHING)
        os.lseek(file, 0, os.SEEK_SET)


def _clear(folder: Path) -> None:
    """Take away what nobody has used for so long that nothing in it can hold any more."""
    for path in folder.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > LONGEST_SILENCE:
                path.unlink()
