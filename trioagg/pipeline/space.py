"""Space: whether the disk under the database fills up, told before it is full."""

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


def free(folder: Path) -> int:
    """Bytes that are free there.

    Raises:
        OSError: the folder cannot be looked at.
    """
    return shutil.disk_usage(folder).free


@define(eq=False)
class Space:
    """Watches the file system of one database.

    Attributes:
        least: megabytes; less is told once, and once more when it is well again.
        free: tells the bytes that are free in a folder.
    """

    database: Path
    least: float
    free: Callable[[Path], int] = free
    _low: bool = False
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1))

    async def watch(self) -> None:
        """Look until cancelled; a disk that does not answer holds up nothing."""
        while True:
            await self.look()
            await trio.sleep(EVERY)

    async def look(self) -> None:
        """Look once."""
        folder = self.database.absolute().parent
        try:
            there = await trio.to_thread.run_sync(self.free, folder, limiter=self._limiter, abandon_on_cancel=True)
        except OSError as error:
            log.debug("the free space cannot be told", reason=error.strerror)
            return
        self._tell(there / MEGABYTE)

    def _tell(self, there: float) -> None:
        low = there < self.least
        if low and not self._low:
            log.warning(
                "the disk fills up", free_mb=round(there), min_free_disk=self.least, database=str(self.database)
            )
        elif self._low and not low:
            log.info("the disk has room again", free_mb=round(there))
        self._low = low
