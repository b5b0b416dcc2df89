"""What the adapters share about times on the wire, and about how long candles last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache

from trioagg.errors import WireError
from trioagg.model import Nanos

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "M": 31 * 86_400}
"""How intervals end, and the seconds of one, at most."""


def nanos(stamp: int) -> Nanos:
    """An exchange's time in milliseconds, microseconds or nanoseconds, told apart by its size, as nanoseconds.

    Raises:
        WireError: it lies outside the years 1970 to 2255.
    """
    if 0 <= stamp < 9_000_000_000_000:
        return stamp * 1_000_000
    if 0 <= stamp < 9_000_000_000_000_000:
        return stamp * 1_000
    if 0 <= stamp < 9_000_000_000_000_000_000:
        return stamp
    raise WireError(f"impossible time: {stamp}"[:80])


def seconds(stamp: int) -> Nanos:
    """An exchange's time in seconds, as nanoseconds.

    Raises:
        WireError: it lies outside the years 1970 to 2255.
    """
    if not 0 <= stamp < 9_000_000_000:
        raise WireError(f"impossible time: {stamp}"[:80])
    return stamp * 1_000_000_000


def rfc3339(text: str) -> Nanos:
    """A time in UTC, ``2026-03-02T10:15:30.123456Z``, exact to the nanosecond.

    Raises:
        WireError: it is none, or lies outside the years 1970 to 2255.
    """
    fraction = text[20:-1]
    if text[19:] == "Z":
        return _second(text[:19])
    if text[19:20] == "." and text.endswith("Z") and fraction.isascii() and fraction.isdecimal():
        return _second(text[:19]) + int(fraction[:9].ljust(9, "0"))
    raise WireError(f"impossible time: {text[:40]}")


@lru_cache(maxsize=256)
def _second(text: str) -> Nanos:
    """The time of a whole second: many trades share one."""
    try:
        moment = datetime.fromisoformat(f"{text}+00:00")
    except ValueError:
        raise WireError(f"impossible time: {text}") from None
    return seconds((moment - EPOCH) // SECOND)


@cache
def length(interval: str) -> Nanos:
    """How long a candle lasts, by our spelling; a month has 31 days."""
    return int(interval[:-1]) * UNITS[interval[-1]] * 1_000_000_000
