"""One folder of Parquet files: the rows of one kind, day, exchange and symbol, each once after a compaction.

A file is there only when it is whole. Rows of which a number does not fit ``decimal128(38, 18)`` have a data set of
their own, with all numbers as text, so that the types of a data set never change.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from attrs import evolve, frozen

from trioagg.errors import StoreError
from trioagg.model import Nanos
from trioagg.store import Row, Told
from trioagg.store.arrow import EXACT, UnfitError, table, types
from trioagg.store.files import replacing

ENDING = ".parquet"
TEXT = "_text"
"""Ends the name of a data set whose numbers are text."""

DEPTH = 4
"""Folders above a partition's, up to the root."""

KEYS: Mapping[str, Sequence[str]] = {
    "trades": ("trade_id",),
    "candles": ("interval", "open_time"),
    "quarantine": ("received", "payload"),
}
"""What no two rows of a folder share; of the other kinds, instant and ordinal."""

ARRIVAL = ("received", "ordinal")

FIRST: Mapping[str, Sequence[tuple[str, str]]] = {
    "candles": (("closed", "descending"), ("received", "descending")),
}
"""Which of several rows with one key stays; of the other kinds, the one that arrived first."""


@frozen
class Partition:
    """Where rows go.

    Attributes:
        kind: as users name it.
        date: of the day, UTC, in which they happened, ``2026-01-31``.
        symbol: empty for quarantined frames.
        text: whether the numbers are text.
    """

    kind: str
    date: str
    exchange: str
    symbol: str
    text: bool = False

    @classmethod
    def of(cls, told: Told) -> Partition:
        """Where an event goes, unless a number does not fit."""
        return cls(told.kind, _day(told.moment), told.exchange, told.symbol)

    def folder(self, root: Path) -> Path:
        """Its folder, as Hive names it: slashes and colons as ``%2F`` and ``%3A``."""
        parts = {"date": self.date, "exchange": self.exchange, "symbol": self.symbol}
        names = (f"{name}={quote(part, safe='')}" for name, part in parts.items() if part)
        return root.joinpath(self.kind + (TEXT if self.text else ""), *names)

    def add(self, root: Path, rows: Sequence[Row]) -> list[Partition]:
        """Write rows into a file that is named by them; where some do not fit, these go elsewhere.

        Returns:
            Where they went.

        Raises:
            OSError: a file cannot be written; the others are there.
        """
        try:
            made = table(self._columns(), rows)
        except UnfitError as unfit:
            fit = [all(_fits(row[name]) for name in unfit.columns) for row in rows]
            even = [row for row, fits in zip(rows, fit, strict=True) if fits]
            odd = [row for row, fits in zip(rows, fit, strict=True) if not fits]
            rest = self.add(root, even) if even else []
            return [*rest, *evolve(self, text=True).add(root, odd)]
        self._write(root, self._once(made), repr(rows))
        return [self]

    def files(self, root: Path) -> list[Path]:
        """What is there, in the order of the first rows."""
        return sorted(self.folder(root).glob(f"*{ENDING}"))

    def compact(self, root: Path) -> None:
        """Make one file of all, each row once. A reader meanwhile may see rows twice, and never too few.

        Raises:
            OSError: it cannot be written; all is as it was.
            StoreError: a file is none of ours.
        """
        files = self.files(root)
        if len(files) > 1:
            made = self._once(pa.concat_tables([read(file) for file in files]))
            kept = self._write(root, made, repr([file.name for file in files]))
            for file in files:
                if file != kept:
                    file.unlink()

    def _columns(self) -> dict[str, pa.DataType]:
        """Those of the contract that the folders' names do not tell, and the ordinal."""
        told = {name: kind for name, kind in types(self.kind).items() if name not in ("exchange", "symbol")}
        if self.text:
            told = {name: pa.string() if kind == EXACT else kind for name, kind in told.items()}
        return told if self.kind in KEYS else {**told, "ordinal": pa.int64()}

    def _once(self, rows: pa.Table) -> pa.Table:
        """Each key once, in the order of arrival."""
        order = FIRST.get(self.kind, [(name, "ascending") for name in ARRIVAL if name in rows.column_names])
        rows = rows.sort_by([*order])
        numbered = rows.append_column("row", pa.array(range(rows.num_rows), pa.int64()))
        first = numbered.group_by(KEYS.get(self.kind, ARRIVAL)).aggregate([("row", "min")])["row_min"]
        rows = rows.take(first.sort())
        return rows.sort_by([(name, "ascending") for name in ARRIVAL if name in rows.column_names])

    def _write(self, root: Path, rows: pa.Table, content: str) -> Path:
        """A file whose name tells when its first row arrived, and what it was made of: the same again replaces it."""
        folder = self.folder(root)
        fresh = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.blake2b(content.encode(), digest_size=8).hexdigest()
        path = folder / f"{rows['received'][0].as_py()}-{digest}{ENDING}"
        with replacing(path) as file:
            pq.write_table(rows, file, compression="zstd")
        _settle([folder, *list(folder.parents)[:DEPTH]] if fresh else [folder])
        return path


def _day(moment: Nanos) -> str:
    return datetime.fromtimestamp(moment // 10**9, UTC).date().isoformat()


def _fits(number: str | None) -> bool:
    try:
        pa.array([number], pa.string()).cast(EXACT)
    except pa.ArrowInvalid:
        return False
    return True


def read(file: Path) -> pa.Table:
    """All rows of a file.

    Raises:
        StoreError: it is no Parquet file.
    """
    try:
        with pq.ParquetFile(file) as opened:
            return opened.read()
    except pa.ArrowInvalid as error:
        raise StoreError(f"{file} cannot be read: {' '.join(str(error).split())}") from None


def _settle(folders: Sequence[Path]) -> None:
    """Make new names in folders durable, where folders can be opened for that."""
    for folder in folders if os.name == "posix" else ():
        place = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)
