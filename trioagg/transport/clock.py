"""The time stamps of arrival."""

from __future__ import annotations

import time
from collections.abc import Callable

from trioagg.model import Nanos

_SECOND: Nanos = 1_000_000_000


class Stamps:
    """Gives out each nanosecond once, so that equal stamps never hide the order of arrival.

    Stamps increase strictly while the system clock stands, or steps back by less than a second; a larger step back
    is followed, since then the clock was wrong before.

    Args:
        now: the clock, nanoseconds UTC.
    """

    def __init__(self, now: Callable[[], Nanos] = time.time_ns) -> None:
        self._now = now
        self._free: Nanos = 0

    def take(self, count: int = 1) -> Nanos:
        """Takes ``count`` consecutive nanoseconds.

        Returns:
            the first of them: item i of a batch arrived at this plus i.
        """
        now = self._now()
        if 0 < self._free - now < _SECOND:
            now = self._free
        self._free = now + count
        return now
