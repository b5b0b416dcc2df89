"""Space: how much is free on the disk under the database."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import structlog
import trio
from attrs import define, field

log = structlog.get_logger(__name__)

EVERY = 10.0
"""Seconds between two looks."""
MEGABYTE = 1_000_000


def disk(folder: Path) -> int:
    """Bytes that are free there.

    Raises:
        OSError: the folder cannot be looked at.
    """
    return shutil.disk_usage(folder).free


@define(eq=False)
class Space:
    """Watches the file system of one database.

    Attributes:
        disk: tells the bytes that are free in a folder.
        free: megabytes, at the last look; None where they cannot be told.
    """

    database: Path
    disk: Callable[[Path], int] = disk
    free: float | None = None
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1))

    async def watch(self) -> None:
        """Look until cancelled; a disk that does not answer holds up nothing."""
        while True:
            await self.look()
            await trio.sleep(EVERY)

    async def look(self) -> None:
        """Look once."""
        folder, self.free = self.database.absolute().parent, None
        try:
            there = await trio.to_thread.run_sync(self.disk, folder, limiter=self._limiter, abandon_on_cancel=True)
        except OSError as error:
            log.debug("the free space cannot be told", reason=error.strerror)
        else:
            self.free = there / MEGABYTE
