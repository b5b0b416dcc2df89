"""When one REST host may be asked next.

Every rule is a moment before which nobody asks: the spacing of requests, the silence after a failure or a rate limit,
and the token bucket too, which is kept as the moment when it will be full again. So a wait is computed once, exactly,
and no rounding can add up.
"""

from __future__ import annotations

import math
import random

import trio

from trioagg.transport.backoff import Backoff, Random


class Gate:
    """The turns of all requests to one host, first come, first served; times are ``trio.current_time()``.

    Args:
        weight: what may be spent in a burst, and per ``window`` in the long run.
        window: seconds.
        min_delay: seconds between the starts of two requests.
        backoff: how long to leave the host alone after failures in a row.
        random: the jitter's source.
    """

    def __init__(
        self, *, weight: int, window: float, min_delay: float, backoff: Backoff, random: Random = random.random
    ) -> None:
        self._capacity = weight
        self._seconds = window / weight  # that one unit of weight takes to come back
        self._min_delay = min_delay
        self._backoff = backoff
        self._random = random
        self._queue = trio.StrictFIFOLock()
        self._free_at = self._full_at = self._closed_until = self._failed_at = -math.inf
        self._failures = 0

    @property
    def closed_until(self) -> float:
        """The moment before which nobody asks; long past or ``-inf`` while the host is well."""
        return self._closed_until

    @property
    def silence(self) -> float:
        """Seconds until anybody may ask; 0 while the host is well."""
        return max(0.0, self._closed_until - trio.current_time())

    @property
    def tokens(self) -> float:
        """The weight that may be spent now."""
        return self._capacity - max(0.0, self._full_at - trio.current_time()) / self._seconds

    async def turn(self, weight: int = 1) -> float:
        """Wait until a request may start, and spend its weight; a cancelled wait spends nothing.

        Args:
            weight: of the request; one that is over the capacity waits for the full bucket.

        Returns:
            The moment of its start, for ``failed``.
        """
        async with self._queue:
            while (opens := self._opens(weight)) > trio.current_time():  # noqa: ASYNC110  (it may move on meanwhile)
                await trio.sleep_until(opens)
            return self._start(weight)

    def _opens(self, weight: int) -> float:
        spare = self._capacity - min(weight, self._capacity)
        return max(self._free_at, self._closed_until, self._full_at - spare * self._seconds)

    def _start(self, weight: int) -> float:
        now = trio.current_time()
        self._free_at = now + self._min_delay
        self._full_at = max(self._full_at, now) + min(weight, self._capacity) * self._seconds
        return now

    def used(self, weight_used: int) -> None:
        """Believe the exchange that so much was spent in its window, if it is more than we know of."""
        spent = min(weight_used, self._capacity)
        self._full_at = max(self._full_at, trio.current_time() + spent * self._seconds)

    def succeeded(self) -> None:
        """The host is well: the next failure is the first one."""
        self._failures = 0

    def failed(self, started: float = math.inf) -> float:
        """Leave the host alone after a failure that may pass, longer with each one in a row.

        Args:
            started: when the failed request started. One that was under way when the last failure was counted tells
                of the same failure, and is not counted.

        Returns:
            Seconds until the host may be asked again.
        """
        if started > self._failed_at:
            self._failed_at = trio.current_time()
            self._failures += 1
            self.closed_for(self._backoff.delay(self._failures, self._random))
        return self.silence

    def closed_for(self, seconds: float) -> None:
        """Nobody asks for so long from now; what closed it for longer stays in force."""
        self._closed_until = max(self._closed_until, trio.current_time() + seconds)
