"""A database as a person's own program opens it, and what SQLite is asked of one.

With the library of the store: two SQLite libraries in one process would not see each other's locks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

Asked = list[tuple[str, tuple[Any, ...]]]


def plain(path: Path) -> apsw.Connection:
    """Open it; waits for locks."""
    db = apsw.Connection(str(path))
    db.set_busy_timeout(5000)
    return db


@contextmanager
def asked(db: apsw.Connection) -> Iterator[Asked]:
    """Every statement that is run meanwhile, with its values."""
    statements: Asked = []

    def note(_: object, statement: str, values: Any) -> bool:
        statements.append((statement, tuple(values or ())))
        return True

    db.set_exec_trace(note)
    yield statements
    db.set_exec_trace(None)


@contextmanager
def counted(db: apsw.Connection, some: int) -> Iterator[list[int]]:
    """One for every so many of SQLite's own steps that are taken meanwhile."""
    taken: list[int] = []

    def note() -> bool:
        taken.append(1)
        return False

    db.set_progress_handler(note, some)
    yield taken


def plans(statements: Asked, db: apsw.Connection) -> set[str]:
    """The steps by which SQLite answers the questions among them."""
    questions = [(sql, values) for sql, values in statements if sql.lstrip().startswith(("SELECT", "INSERT", "WITH"))]
    return {str(step[3]) for sql, values in questions for step in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)}
