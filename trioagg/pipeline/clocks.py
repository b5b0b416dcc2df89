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


async def offset(adapter: type[Exchange], rest: Rest, stamps: Stamps) -> tuple[Nanos, Nanos] | None:
    """An exchange's clock less ours, and by how much that may be wrong; None where it does not tell its time.

    Raises:
        LinkError: it does not answer.
        GARBLED: the answer is no time.
    """
    if adapter.clock is None:
        return None
    sent = stamps.take()
    answer = await rest.ask(adapter.clock, attempts=1)
    told = adapter.time(answer.payload)
    return told - (sent + answer.received) // 2, (answer.received - sent) // 2


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
        """See ``offset``; nothing where it cannot be known now."""
        try:
            return await offset(self.adapter, self.rest, self.stamps) or (None, None)
        except LinkError as error:
            log.debug("no time", reason=str(error))
        except GARBLED as error:
            log.warning("the exchange's time cannot be understood", reason=str(error)[:200])
        return None, None
