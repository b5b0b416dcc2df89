"""The instrument list of an exchange: at once if it can be had, else later, beside the streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
import trio
from attrs import frozen

from trioagg.errors import RateLimited, Rejected, TrioaggError, WireError
from trioagg.model import Instrument
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.rest import Rest, instruments

log = structlog.get_logger(__name__)

PATIENCE = 5.0
"""Seconds that the streams wait for the instrument list; after that, symbols are spelled by rule and checked later."""


@frozen
class Listing:
    """Asks one exchange for its instruments.

    Attributes:
        pause: seconds between two tries, once the streams do not wait any more.
        hint: what to add to a failure's line.
    """

    rest: Rest
    intake: Intake
    pause: float
    hint: Callable[[], Mapping[str, str]]

    async def soon(self) -> list[Instrument] | None:
        """The instruments; None where they cannot be had now, which must not keep the streams from starting."""
        with trio.move_on_after(PATIENCE):
            while True:
                try:
                    return await self._ask()
                except RateLimited as error:
                    log.warning("asked to wait before the instrument list", reason=str(error))
                except (Rejected, WireError) as error:
                    log.warning("no instrument list; going on with symbols as spelled", reason=str(error))
                    return None
                except TrioaggError as error:
                    log.warning("cannot be reached; trying on", reason=str(error), **self.hint())
                    return None
        log.warning("cannot be reached; trying on", reason=f"no instrument list in {PATIENCE:g} s", **self.hint())
        return None

    async def later(self) -> list[Instrument]:
        """The instruments, however long it takes."""
        while True:
            await trio.sleep(self.pause)
            try:
                return await self._ask()
            except TrioaggError as error:
                log.warning("still no instrument list", reason=str(error))

    async def _ask(self) -> list[Instrument]:
        return await instruments(self.rest, note=self.intake.capture)
