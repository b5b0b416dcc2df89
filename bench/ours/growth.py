"""A store that grows: what a row costs when many are there already."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import cast

from bench.figures import Load
from bench.frames import HEAD, natives, pattern, single
from bench.ours import adapter
from trioagg.model import Event
from trioagg.store import Writer

PER_COMMIT = 10_000
EARLY = 100_000
"""Rows that are there when the rate is taken for the first time."""
SPAN = 500_000
"""Rows from which a rate is taken."""


def fill(load: Load, path: str) -> dict[str, float]:
    """Write the load's messages as rows into a new file.

    Returns:
        Rows a second that were written of the ``SPAN`` after ``EARLY`` ones, and of the last ``SPAN``.
    """
    took: list[tuple[int, float]] = []
    with closing(Writer.open(path)) as writer:
        for batch in _batches(load):
            began = time.perf_counter()
            stored = writer.write(batch).stored
            took.append((stored, time.perf_counter() - began))
    assert sum(rows for rows, _ in took) == load.messages
    early, span = EARLY // PER_COMMIT, SPAN // PER_COMMIT
    parts = {"early": took[early : early + span] or took, "late": took[-span:]}
    return {name: sum(rows for rows, _ in part) / sum(seconds for _, seconds in part) for name, part in parts.items()}


def _batches(load: Load) -> Iterator[list[Event]]:
    ours, frames = adapter(load), single(pattern(load.shape, natives(load.symbols)), load.messages)
    while some := [frame[HEAD:] for frame in islice(frames, PER_COMMIT)]:
        yield cast(list[Event], ours.digest(some, time.time_ns()))
