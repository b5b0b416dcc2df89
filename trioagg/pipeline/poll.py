"""A poller: one request to REST, again and again."""

from __future__ import annotations

import structlog
import trio

from trioagg.errors import LinkError
from trioagg.exchanges import Exchange, Fetch
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.rest import Rest

log = structlog.get_logger(__name__)


async def poll(adapter: Exchange, fetch: Fetch, *, rest: Rest, intake: Intake) -> None:
    """Ask every ``fetch.every`` seconds on a fixed beat; a beat that a slow answer or a failure passes is skipped."""
    every = fetch.every or adapter.feed.interval
    due = trio.current_time()
    while True:
        try:
            await rest.converse(adapter, fetch, intake)
        except LinkError as error:
            log.warning("poll failed; going on", path=fetch.path.partition("?")[0], reason=str(error))
        else:
            await intake.room()
        late = trio.current_time() - due
        due += every * (late // every + 1)
        await trio.sleep_until(due)
