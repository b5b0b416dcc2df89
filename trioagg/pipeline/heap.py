"""How much of what a connection brings means nothing: quarantine keeps it whole, so there must be an end to it."""

from __future__ import annotations

import math

from attrs import define

from trioagg.errors import LinkError

MINUTE = 60.0
MOST = 64 * 2**20
"""Bytes a minute; a kind of frame that nobody knows brings a thousandth of it."""


@define
class Heap:
    """What one connection brought lately."""

    _since: float = -math.inf
    _before: int = 0

    def grown(self, total: int, now: float) -> None:
        """So many bytes could not be understood until now.

        Raises:
            LinkError: too many of them within a minute: the connection is given up, and the next one waits its turn.
        """
        if now >= self._since + MINUTE:
            self._since, self._before = now, total
        elif total - self._before > MOST:
            raise LinkError(f"more than {MOST >> 20} MB within a minute could not be understood")
