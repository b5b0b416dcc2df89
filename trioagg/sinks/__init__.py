"""The sink contract: where events become durable.

A file in this folder is one kind of sink, named as the scheme of its URLs (``sqlite:///path``), and has one async
context manager ``connect(url)`` that yields a ``Sink``. Adding a sink adds its file and edits none.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from trioagg.errors import SettingsError
from trioagg.model import Event, Gap, Instrument
from trioagg.store import Counts, Known


class Sink(Protocol):
    """A store that takes batches, one at a time."""

    async def write(self, batch: Sequence[Event], gaps: Sequence[Gap], /) -> Counts:
        """Make a batch durable, and the gaps that it opened or changed: all or none, and the same again adds nothing.

        Raises:
            SinkError: none of it was written; the same batch may be offered again.
            StoreError: none of it was written, and nothing ever will be until a person acts.
        """
        ...

    async def known(self, exchange: str, symbol: str, /) -> Known:
        """What is stored of a market's numbered trades, and what is known to be missing of them.

        Raises:
            SinkError, StoreError: it cannot be told now, or ever.
        """
        ...

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        """Keep what is known of the instruments.

        Raises:
            SinkError, StoreError: nothing was written.
        """
        ...


def names() -> list[str]:
    """The kinds of sinks that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def connect(url: str) -> AbstractAsyncContextManager[Sink]:
    """A sink by its URL.

    Raises:
        SettingsError: no sink has the URL's scheme.
    """
    scheme = url.partition(":")[0]
    if scheme not in names():
        raise SettingsError(f"--sink: no sink is named {scheme!r}; known: {', '.join(names())}")
    opened: AbstractAsyncContextManager[Sink] = importlib.import_module(f"{__name__}.{scheme}").connect(url)
    return opened
