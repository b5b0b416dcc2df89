"""Logging: one pipeline for our own lines and those of the libraries, to standard error.

A line carries the context of its task (exchange, connection), which structlog keeps in context variables; Trio gives
every task its own. Nothing is logged per message.
"""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Sequence
from typing import TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor

from trioagg.signs import visible

log = structlog.get_logger("trioagg")

OURS = "trioagg"
"""The only loggers that the level is for: libraries log requests with their secrets, and are heard from WARNING on."""
LINES = 1000
"""Of one kind and exchange in a minute: a far end that means harm must not fill a disk by what is told of it."""
MINUTE = 60.0
KINDS = 10_000


def level() -> int:
    """What is told: the number of the level that was set."""
    return logging.getLogger(OURS).getEffectiveLevel()


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
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    logging.getLogger(OURS).setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            Flood(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


class Flood:
    """Leaves out what is told too often."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def __call__(self, logger: object, method: str, line: EventDict) -> EventDict:
        """Count a line; the last that is told says so.

        Raises:
            structlog.DropEvent: there were too many like it.
        """
        kind, now = (str(line.get("event")), str(line.get("exchange"))), time.monotonic()
        since, count = self._told.get(kind, (now, 0))
        since, count = (since, count + 1) if now < since + MINUTE else (now, 1)
        if len(self._told) >= KINDS:
            self._told.clear()
        self._told[kind] = since, count
        if count > LINES:
            raise structlog.DropEvent
        return {**line, "left_out": "more like this, for a minute"} if count == LINES else line


def _seen(_logger: object, _method: str, line: EventDict) -> EventDict:
    return {name: visible(value) if isinstance(value, str) else value for name, value in line.items()}


def _traceback(out: TextIO, error: ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, error)
    out.write(visible(text.getvalue(), lines=True))


def _ending(style: str, *, colours: bool) -> Sequence[Processor]:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if style == "json":
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [remove, structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    return [
        remove,
        _seen,
        structlog.dev.ConsoleRenderer(
            colors=colours, pad_event_to=0, pad_level=False, sort_keys=False, exception_formatter=_traceback
        ),
    ]
