"""How a file is opened, known for ours, and brought to the newest schema."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw

from trioagg.errors import StoreError
from trioagg.store import sorting
from trioagg.store.kinds import LANES
from trioagg.store.order import Found, Lane, Part, Span
from trioagg.store.readable import Lanes
from trioagg.store.schema import APPLICATION_ID, SCRIPTS
from trioagg.store.trouble import damaged, reading

PRIVATE = 0o600
"""Who may read a new file: its owner; SQLite gives the files beside it the same mode."""


class Database(apsw.Connection):
    """An open file; only this folder looks inside, and what it is asked as a ``Readable`` is told there.

    Attributes:
        path: where it is.
    """

    path: Path
    lanes: Lanes = LANES

    @property
    def shown(self) -> str:
        return f"database {self.path}"

    def ask(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        with reading(self.path):
            return self.execute(question, values).fetchall()

    def each(self, question: str, *values: object) -> Iterator[tuple[Any, ...]]:
        with reading(self.path):
            yield from self.execute(question, values)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with reading(self.path):
            self.execute("BEGIN")
        try:
            yield
        finally:
            undone(self)

    def in_time(self, lane: Lane, part: Part, span: Span) -> Iterator[Found]:
        return sorting.in_time(self, lane, part, span)

    def damage(self) -> list[str]:
        """What SQLite's own check finds."""
        lines: list[str] = []
        with reading(self.path):
            try:
                for (told,) in self.execute("PRAGMA quick_check"):
                    lines += told.splitlines()
            except apsw.Error as error:  # the worst of it stops the check itself
                if not damaged(error):
                    raise
                lines = lines or [str(error)]
        return [line for line in lines if line != "ok" and not line.startswith("***")]


def writable(path: Path, patience: float = 1.0) -> Database:
    """Open a file for reading and writing, made and brought up to date where needed.

    Args:
        path: the file; its folder must exist.
        patience: seconds to wait for a lock that another program holds.

    Raises:
        StoreError: it cannot be used; the reason in one line, and the file is as it was.
    """
    if not os.path.isdir(path.parent):
        raise StoreError(f"cannot make database {path}: there is no folder {path.parent}")
    with suppress(OSError):  # it is there, or SQLite will say why it cannot be
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))
    with _opening(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, patience) as db:
        check(db, path)
        _log_ahead(db, patience)
        db.pragma("synchronous", "NORMAL")
        db.pragma("cache_size", -16000)
        migrate(db, path)
    return db


def readable(path: Path, patience: float = 1.0) -> Database:
    """Open a file that exists for reading only.

    Args:
        path: the file.
        patience: seconds to wait for a lock that another program holds.

    Raises:
        StoreError: there is none, or it cannot be used; the reason in one line.
    """
    if not os.path.exists(path):
        raise StoreError(f"no database at {path}; run `trioagg run` first")
    with _opening(path, apsw.SQLITE_OPEN_READONLY, patience) as db:
        version = check(db, path)
        if not version:
            raise StoreError(f"no database at {path}: the file is empty; run `trioagg run` first")
        if version < len(SCRIPTS):
            raise StoreError(f"{path} has the older schema {version}; `trioagg run` brings it to {len(SCRIPTS)}")
    return db


def check(db: Database, path: Path, known: int = len(SCRIPTS)) -> int:
    """The schema version of a file that is ours or empty (0), and not above ``known``; nothing is changed.

    Raises:
        StoreError: it is another program's, or a newer trioagg's.
    """
    # Asked first: tables that another process of ours makes meanwhile come together with its signature.
    inhabited = db.execute("SELECT EXISTS (SELECT 1 FROM sqlite_schema)").get
    owner: int = db.pragma("application_id")
    version: int = db.pragma("user_version")
    if owner != APPLICATION_ID and (owner or inhabited):
        raise StoreError(f"{path} is the database of another program")
    if version > known:
        raise StoreError(f"{path} was made by a newer trioagg: its schema is {version}, this one knows up to {known}")
    return version


def migrate(db: Database, path: Path, scripts: Sequence[str] = SCRIPTS) -> None:
    """Run the scripts that a file lacks, each with its version in one transaction.

    Raises:
        StoreError: the file is not ours, or newer.
        apsw.Error: a script failed; the file is at the version before it.
    """
    for version, script in enumerate(scripts, start=1):
        with transaction(db):
            # Asked again under the lock: another process may be doing the same.
            if check(db, path, len(scripts)) < version:
                db.execute(script)
                db.pragma("application_id", APPLICATION_ID)
                db.pragma("user_version", version)


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """One write transaction: all of the body or none of it."""
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
    finally:
        undone(db)


def undone(db: Database) -> None:
    """Leave a transaction that is not over."""
    if db.in_transaction:
        with suppress(apsw.Error):  # whatever broke the body is what the caller must hear of
            db.execute("ROLLBACK")


@contextmanager
def _opening(path: Path, flags: int, patience: float) -> Iterator[Database]:
    """A connection that is closed again, and its trouble explained, if the body fails."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise StoreError(f"cannot open database {path}: it is {'a folder' if os.path.isdir(path) else 'no plain file'}")
    with reading(path):
        db = Database(os.path.abspath(path), flags)
    try:
        with reading(path):
            db.path = path
            db.set_busy_timeout(round(patience * 1000))
            yield db
    except BaseException:
        db.close()
        raise


def _log_ahead(db: Database, patience: float) -> None:
    """Switch to the write-ahead log, so that readers and the writer never wait for each other."""
    deadline = time.monotonic() + patience
    while True:
        try:
            db.pragma("journal_mode", "WAL")
        except apsw.BusyError:
            # Of two that make one file at a time SQLite refuses one at once, without its own waiting.
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
        else:
            return
