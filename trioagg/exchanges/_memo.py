"""Answers that are kept: what is the same for every frame of a stream is found out at its first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

KEPT = 10_000
"""Answers that one memo keeps: more than a connection has streams. What a far end makes up beyond is asked anew."""


class Memo(dict[K, V]):
    """What a function answers, asked once for each key; where it raises, it is asked again.

    Args:
        ask: the function.
        known: answers that are there before.
    """

    def __init__(self, ask: Callable[[K], V], known: Mapping[K, V] | None = None) -> None:
        super().__init__(known or {})
        self._ask = ask

    def __missing__(self, key: K) -> V:
        answer = self._ask(key)
        if len(self) < KEPT:
            self[key] = answer
        return answer
