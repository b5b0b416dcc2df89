"""What SQLite's errors mean to the rest of trioagg: the one place that translates them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trioagg.errors import SinkError, StoreError

PASSING = {
    sqlite3.SQLITE_BUSY: "is locked by another program",
    sqlite3.SQLITE_LOCKED: "is locked by another program",
    sqlite3.SQLITE_FULL: "cannot grow: no room is left on its disk",
    sqlite3.SQLITE_IOERR: "cannot be read or written: disk I/O error",
    sqlite3.SQLITE_NOMEM: "cannot be used: out of memory",
    sqlite3.SQLITE_INTERRUPT: "was interrupted",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened, or the files beside it cannot be made",
}
"""Reasons that may be gone at the next try."""

LASTING = {
    sqlite3.SQLITE_NOTADB: "is no SQLite database",
    sqlite3.SQLITE_CORRUPT: "is damaged: part of it is missing or overwritten",
    sqlite3.SQLITE_READONLY: "is read-only",
    sqlite3.SQLITE_PERM: "may not be opened: permission denied",
    sqlite3.SQLITE_AUTH: "may not be opened: permission denied",
}
"""Reasons that stay until a person does something."""


def explained(error: sqlite3.Error, path: Path) -> StoreError:
    """Why a file cannot be used, in one line."""
    code = _code(error)
    return StoreError(f"database {path} {PASSING.get(code) or LASTING.get(code) or f'cannot be used: {error}'}")


def damaged(error: sqlite3.Error) -> bool:
    """Whether it tells that the file's own structure is broken."""
    return _code(error) == sqlite3.SQLITE_CORRUPT


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """SQLite's errors in the body, as ours.

    Raises:
        StoreError: whatever SQLite said.
    """
    try:
        yield
    except sqlite3.Error as error:
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
    except sqlite3.Error as error:
        if _code(error) in PASSING:
            raise SinkError(f"database {path} {PASSING[_code(error)]}") from error
        if _code(error) in LASTING:
            raise explained(error, path) from error
        raise


def _code(error: sqlite3.Error) -> int:
    """The primary result code; 0 where the error is not SQLite's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
