"""Rows as a Parquet file: decimals exact, times as integers, under the database's names.

Which columns of decimals fit ``decimal128(38, 18)`` shows when all rows were seen: the file is begun anew with text for
the column where one does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from trioagg.store import Row
from trioagg.store.arrow import UnfitError, table, types

GROUP = 50_000
"""Rows that are in memory at a time, and that the file keeps together."""


def write(file: BinaryIO, kind: str, rows: Callable[[], Iterator[Row]]) -> int:
    """Write all rows into an empty file, and say how many they are.

    Args:
        file: open for writing; it can be begun anew.
        kind: a kind that has a record, or ``bars``.
        rows: begins to read them, each time anew.
    """
    columns = types(kind)
    while True:
        try:
            return _write(file, columns, rows())
        except UnfitError as unfit:
            columns |= dict.fromkeys(unfit.columns, pa.string())
            file.seek(0)
            file.truncate()


def _write(file: BinaryIO, columns: dict[str, pa.DataType], rows: Iterator[Row]) -> int:
    count = 0
    with pq.ParquetWriter(file, pa.schema(list(columns.items())), compression="zstd") as writer:
        while group := list(islice(rows, GROUP)):
            writer.write_table(table(columns, group))
            count += len(group)
    return count
