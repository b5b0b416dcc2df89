"""What means nothing may come for ever, but only so much of it a minute from one exchange."""

from __future__ import annotations

import pytest

from trioagg.errors import LinkError
from trioagg.pipeline.heap import MINUTE, MOST, Heap


def test_a_little_is_borne_for_ever() -> None:
    """A kind of frame that nobody knows, day by day, and one large frame."""
    heap = Heap()
    for minute in range(1000):
        heap.add(MOST, minute * MINUTE)


def test_too_much_within_a_minute_is_a_lost_link() -> None:
    """Told in one line; whichever connection brings more within that minute is lost too, and then all is well again."""
    heap = Heap()
    heap.add(MOST, 10)
    for now in (11, 10 + MINUTE - 0.1):
        with pytest.raises(LinkError, match="more than 64 MB within a minute could not be understood"):
            heap.add(1, now)
    heap.add(MOST, 10 + MINUTE)
