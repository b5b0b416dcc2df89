"""The sink contract: where events become durable.

A file in this folder is one kind of sink, named as the scheme of its URLs (``sqlite:///path``), and has one async
context manager ``connect(url)`` that yields a ``Sink``. Adding a sink adds its file and edits none. ``connect`` refuses
what is wrong in the URL; a server that is not there is told by ``write``, so that a run begins without it. A sink that
needs a library imports it at its top, and an extra brings it, named as the sink unless it says so itself. Files that
begin with ``_`` are shared. A URL may hold a password: whoever shows one shows ``redacted(url)``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from trioagg.integrity.continuity import Run
from trioagg.integrity.ledger import Draft
from trioagg.model import Event, Instrument, Nanos
from trioagg.sinks import _plugin
from trioagg.store import Counts

__all__ = ["Database", "Sink", "connect", "names", "solitary"]


class Sink(Protocol):
    """A store that takes batches, one at a time."""

    async def write(self, batch: Sequence[Event], draft: Draft, /) -> Counts:
        """Make a batch durable, and what its draft enters into the ledger: all or none; the same again adds nothing.

        An empty batch asks whether the store is there.

        Raises:
            SinkError: none of it was written; the same batch may be offered again.
            StoreError: none of it was written, and nothing ever will be until a person acts.
        """
        ...

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        """Keep what is known of the instruments.

        Raises:
            SinkError, StoreError: nothing was written.
        """
        ...


class Database(Sink, Protocol):
    """The store that a run is about: what it lacks is asked for, so it must tell where in time that lies."""

    async def around(self, exchange: str, symbol: str, run: Run, /) -> tuple[Nanos | None, Nanos | None]:
        """The times of the nearest stored trades before and after some ids, nanoseconds UTC; None where there is none.

        Raises:
            SinkError, StoreError: it cannot be told now, or ever.
        """
        ...


def names() -> list[str]:
    """The kinds of sinks that there are."""
    return _plugin.names(sys.modules[__name__])


def connect(url: str) -> AbstractAsyncContextManager[Sink]:
    """A sink by its URL.

    Raises:
        SettingsError: no sink has the URL's scheme, its library is not installed, or something else in it is wrong;
            whoever knows where the URL stands tells it (``errors.named``).
    """
    opened: AbstractAsyncContextManager[Sink] = _plugin.plugin(sys.modules[__name__], url).connect(url)
    return opened


def solitary(url: str) -> bool:
    """Whether it takes one process at a time, which its module says by ``SOLITARY = True``.

    Raises:
        SettingsError: no sink has the URL's scheme, or its library is not installed.
    """
    return getattr(_plugin.plugin(sys.modules[__name__], url), "SOLITARY", False)
