"""How much of what an exchange brings means nothing: quarantine keeps it whole, so there must be an end to it."""

from __future__ import annotations

import math

from attrs import define

from trioagg.errors import LinkError

MINUTE = 60.0
MOST = 64 * 2**20
"""Bytes a minute; a kind of frame that nobody knows brings a thousandth of it."""


@define
class Heap:
    """What all connections of one exchange brought lately, those that are gone too."""

    _since: float = -math.inf
    _size: int = 0

    def add(self, size: int, now: float) -> None:
        """One of them brought so many bytes that could not be understood.

        Raises:
            LinkError: too many in all within a minute: the connection that brought these is given up, and no other.
        """
        if now >= self._since + MINUTE:
            self._since, self._size = now, 0
        self._size += size
        if self._size > MOST:
            raise LinkError(f"more than {MOST >> 20} MB within a minute could not be understood")
