"""Rows as a Parquet file: decimals exact, times as integers, under the database's names.

Columns of decimals are ``decimal128(38, 18)`` where that holds every value exactly, else text. Which it is shows when
all rows were seen: the file is begun anew with text for the column where one does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, BinaryIO, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from trioagg.store import RECORDS, Row, TradeBar

GROUP = 50_000
"""Rows that are in memory at a time, and that the file keeps together."""

EXACT = pa.decimal128(38, 18)
TYPES = {
    str: pa.string(),
    Decimal: EXACT,
    int: pa.int64(),
    bool: pa.int64(),
    float: pa.float64(),
    bytes: pa.binary(),
}
"""What becomes of a field that may be of this type, the first that fits; the database has truths as 0 and 1."""


class _UnfitError(Exception):
    """Columns hold decimals with more digits than ``EXACT`` has."""

    def __init__(self, columns: set[str]) -> None:
        super().__init__(columns)
        self.columns = columns


def write(file: BinaryIO, kind: str, rows: Callable[[], Iterator[Row]]) -> int:
    """Write all rows into an empty file, and say how many they are.

    Args:
        file: open for writing; it can be begun anew.
        kind: a kind that has a record, or ``bars``.
        rows: begins to read them, each time anew.
    """
    types = _types(kind)
    while True:
        try:
            return _write(file, types, rows())
        except _UnfitError as unfit:
            types |= dict.fromkeys(unfit.columns, pa.string())
            file.seek(0)
            file.truncate()


def _types(kind: str) -> dict[str, pa.DataType]:
    hints = get_type_hints({**RECORDS, "bars": TradeBar}[kind])
    return {name: _type(hint) for name, hint in hints.items()}


def _type(hint: Any) -> pa.DataType:
    return next((became for part, became in TYPES.items() if part in (hint, *get_args(hint))), pa.string())


def _write(file: BinaryIO, types: dict[str, pa.DataType], rows: Iterator[Row]) -> int:
    count = 0
    with pq.ParquetWriter(file, pa.schema(list(types.items())), compression="zstd") as writer:
        while group := list(islice(rows, GROUP)):
            writer.write_table(_table(types, group))
            count += len(group)
    return count


def _table(types: dict[str, pa.DataType], group: Sequence[Row]) -> pa.Table:
    columns, unfit = {}, set()
    for name, kind in types.items():
        try:
            columns[name] = _column([row[name] for row in group], kind)
        except pa.ArrowInvalid:
            if kind != EXACT:
                raise
            unfit.add(name)
    if unfit:
        raise _UnfitError(unfit)
    return pa.table(columns)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Decimals are cast from their text, which raises rather than rounds."""
    return pa.array(values, pa.string()).cast(kind) if kind == EXACT else pa.array(values, kind)
