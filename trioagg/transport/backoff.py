"""How long to wait before trying again.

After failures in a row: doubling, jittered, capped. After a demand for silence: as long as it says.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

from attrs import define, field, frozen

Random = Callable[[], float]
"""A number from 0 up to 1, new at every call."""

LONGEST_SILENCE = 3 * 86400.0
"""Seconds; no exchange bans an address for longer."""

_ABSURD = 366 * 86400.0  # more is no waiting time but a moment, put into the wrong header


@frozen
class Backoff:
    """Waits that double.

    Attributes:
        base: seconds after the first failure, before jitter.
        cap: seconds that no wait exceeds, jitter included.
    """

    base: float
    cap: float

    def delay(self, failures: int, random: Random = random.random) -> float:
        """Seconds to wait after ``failures`` (1 or more) in a row: up to half more than the doubled base.

        Half, so that the shortest wait after one more failure is longer than the longest after this one.
        """
        doubled = self.base * 2.0 ** min(failures - 1, 1000)  # 2.0 ** 1024 would overflow
        return min(self.cap, doubled * (1 + random() / 2))


@define
class Attempts:
    """The failures in a row of something that is to stay up, such as a connection.

    Attributes:
        backoff: how long to wait.
        healthy: seconds that it must have lasted for the failures before it to be forgotten.
        random: the jitter's source.
        failures: how many in a row so far.
    """

    backoff: Backoff
    healthy: float = 60
    random: Random = random.random
    failures: int = field(default=0, init=False)

    def failed(self, lasted: float) -> float:
        """Count a failure.

        Args:
            lasted: seconds that it was up before; 0 if it never was.

        Returns:
            Seconds to wait before the next attempt.
        """
        self.failures = 1 if lasted >= self.healthy else self.failures + 1
        return self.backoff.delay(self.failures, self.random)


def retry_after(value: str, date: str, now: float) -> float | None:
    """Seconds of silence that an answer demands.

    Args:
        value: of its header: seconds, whole or decimal, or an HTTP date.
        date: its ``Date`` header, which a date counts from; empty, or rubbish, where it has none.
        now: our time, seconds since 1970, to count from then.

    Returns:
        From 0 to ``LONGEST_SILENCE``; None where the value means nothing.
    """
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", value.strip()):
        seconds = float(value)
    else:
        moment, sent = _seconds_since_1970(value), _seconds_since_1970(date)
        seconds = math.nan if moment is None else max(0.0, moment - (now if sent is None else sent))
    return min(seconds, LONGEST_SILENCE) if seconds <= _ABSURD else None


def _seconds_since_1970(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
