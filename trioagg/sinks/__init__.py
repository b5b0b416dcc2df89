"""The sink contract: where events become durable.

A file in this folder is one kind of sink, named as the scheme of its URLs (``sqlite:///path``), and has one async
context manager ``connect(url)`` that yields a ``Sink``. Adding a sink adds its file and edits none. ``connect`` refuses
what is wrong in the URL; a server that is not there is told by ``write``, so that a run begins without it. A sink that
needs a library imports it at its top, and an extra brings it, named as the sink unless it says so itself. Files that
begin with ``_`` are shared. A URL may hold a password: whoever shows one shows ``redacted(url)``.

One that keeps tables has a function ``readable(url)`` besides, which opens what was stored there for reading only. That
is here and not in the store, which is below and knows neither servers nor drivers; what is asked is the store's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

from trioagg.errors import SettingsError, named
from trioagg.model import Event, Instrument, Nanos
from trioagg.settings import redacted
from trioagg.sinks import _plugin
from trioagg.store import Readable
from trioagg.store import connect as opened

if TYPE_CHECKING:
    from trioagg.integrity.continuity import Run
    from trioagg.integrity.ledger import Draft
    from trioagg.store import Counts

__all__ = ["Database", "Sink", "connect", "is_url", "names", "solitary", "stored"]


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

    async def tend(self) -> None:
        """Keep the store in order between the writes, for as long as there are any: until it is cancelled."""
        ...


def names() -> list[str]:
    """The kinds of sinks that there are."""
    return _plugin.names(sys.modules[__name__])


def is_url(address: str) -> bool:
    """Whether a store's address is a URL, and not the path of a file."""
    return "://" in address or address.partition(":")[0] in names()


def connect(url: str) -> AbstractAsyncContextManager[Sink]:
    """A sink by its URL.

    Raises:
        SettingsError: no sink has the URL's scheme, its library is not installed, or something else in it is wrong;
            whoever knows where the URL stands tells it (``errors.named``).
    """
    sink: AbstractAsyncContextManager[Sink] = _plugin.plugin(sys.modules[__name__], url).connect(url)
    return sink


def solitary(url: str) -> bool:
    """Whether it takes one process at a time, which its module says by ``SOLITARY = True``.

    Raises:
        SettingsError: no sink has the URL's scheme, or its library is not installed.
    """
    return getattr(_plugin.plugin(sys.modules[__name__], url), "SOLITARY", False)


@contextmanager
def stored(address: str) -> Iterator[Readable]:
    """A store to be read, by the path of its file or by its URL.

    Raises:
        SettingsError: nothing of the URL's scheme can be read, its library is not installed, or the URL is wrong.
        StoreError: there is no such store, or it cannot be used; the reason in one line.
    """
    db = _readable(address) if is_url(address) else opened(address)
    try:
        yield db
    finally:
        db.close()


def _readable(url: str) -> Readable:
    with named("--database"):
        module = _plugin.plugin(sys.modules[__name__], url)
        if not hasattr(module, "readable"):
            good = "name a file, or a database such as postgresql://host/database"
            raise SettingsError(f"bad value {redacted(url)!r}: what went there is not read from here; {good}")
        db: Readable = module.readable(url)
    return db
