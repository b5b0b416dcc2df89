"""Which part of all markets is one process's, the same on every machine, in every run and every Python."""

from __future__ import annotations

import re
from hashlib import blake2b

from attrs import frozen

MOST = 1000
"""Shards: a market's is found by weighing it against each of them."""


@frozen
class Shard:
    """One of so many parts; written ``2/5``, the second of five.

    Attributes:
        number: from 1 on.
        of: how many there are.
    """

    number: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def holds(self, exchange: str, symbol: str) -> bool:
        """Whether a market is in this part.

        By the highest weight (rendezvous hashing): another market moves none of the others, and from N to N + 1 parts
        only those markets move that the new part gets.
        """
        return self.of == 1 or self.number == max(
            range(1, self.of + 1), key=lambda number: _weight(number, exchange, symbol)
        )


def shard(text: str) -> Shard:
    """``2/5``.

    Raises:
        ValueError: it is none.
    """
    told = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    number, of = map(int, told.groups()) if told else (0, 0)
    if not 1 <= number <= of <= MOST:
        raise ValueError(f"must look like 2/5, the second of five shards, of {MOST} at the most")
    return Shard(number, of)


def _weight(number: int, exchange: str, symbol: str) -> bytes:
    return blake2b(f"{number}|{exchange}|{symbol}".encode(), digest_size=16).digest()
