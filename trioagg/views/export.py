"""``trioagg export``: rows of a range of times as a file for other programs, with every digit."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from trioagg.errors import SettingsError
from trioagg.store import Readable, Row, Span, scan
from trioagg.views.files import ending, whole
from trioagg.views.table import SHOWN, plain

Rows = Callable[[], Iterator[Row]]
"""Begins to read all rows, each time anew."""


def export(
    db: Readable, kind: str, output: Path, *, exchanges: Sequence[str], symbols: Sequence[str], span: Span
) -> None:
    """Write all rows of a kind and of a range of times into a file, and print how many they are.

    Raises:
        SettingsError: no file can be made so, or the database knows nothing of an exchange or symbol.
        StoreError: the database cannot be read.
        OSError: the file cannot be written.
    """
    write_all(kind, output, lambda: scan(db, kind, exchanges=exchanges, symbols=symbols, span=span))


def write_all(kind: str, output: Path, rows: Rows) -> None:
    """Write what is read into a file, and print how many rows they are.

    Raises:
        SettingsError, StoreError, OSError: see ``export``.
    """
    write = WRITERS[ending(output, tuple(WRITERS))]
    with whole(output) as file:
        count = write(file, kind, rows)
    print(f"{count} rows in {output}")


def _csv(file: BinaryIO, kind: str, rows: Rows) -> int:
    """Text under the database's names; what is not known is empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    writer = csv.writer(text, lineterminator="\n")
    names, count = SHOWN[kind], 0
    writer.writerow(names)
    for count, row in enumerate(rows(), start=1):  # noqa: B007 -- the last one is how many there are
        writer.writerow([plain(row[name]) for name in names])
    text.detach()
    return count


def _csv_gz(file: BinaryIO, kind: str, rows: Rows) -> int:
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:
        return _csv(packed, kind, rows)  # type: ignore[arg-type]  # a GzipFile is all that is asked for here


def _parquet(file: BinaryIO, kind: str, rows: Rows) -> int:
    try:
        from trioagg.views.parquet import write
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise SettingsError("Parquet needs pyarrow, which is not installed: pip install 'trioagg[parquet]'") from None
    return write(file, kind, rows)


WRITERS: dict[str, Callable[[BinaryIO, str, Rows], int]] = {".csv": _csv, ".csv.gz": _csv_gz, ".parquet": _parquet}
"""What writes a file, by the ending of its name."""
