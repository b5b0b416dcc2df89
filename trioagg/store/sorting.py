"""Rows of a file in the order of their times, where they lie in another, however many.

Most lie under keys that are not quite in the order of time: trades under the exchange's ids (some are hashes), arrivals
under our clock. Their times and keys are sorted first, in a temporary file of SQLite's, so that memory does not grow
with the rows; step by step, each a short transaction of its own, so that the writer is not held up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from trioagg.store.order import Found, Lane, Part, Span
from trioagg.store.readable import Readable
from trioagg.store.seek import stepped, steps

NUMBERS = count()
"""Of the temporary indexes: two scans on one connection have one each."""


def in_time(db: Readable, lane: Lane, part: Part, span: Span) -> Iterator[Found]:
    """See ``Readable.in_time``."""
    index = f"by_time_{next(NUMBERS)}"
    db.ask(lane.indexing(index))
    _fill(db, lane, part, (index, span))
    yield from steps(db, lane.timed(index), part, span)
    db.ask(f"DROP TABLE {index}")  # one that is left half-way goes with the connection


def _fill(db: Readable, lane: Lane, part: Part, into: tuple[str, Span]) -> None:
    index, span = into
    position: Sequence[object] = lane.start()
    while position != lane.end:
        last = stepped(db, lane, part, position)
        db.ask(lane.indexed(index), *part.key, *lane.told(position), *lane.told(last), *span)
        position = last
