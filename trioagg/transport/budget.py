"""When one REST host may be asked next.

Every rule is a moment before which nobody asks: the spacing of requests, the silence after a failure or a rate limit,
and the token bucket too, which is kept as the moment when it will be full again. So a wait is computed once, exactly,
and no rounding can add up. What the processes of this host share are these moments (``common``).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import structlog
import trio
from attrs import frozen

from trioagg.transport.backoff import Backoff, Random
from trioagg.transport.common import Common, Moments

log = structlog.get_logger(__name__)

GLANCE = 0.002
"""Seconds until what other processes share is looked for again, where one of them had it just then."""
PATIENCE = 1.0
"""Seconds after which it is done without."""
APART = 60.0
"""Seconds for which it is done without then."""


@frozen
class Booking:
    """One request's place in the order.

    Attributes:
        start: when it may start, unless the host is closed then.
        before, after: the moments when the host is free and the bucket full, without it and with it.
    """

    start: float
    before: tuple[float, float]
    after: tuple[float, float]

    def cancel(self, at: Moments) -> None:
        """Give back what it spent; who has booked since then keeps his place."""
        if (at.free_at, at.full_at) == self.after:
            at.free_at, at.full_at = self.before
        else:
            at.full_at -= self.after[1] - max(self.before[1], self.start)


class Gate:
    """The turns of all requests to one host, first come, first served; times are ``trio.current_time()``.

    Args:
        weight: what may be spent in a burst, and per ``window`` in the long run.
        window: seconds.
        min_delay: seconds between the starts of two requests.
        backoff: how long to leave the host alone after failures in a row.
        random: the jitter's source.
        common: what other processes know and spend too; None where this one is alone.
    """

    def __init__(
        self,
        *,
        weight: int,
        window: float,
        min_delay: float,
        backoff: Backoff,
        random: Random = random.random,
        common: Common | None = None,
    ) -> None:
        self._capacity = weight
        self._seconds = window / weight  # that one unit of weight takes to come back
        self._min_delay = min_delay
        self._backoff = backoff
        self._random = random
        self._common = common
        self._ahead = trio.current_time() - common.clock() if common else 0.0
        self._busy_since = math.inf
        self._apart_until = -math.inf
        self._queue = trio.StrictFIFOLock()
        self._at = Moments()

    @property
    def closed_until(self) -> float:
        """The moment before which nobody asks; long past or ``-inf`` while the host is well."""
        with self._together():
            return self._at.closed_until

    @property
    def silence(self) -> float:
        """Seconds until anybody may ask; 0 while the host is well."""
        return max(0.0, self.closed_until - trio.current_time())

    @property
    def tokens(self) -> float:
        """The weight that may be spent now."""
        with self._together():
            return self._capacity - max(0.0, self._at.full_at - trio.current_time()) / self._seconds

    async def turn(self, weight: int = 1) -> float:
        """Wait until a request may start, and spend its weight; a cancelled wait spends nothing.

        Args:
            weight: of the request; one that is over the capacity waits for the full bucket.

        Returns:
            The moment of its start, for ``failed``.
        """
        async with self._queue:
            booked = await self._book(weight)
            try:
                await self._wait(booked.start)
            except BaseException:
                with self._together():
                    booked.cancel(self._at)
                raise
            return self._start()

    async def _wait(self, start: float) -> None:
        while (opens := max(start, self.closed_until)) > trio.current_time():  # noqa: ASYNC110  (it may move on)
            await trio.sleep_until(opens)

    async def _book(self, weight: int) -> Booking:
        """Spend its weight as of when it may start, so that whoever comes later, in any process, waits for longer."""
        while True:
            with self._together() as sure:
                if sure:
                    return self._booked(min(weight, self._capacity))
            await trio.sleep(GLANCE)

    def _booked(self, weight: int) -> Booking:
        at, spare = self._at, self._capacity - weight
        start = max(at.free_at, at.full_at - spare * self._seconds, trio.current_time())
        before = at.free_at, at.full_at
        at.free_at, at.full_at = start + self._min_delay, max(at.full_at, start) + weight * self._seconds
        return Booking(start, before, (at.free_at, at.full_at))

    def _start(self) -> float:
        now = trio.current_time()
        with self._together():
            self._at.free_at = max(self._at.free_at, now + self._min_delay)
        return now

    def used(self, weight_used: int) -> None:
        """Believe the exchange that so much was spent in its window, if it is more than we know of."""
        spent = min(weight_used, self._capacity)
        with self._together():
            self._at.full_at = max(self._at.full_at, trio.current_time() + spent * self._seconds)

    def succeeded(self) -> None:
        """The host is well: the next failure is the first one."""
        with self._together():
            self._at.failures = 0

    def failed(self, started: float = math.inf) -> float:
        """Leave the host alone after a failure that may pass, longer with each one in a row.

        Args:
            started: when the failed request started. One that was under way when the last failure was counted tells
                of the same failure, and is not counted.

        Returns:
            Seconds until the host may be asked again.
        """
        with self._together():
            if started > self._at.failed_at:
                self._at.failed_at = trio.current_time()
                self._at.failures += 1
                self._close_for(self._backoff.delay(int(self._at.failures), self._random))
        return self.silence

    def closed_for(self, seconds: float) -> None:
        """Nobody asks for so long from now; what closed it for longer stays in force."""
        with self._together():
            self._close_for(seconds)

    def _close_for(self, seconds: float) -> None:
        self._at.closed_until = max(self._at.closed_until, trio.current_time() + seconds)

    @contextmanager
    def _together(self) -> Iterator[bool]:
        """With what other processes know, which then learn what the block does; False where that cannot be just now."""
        with ExitStack() as stack:
            yield self._common is None or trio.current_time() < self._apart_until or self._joined(self._common, stack)

    def _joined(self, common: Common, stack: ExitStack) -> bool:
        try:
            stack.enter_context(common.together(self._at, self._ahead))
        except OSError as error:
            return self._without(error)
        self._busy_since = math.inf
        return True

    def _without(self, error: OSError) -> bool:
        """Whether it has lasted for too long: then this process goes by itself for a while."""
        now = trio.current_time()
        self._busy_since = min(self._busy_since, now)
        if now - self._busy_since < PATIENCE:
            return False
        self._busy_since, self._apart_until = math.inf, now + APART
        log.warning("what other runs on this host ask is not known", reason=str(error), wait=f"{APART:g} s")
        return True
