"""``parquet:///folder?option=value``: Parquet files by kind, day, exchange and symbol.

Files that are as small as a batch would be of no use, so batches are gathered: each is appended to a journal and
synced, and so durable, before it is told to be written. From the journal the files are made: when it has ``rows`` rows,
when its oldest is ``seconds`` old, and at the end; what a crash leaves in it, the next run makes files of. Folders,
columns and options are in ``docs/sinks.md``.
"""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from attrs import frozen

from trioagg.errors import SettingsError, SinkError, StoreError
from trioagg.model import Event, Instrument
from trioagg.settings import number, redacted
from trioagg.sinks._address import option, options
from trioagg.sinks._journal import Journal
from trioagg.sinks._partition import ENDING, Partition, read
from trioagg.sinks._threaded import Threaded, threaded
from trioagg.store import COLUMNS, Counts, Row, Texts, Told, instrument
from trioagg.store.files import PART, replacing

log = structlog.get_logger(__name__)

PREFIX = "parquet:///"
JOURNAL = "_journal"

PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR}
"""Reasons that may be gone at the next try."""


@frozen
class Options:
    """What the query may say."""

    rows: int = option(number(int, least=1, most=10_000_000), 100_000)
    seconds: float = option(number(float, least=0), 60.0)
    files: int = option(number(int, least=2, most=10_000), 24)


class ParquetDriver:
    """One folder."""

    def __init__(self, root: Path, chosen: Options) -> None:
        self._root = root
        self._options = chosen
        self._texts = Texts()
        self._touched: set[Partition] = set()
        with self._translated():
            root.mkdir(parents=True, exist_ok=True)
            self._journal = Journal(root / JOURNAL)
            for torn in root.glob(f"**/*{ENDING}.*{PART}"):
                torn.unlink()
        self._rows = 0
        self._due = math.inf if self._journal.empty else -math.inf

    def write(self, batch: Sequence[Event], /) -> Counts:
        """See ``Sink.write``; what is there twice goes when files are made, so all of a batch counts as stored."""
        told, met = self._texts.of(batch)
        with self._translated():
            if self._rows >= self._options.rows or time.monotonic() >= self._due:
                self._roll()
            self._journal.append(msgspec.msgpack.encode(told))
        self._texts.keep(met)
        self._rows += len(told)
        self._due = min(self._due, time.monotonic() + self._options.seconds)
        bad = sum(text.kind == "quarantine" for text in told)
        return Counts(stored=len(batch) - bad, quarantined=bad)

    def describe(self, instruments: Sequence[Instrument], /) -> None:
        """See ``Sink.describe``."""
        rows = [instrument(listed) for listed in instruments]
        for exchange in sorted({row["exchange"] for row in rows}):
            with self._translated():
                self._list(exchange, [row for row in rows if row["exchange"] == exchange])

    def close(self) -> None:
        """Make files of what is in the journal, and one of each folder's; what cannot be done, the next run does."""
        try:
            with self._translated():
                self._roll()
                for partition in sorted(self._touched, key=str):
                    partition.compact(self._root)
        except (SinkError, StoreError) as error:
            log.error("rows wait in the journal, or in small files, for the next run", reason=str(error))
        finally:
            self._journal.close()

    def _roll(self) -> None:
        """Make files of the journal, then forget it: a crash between the two makes the same files again."""
        parts: dict[Partition, list[Row]] = {}
        for batch in self._journal.batches():
            for text in msgspec.msgpack.decode(batch, type=list[Told]):
                parts.setdefault(Partition.of(text), []).append(_row(text))
        written = {place for part, rows in parts.items() for place in part.add(self._root, rows)}
        self._journal.clear()
        self._rows, self._due = 0, math.inf
        self._touched |= written
        for partition in written:
            if len(partition.files(self._root)) >= self._options.files:
                partition.compact(self._root)

    def _list(self, exchange: str, rows: Sequence[Row]) -> None:
        """Put instruments in the place of what is known of them; their numbers are text."""
        folder = self._root / "instruments" / f"exchange={exchange}"
        path = folder / "instruments.parquet"
        names = [name for name in COLUMNS["instruments"] if name != "exchange"]
        there = read(path).to_pylist() if path.is_file() else []
        known = {row["symbol"]: row for row in (*there, *rows)}
        folder.mkdir(parents=True, exist_ok=True)
        listed = {name: pa.array([row[name] for row in known.values()], pa.string()) for name in names}
        with replacing(path) as file:
            pq.write_table(pa.table(listed), file, compression="zstd")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The system's errors as ours."""
        try:
            yield
        except OSError as error:
            kind = SinkError if error.errno in PASSING else StoreError
            raise kind(f"{error.filename or self._root}: {error.strerror or error}") from None


def connect(url: str) -> AbstractAsyncContextManager[Threaded]:
    """A sink by its URL; the folder is made if there is none.

    Raises:
        SettingsError: something in the URL is wrong.
        StoreError: the folder cannot be used; told when it is opened.
    """
    path = url.removeprefix(PREFIX).partition("?")[0]
    if not url.startswith(PREFIX) or not path:
        raise SettingsError(f"bad value {redacted(url)!r}: must look like {PREFIX}path/to/folder")
    return threaded(partial(ParquetDriver, Path(path), options(Options, url)))


def _row(told: Told) -> Row:
    """A row as the files have it: quarantined frames as bytes, text or not."""
    row = {**told.row, "ordinal": told.ordinal}
    if isinstance(payload := row.get("payload"), str):
        row["payload"] = payload.encode()
    return row
