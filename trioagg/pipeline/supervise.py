"""Keeping a feed alive: whatever ends it, it begins again, with growing waits, and no other feed notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog
import trio

from trioagg.errors import LinkError, Retired, SettingsError, first
from trioagg.transport.backoff import Attempts

log = structlog.get_logger(__name__)

BRIEF = 10.0
"""Seconds that a connection must have lasted to be followed by the next at once when the exchange retires it."""


async def supervise(
    live: Callable[[], Awaitable[None]],
    attempts: Attempts,
    *,
    hint: Callable[[], Mapping[str, str]],
    again: str = "connecting again",
) -> None:
    """Run ``live`` for ever.

    A ``LinkError`` is the link's; any other exception is a bug: logged with its traceback and fenced to this feed.
    Only what the user must mend goes further.

    Args:
        live: one life of the feed.
        attempts: how long to wait between lives; forgets the failures after a healthy life.
        hint: what else to tell when a life ends before it was healthy.
        again: what is told when the next one is to begin.

    Raises:
        SettingsError: ``live`` did.
    """
    while True:
        began = trio.current_time()
        reason, silence, retired = "ended", 0.0, False
        try:
            await live()
        except* LinkError as group:
            error = first(group)
            reason, silence = str(error), getattr(error, "retry_after", 0.0)
            retired = isinstance(error, Retired)
        except* SettingsError:
            raise
        except* Exception as group:
            reason = "a bug in this feed"
            log.error("a feed failed on a bug; it alone is restarted", exc_info=first(group))
        lasted = trio.current_time() - began
        delay = 0.0 if retired and lasted > BRIEF else max(attempts.failed(lasted), silence)
        told = {} if lasted >= attempts.healthy else hint()
        log.warning(again, reason=reason, after=f"{lasted:.1f} s", wait=f"{delay:.1f} s", **told)
        await trio.sleep(delay)
