"""What SQLite's errors mean to the rest of trioagg: the one place that translates them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from trioagg.errors import SinkError, StoreError

PASSING = {
    apsw.SQLITE_BUSY: "is locked by another program",
    apsw.SQLITE_LOCKED: "is locked by another program",
    apsw.SQLITE_FULL: "cannot grow: no room is left on its disk",
    apsw.SQLITE_IOERR: "cannot be read or written: disk I/O error",
    apsw.SQLITE_NOMEM: "cannot be used: out of memory",
    apsw.SQLITE_INTERRUPT: "was interrupted",
    apsw.SQLITE_CANTOPEN: "cannot be opened, or the files beside it cannot be made",
}
"""Reasons that may be gone at the next try."""

LASTING = {
    apsw.SQLITE_NOTADB: "is no SQLite database",
    apsw.SQLITE_CORRUPT: "is damaged: part of it is missing or overwritten",
    apsw.SQLITE_READONLY: "is read-only",
    apsw.SQLITE_PERM: "may not be opened: permission denied",
    apsw.SQLITE_AUTH: "may not be opened: permission denied",
}
"""Reasons that stay until a person does something."""


def explained(error: apsw.Error, path: Path) -> StoreError:
    """Why a file cannot be used, in one line."""
    code = _code(error)
    return StoreError(f"database {path} {PASSING.get(code) or LASTING.get(code) or f'cannot be used: {error}'}")


def damaged(error: apsw.Error) -> bool:
    """Whether it tells that the file's own structure is broken."""
    return _code(error) == apsw.SQLITE_CORRUPT


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """SQLite's errors in the body, as ours.

    Raises:
        StoreError: whatever SQLite said.
    """
    try:
        yield
    except apsw.Error as error:
        raise explained(error, path) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """SQLite's errors in the body, as ours; what is neither of the two is a bug and stays as it is.

    Raises:
        SinkError: the same may be tried again.
        StoreError: trying again changes nothing.
    """
    try:
        yield
    except apsw.Error as error:
        if _code(error) in PASSING:
            raise SinkError(f"database {path} {PASSING[_code(error)]}") from error
        if _code(error) in LASTING:
            raise explained(error, path) from error
        raise


def _code(error: apsw.Error) -> int:
    """The primary result code; 0 where the error is not SQLite's own."""
    return getattr(error, "result", 0)
