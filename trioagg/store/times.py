"""Finding trades by their time where they lie under the exchange's numbers, which no index of times goes with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trioagg.model import Nanos
from trioagg.store.order import ABOVE, BELOW, Found, Lane, Part, Span
from trioagg.store.readable import Readable
from trioagg.store.seek import after, before, following, preceding


def counted(db: Readable, market: Part, span: Span, slack: Nanos) -> Iterator[Found]:
    """Numbered trades of a market that counts up, by number, from the last before a range of times to the first behind.

    Args:
        slack: nanoseconds by which the order of the numbers and that of the times may differ.
    """
    by_id, _ = db.lanes["trades"]
    begin = preceding(db, by_id, market, (place(db, market, span.first - slack),))
    if begin:
        yield begin
    position: Sequence[object] = begin.position if begin else by_id.start()
    while found := after(db, by_id, market, position):
        yield from found
        if found[-1].moment >= span.end + slack:
            return
        position = found[-1].position


def uncounted(db: Readable, market: Part, span: Span, slack: Nanos) -> Iterator[Found]:
    """Numbered trades of a range of times, where the numbers may say nothing of time; ``slack`` as above."""
    by_id, _ = db.lanes["trades"]
    for found, latest in backwards(db, by_id, market, slack):
        yield from (one for one in found if span.first <= one.moment < span.end)
        if latest < span.first:
            return


def backwards(db: Readable, lane: Lane, part: Part, slack: Nanos) -> Iterator[tuple[Sequence[Found], float]]:
    """The rows of a part from the newest back, in steps, each with a time that what follows it is not later than.

    Ids that say nothing of time tell no such time, so that it takes all rows.
    """
    position: Sequence[object] = lane.end
    earliest, orderly = ABOVE, True
    while found := before(db, lane, part, position):
        for one in found:
            orderly = orderly and one.moment <= earliest + slack
            earliest = min(earliest, one.moment)
        yield found, earliest + slack if orderly else ABOVE
        position = found[-1].position


def place(db: Readable, market: Part, at: float) -> float:
    """The number that parts the trades before a time from the others, where numbers grow with time; by halving.

    Where all are before it, that is no number, since none need be behind the last: the greatest is the column's.
    """
    by_id, _ = db.lanes["trades"]
    lowest, highest = following(db, by_id, market, by_id.start()), preceding(db, by_id, market, by_id.end)
    if lowest is None or highest is None or highest.moment < at:
        return ABOVE
    low: int = lowest.position[0]
    high: int = highest.position[0]
    while low < high:
        middle = (low + high) // 2
        met = following(db, by_id, market, (middle - 1 if middle > lowest.position[0] else BELOW,))
        if met is None or met.moment >= at:
            high = middle
        else:
            low = met.position[0] + 1
    return low
