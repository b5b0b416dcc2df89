"""The source contract: logs that sinks have written and that a loader reads back.

A file in this folder is one kind of source, named as the scheme of its URLs, which are those of the sink that writes
the log, and has ``connect(url, books)``. Adding a source adds its file and edits none. Several loaders may share one
log; whoever stops leaves its share to the others. What was read is told to be durable only once it is, so that whatever
happens to a loader, the next one begins with what may not be stored yet.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from attrs import field, frozen

from trioagg.model import Event, Instrument
from trioagg.sinks import _plugin

__all__ = ["Books", "Ends", "Haul", "Part", "Source", "connect"]

Part = Hashable
"""A part of a log, which one loader at a time has."""

Ends = Mapping[Part, int]
"""How far something goes in each part: the place after it."""


@frozen
class Haul:
    """What was read at a time.

    Attributes:
        items: in each part's order.
        ends: how far it goes.
    """

    items: Sequence[Event | Instrument] = ()
    ends: Ends = field(factory=dict)


class Books(Protocol):
    """Knows what became of what was read; asked when parts go to another loader."""

    async def release(self, parts: Collection[Part]) -> Ends:
        """Finish what is under way as far as possible, forget these parts, and tell how much of all is durable."""
        ...

    def forget(self, parts: Collection[Part]) -> None:
        """Another has these parts already."""
        ...


class Source(Protocol):
    """A share of a log, read by one task."""

    @property
    def ended(self) -> bool:
        """Whether the present end of the whole share was reached."""
        ...

    async def take(self) -> Haul:
        """What comes within a moment; may be nothing.

        Raises:
            StoreError: nothing will ever be read until a person acts.
        """
        ...

    async def rest(self) -> Haul:
        """Keep the share for a moment without reading on; what is on its way may still come.

        Raises:
            StoreError: as above.
        """
        ...

    def keep(self, ends: Ends) -> None:
        """All before these is durable: tell it no more, to nobody."""
        ...


def connect(url: str, books: Books) -> AbstractAsyncContextManager[Source]:
    """A source by its URL; what it has read and not kept is read again by whoever comes next.

    Raises:
        SettingsError: no source has the URL's scheme, its library is not installed, or something else in it is wrong;
            whoever knows where the URL stands tells it (``errors.named``).
    """
    opened: AbstractAsyncContextManager[Source] = _plugin.plugin(sys.modules[__name__], url).connect(url, books)
    return opened
