"""Rows as MariaDB and MySQL read them in a statement, many to each: what a cell is, its table's column says.

The driver would ask each cell for what it is, which costs more than all else that is done to a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from trioagg.sinks._schema import Table, Type, listed
from trioagg.store.cells import Cells

LENGTH = 2**20
"""Signs of a statement from which on the next one begins; a server takes 16 MB by default."""


def inserts(table: Table, rows: Sequence[Cells], behind: str) -> Iterator[str]:
    """Statements that add rows; the server must take a backslash for an escape.

    Args:
        behind: ends each statement.
    """
    head = f"INSERT INTO {table.name} ({listed(list(table.columns))}) VALUES "
    columns = zip(table.columns.values(), zip(*rows, strict=True), strict=True)
    told = [map(LITERALS[column.type], cells) for column, cells in columns]
    for part in _parts(f"({','.join(row)})" for row in zip(*told, strict=True)):
        yield f"{head}{','.join(part)} {behind}"


def _parts(lines: Iterator[str]) -> Iterator[list[str]]:
    part: list[str] = []
    length = 0
    for line in lines:
        if part and length + len(line) > LENGTH:
            yield part
            part, length = [], 0
        part.append(line)
        length += len(line)
    yield part


def _text(cell: str | None) -> str:
    return "NULL" if cell is None else "'" + cell.replace("\\", "\\\\").replace("'", "''") + "'"


def _whole(cell: int | None) -> str:
    return "NULL" if cell is None else f"{cell:d}"


def _bytes(cell: bytes) -> str:
    return f"X'{cell.hex()}'"


LITERALS: Mapping[Type, Callable[[Any], str]] = {
    "name": _text,
    "text": _text,
    "decimal": _text,
    "integer": _whole,
    "truth": _whole,
    "bytes": _bytes,
    "digest": _bytes,
}
