"""Whether a folder is fit for a database: tried with one that is gone afterwards."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import closing
from pathlib import Path

import apsw

from trioagg.errors import StoreError
from trioagg.store.opening import writable
from trioagg.store.trouble import explained

SQLITE = apsw.sqlite_lib_version()


def committed(folder: Path) -> float:
    """Seconds that it takes to make a few bytes durable there.

    Raises:
        StoreError: nothing can be made durable there, or not with a write-ahead log, which needs shared memory.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".trioagg-", dir=folder) as place:
            return _committed(Path(place) / "fitness.db")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written to: {error.strerror or error}") from None


def _committed(path: Path) -> float:
    with closing(writable(path)) as db:
        try:
            if (mode := db.pragma("journal_mode")) != "wal":
                raise StoreError(f"{path.parent.parent} allows no write-ahead log: its journal is {mode!r}")
            db.pragma("synchronous", "FULL")
            began = time.perf_counter()
            db.execute("INSERT INTO instrument (exchange, symbol) VALUES ('', '')")
        except apsw.Error as error:
            raise explained(error, path) from error
    return time.perf_counter() - began


def private(path: Path) -> bool:
    """Whether nobody but its owner may read a file, or there is none; always, where a system has no such modes."""
    return os.name == "nt" or not path.exists() or not path.stat().st_mode & 0o077
