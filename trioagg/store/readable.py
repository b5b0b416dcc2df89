"""A store that can be read: all that the questions of this folder ask, of a file or of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from trioagg.store.order import Found, Lane, Part, Span

Lanes = Mapping[str, Sequence[Lane]]
"""Where the rows of everything that can be shown lie; those of trades are the numbered ones, and the others."""


class Readable(Protocol):
    """An open store, for one thread at a time; nothing is ever written to it.

    A question is SQL with ``?`` for each value, and holds none of it otherwise.
    """

    lanes: Lanes

    @property
    def shown(self) -> str:
        """Where it is, without who logs in."""
        ...

    def ask(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        """All answers to a question, as the store is now.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def each(self, question: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """The answers one by one, however many; within a snapshot, and nothing else is asked meanwhile.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """Whatever the body asks is answered as the store was at the first question."""
        ...

    def in_time(self, lane: Lane, part: Part, span: Span) -> Iterator[Found]:
        """The rows of a range of times in the order of these, though they lie in another; memory does not grow.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def damage(self) -> list[str]:
        """What is wrong with the store itself, a line each; if anything, its rows prove nothing.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
