"""The last line of a run: where everything went."""

from __future__ import annotations

import logging
from pathlib import Path

import structlog

from trioagg import logs
from trioagg.errors import StoreError
from trioagg.pipeline.tally import Outcome
from trioagg.store import database, open_gaps

log = structlog.get_logger(__name__)

UNKNOWN = -1
"""The number of open gaps in a database that cannot be read any more."""


def account(outcome: Outcome, path: Path) -> None:
    """Log what went wrong, a line each, and then the account; whatever the log level, the account is there."""
    for problem in outcome.problems:
        log.error(problem)
    level = max(logging.INFO, logs.level())
    log.log(level, "done", **outcome.tally.counts(), open_gaps=_open_gaps(path), drift=outcome.drift)


def _open_gaps(path: Path) -> int:
    try:
        with database(path) as db:
            return open_gaps(db)
    except StoreError as error:
        log.error("the ledger cannot be read", reason=str(error))
        return UNKNOWN
