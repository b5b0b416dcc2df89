"""Clocks: how far an exchange's clock is from ours, by its own word and by the stamps of its trades."""

from __future__ import annotations

import structlog
import trio
from attrs import define

from trioagg.errors import LinkError
from trioagg.exchanges import GARBLED, Exchange
from trioagg.model import ClockCheck, Nanos
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.rest import Rest
from trioagg.transport.clock import Stamps

log = structlog.get_logger(__name__)

SETTLE = 5.0
"""Seconds before the first check: at a start REST has more urgent things to tell."""
EVERY = 60.0
"""Seconds between two checks."""


@define(eq=False)
class Clock:
    """Checks one exchange's clock."""

    adapter: type[Exchange]
    rest: Rest
    intake: Intake
    stamps: Stamps

    async def run(self) -> None:
        """Check until cancelled."""
        await trio.sleep(SETTLE)
        while True:
            await self.check()
            await trio.sleep(EVERY)

    async def check(self) -> None:
        """Ask once, and note what is known."""
        offset, uncertainty = await self._told()
        lag = self.intake.lags.pop(self.adapter.name, None)
        if offset is None and lag is None:
            return
        self.intake.note([ClockCheck(self.adapter.name, offset, uncertainty, lag, self.stamps.take())])

    async def _told(self) -> tuple[Nanos | None, Nanos | None]:
        """The exchange's clock less ours by its time endpoint, and by how much that may be wrong."""
        if self.adapter.clock is None:
            return None, None
        sent = self.stamps.take()
        try:
            answer = await self.rest.ask(self.adapter.clock, attempts=1)
            told = self.adapter.time(answer.payload)
        except LinkError as error:
            log.debug("no time", reason=str(error))
            return None, None
        except GARBLED as error:
            log.warning("the exchange's time cannot be understood", reason=str(error)[:200])
            return None, None
        return told - (sent + answer.received) // 2, (answer.received - sent) // 2
