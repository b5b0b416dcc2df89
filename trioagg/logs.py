"""Logging: one pipeline for our own lines and those of the libraries, to standard error.

A line carries the context of its task (exchange, connection), which structlog keeps in context variables; Trio gives
every task its own. Nothing is logged per message.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import structlog
from structlog.typing import Processor

log = structlog.get_logger("trioagg")

QUIET = ("httpx", "httpcore", "trio-websocket", "hpack", "asyncio")
"""Libraries that are heard from WARNING on only: they log every request, with its secrets, or every frame."""


def configure(*, level: str = "INFO", style: str = "console") -> None:
    """Set up logging for the process.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
        style: ``console`` or ``json``.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=_ending(style, colours=sys.stderr.isatty())
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _ending(style: str, *, colours: bool) -> Sequence[Processor]:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if style == "json":
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [remove, structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [
        remove,
        structlog.dev.ConsoleRenderer(
            colors=colours, pad_event_to=0, pad_level=False, sort_keys=False, exception_formatter=plain
        ),
    ]
