"""The last line of a run: where everything went."""

from __future__ import annotations

import logging
from pathlib import Path

import structlog

from trioagg.pipeline.tally import Outcome
from trioagg.store import database, open_gaps

log = structlog.get_logger(__name__)


def account(outcome: Outcome, path: Path) -> None:
    """Log what went wrong, a line each, and then the account; whatever the log level, the account is there.

    Raises:
        StoreError: the database cannot be asked for its open gaps any more.
    """
    for problem in outcome.problems:
        log.error(problem)
    with database(path) as db:
        gaps = open_gaps(db)
    level = max(logging.INFO, logging.getLogger().level)
    log.log(level, "done", **outcome.tally.counts(), open_gaps=gaps)
