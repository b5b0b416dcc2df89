"""What the adapters share about times on the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from trioagg.errors import WireError
from trioagg.exchanges._numbers import nanos
from trioagg.model import Nanos

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def rfc3339(text: str) -> Nanos:
    """A time in UTC, ``2026-03-02T10:15:30.123456Z``, exact to the nanosecond.

    Raises:
        WireError: it is none.
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
    return nanos((moment - EPOCH) // SECOND * 1000)
