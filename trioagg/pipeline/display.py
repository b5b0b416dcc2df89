"""The summary that ``run`` prints: read from the database beside the writer, which never waits for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import structlog
import trio
from attrs import define, field

from trioagg.errors import StoreError
from trioagg.settings import Settings
from trioagg.store import database, summary
from trioagg.views import table

log = structlog.get_logger(__name__)


@define
class Display:
    """Draws summaries of the newest rows.

    Attributes:
        database: the file to read.
        exchanges, symbols: what this run collects.
    """

    database: Path
    exchanges: Sequence[str]
    symbols: Sequence[str]
    _unheard: bool = False
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1))

    def show(self, settings: Settings) -> None:
        """Show from now on what these settings want."""
        self.exchanges, self.symbols = settings.run.exchanges, settings.run.symbols

    async def repeat(self, every: float) -> None:
        """Draw every so many seconds, until cancelled."""
        while True:
            await trio.sleep(every)
            await self.draw()

    async def draw(self) -> None:
        """Draw once; a database that cannot be read now is told, and read again next time."""
        if self._unheard:
            return
        try:
            text = await trio.to_thread.run_sync(self._text, limiter=self._limiter)
            print(text, flush=True)
        except StoreError as error:
            log.warning("no summary", reason=str(error))
        except OSError as error:  # nobody reads any more; the collecting goes on
            log.warning("no more summaries: standard output is closed", reason=error.strerror)
            self._unheard = True

    def _text(self) -> str:
        with database(self.database) as db:
            return table.summary_table(summary(db, self.exchanges, self.symbols), now=time.time_ns())
