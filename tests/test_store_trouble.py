"""Whatever is wrong with a database file: one clear line, nothing lost that was committed, nothing half done."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import apsw
import pytest
from plain_sql import plain

from trioagg.errors import SinkError, StoreError
from trioagg.model import Candle, Event, Quarantined, Ticker, Trade
from trioagg.store import Counts, Writer, connect, database, rows
from trioagg.store.opening import migrate, readable, writable
from trioagg.store.schema import SCRIPTS
from trioagg.store.trouble import writing

T0 = 1_723_161_253_937_085_768


def events(count: int = 20, *, symbol: str = "BTC/USDT") -> list[Event]:
    one = Decimal("1.50")
    trades: list[Event] = [Trade("binance", symbol, n, one, one, "buy", T0 + n, T0 + n) for n in range(count)]
    tickers = [Ticker("binance", symbol, one, one, one, one, None, None, None, T0) for _ in range(3)]
    candle = Candle("binance", symbol, "1m", T0, one, one, one, one, one, closed=False, received=T0)
    return [*trades, *tickers, candle, Quarantined("binance", T0, "torn", b"{" * 2000)]


def made(path: Path) -> Path:
    with closing(Writer.open(path)) as writer:
        writer.write(events())
    return path


def edited(path: Path, *statements: str) -> None:
    with closing(plain(path)) as db:
        for statement in statements:
            db.execute(statement)


def kept(path: Path) -> int:
    with database(path) as db:
        return len(rows(db, "trades", limit=100_000))


def line(error: pytest.ExceptionInfo[BaseException], path: Path) -> str:
    """The error's text, checked to be one line that names the file."""
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def a_folder(path: Path) -> None:
    path.mkdir()


def a_text(path: Path) -> None:
    path.write_text("exchange,symbol,price\n" * 100)


def cut_short(path: Path) -> None:
    os.truncate(made(path), 8192)


def cut_in_the_header(path: Path) -> None:
    os.truncate(made(path), 50)


def another_programs(path: Path) -> None:
    edited(path, "CREATE TABLE song (title TEXT)")


def signed_by_another(path: Path) -> None:
    edited(path, "PRAGMA application_id = 12345")


def from_the_future(path: Path) -> None:
    edited(made(path), "PRAGMA user_version = 999")


def no_log_beside_it(path: Path) -> None:
    made(path)
    path.with_name(f"{path.name}-wal").mkdir()


UNUSABLE: list[tuple[Callable[[Path], None], str]] = [
    (a_folder, "it is a folder"),
    (a_text, "is no SQLite database"),
    (cut_short, "is damaged"),
    (cut_in_the_header, "is damaged"),
    (another_programs, "is the database of another program"),
    (signed_by_another, "is the database of another program"),
    (from_the_future, f"made by a newer trioagg: its schema is 999, this one knows up to {len(SCRIPTS)}"),
]


@pytest.mark.parametrize("opened", [Writer.open, connect])
@pytest.mark.parametrize(("spoil", "reason"), UNUSABLE, ids=lambda value: getattr(value, "__name__", None))
def test_a_file_that_cannot_be_used(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str, opened: Callable[[Path], object]
) -> None:
    """Reader and writer both say why in one line, and leave the file as it was."""
    path = tmp_path / "some.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError) as error:
        opened(path)
    assert reason in line(error, path)
    assert before is None or path.read_bytes() == before


def test_a_log_that_cannot_be_made(tmp_path: Path) -> None:
    """A place where SQLite cannot put its log beside the file is named when the file is opened."""
    path = tmp_path / "some.db"
    no_log_beside_it(path)
    with pytest.raises(StoreError, match="cannot be opened"):
        Writer.open(path)


def test_no_folder(tmp_path: Path) -> None:
    """A writer in a folder that does not exist names the folder, and makes none."""
    path = tmp_path / "absent" / "some.db"
    with pytest.raises(StoreError) as error:
        Writer.open(path)
    assert f"no folder {path.parent}" in line(error, path)
    assert not path.parent.exists()


@pytest.mark.parametrize("name", ["some.db", "absent/some.db"])
def test_reading_makes_no_file(tmp_path: Path, name: str) -> None:
    """A reader of a path where nothing is says what to do, and leaves nothing there."""
    path = tmp_path / name
    with pytest.raises(StoreError) as error:
        connect(path)
    assert line(error, path) == f"no database at {path}; run `trioagg run` first"
    assert list(tmp_path.iterdir()) == []


def test_reading_an_empty_file(tmp_path: Path) -> None:
    """A file of no bytes is no database to a reader, and a new one to a writer."""
    path = tmp_path / "some.db"
    path.touch()
    with pytest.raises(StoreError, match="the file is empty"):
        connect(path)
    assert kept(made(path)) == 20


def test_awkward_names(tmp_path: Path) -> None:
    """Signs that mean something in a URI are plain signs in a file's name."""
    path = tmp_path / "50%?mode=ro#x ä.db"
    assert kept(made(path)) == 20
    assert [found.name for found in tmp_path.iterdir() if found.suffix == ".db"] == [path.name]


def test_opening_a_locked_file(tmp_path: Path) -> None:
    """A file that another program holds is refused after the patience asked for; readers still read."""
    path = made(tmp_path / "some.db")
    with closing(plain(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as error:
            Writer.open(path, patience=0.01)
        assert "is locked by another program" in line(error, path)
        assert kept(path) == 20


def test_a_lock_passes(tmp_path: Path) -> None:
    """A batch refused because of a lock is written, and counted as new, when it is offered again."""
    path = tmp_path / "some.db"
    with closing(Writer.open(path, patience=0.01)) as writer:
        with closing(plain(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(SinkError) as error:
                writer.write(events())
            assert "is locked by another program" in line(error, path)
        assert writer.write(events()) == Counts(24, 0, 1)
        assert writer.write(events()) == Counts(0, 24, 1)


def test_waiting_for_a_lock(tmp_path: Path) -> None:
    """A lock that ends within the patience is not noticed."""
    path = tmp_path / "some.db"
    with (
        closing(Writer.open(path, patience=5)) as writer,
        closing(plain(path)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.05, other.execute, ["COMMIT"])
        timer.start()
        assert writer.write(events()).stored == 24
        timer.join()


def test_a_full_disk(tmp_path: Path) -> None:
    """Out of room: all of the batch is refused, what was committed stays, and with room again it is stored once."""
    path = tmp_path / "some.db"
    db = writable(path)
    with closing(Writer(db)) as writer:
        writer.write(events())
        pages = db.pragma("page_count")
        db.execute(f"PRAGMA max_page_count = {pages + 2}")
        more = events(5000, symbol="ETH/USDT")
        for _ in range(2):
            with pytest.raises(SinkError) as error:
                writer.write(more)
            assert "no room is left" in line(error, path)
            assert kept(path) == 20
        assert writer.write(events()) == Counts(0, 24, 1)
        db.execute("PRAGMA max_page_count = 100000")
        assert writer.write(more) == Counts(5004, 0, 1)
        assert kept(path) == 5020


def test_a_file_that_became_read_only(tmp_path: Path) -> None:
    """A file that may not be written any more stays so: a lasting error."""
    path = tmp_path / "some.db"
    db = writable(path)
    with closing(Writer(db)) as writer:
        db.execute("PRAGMA query_only = 1")
        with pytest.raises(StoreError) as error:
            writer.write(events())
        assert "is read-only" in line(error, path)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_taken_away(tmp_path: Path, *, replaced: bool) -> None:
    """Rows never go into a file that no path leads to: a file removed or replaced while open is an error."""
    path = tmp_path / "some.db"
    with closing(Writer.open(path)) as writer:
        writer.write(events())
        path.unlink()
        if replaced:
            path.touch()
        with pytest.raises(StoreError) as error:
            writer.write(events())
        assert "was removed or replaced" in line(error, path)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (apsw.SQLITE_IOERR_WRITE, "disk I/O error"),
        (apsw.SQLITE_BUSY_SNAPSHOT, "is locked by another program"),
        (apsw.SQLITE_CANTOPEN_FULLPATH, "cannot be opened"),
        (apsw.SQLITE_CORRUPT_SEQUENCE, "is damaged"),
    ],
)
def test_every_shade_of_an_error_is_understood(tmp_path: Path, code: int, reason: str) -> None:
    """SQLite's finer codes mean what their family means."""
    with pytest.raises((SinkError, StoreError), match=reason), writing(tmp_path):
        raise apsw.exception_for(code)


def test_a_bug_is_not_disguised(tmp_path: Path) -> None:
    """A row that the schema refuses is neither skipped nor called passing trouble, and takes nothing with it."""
    bad = Trade("binance", "BTC/USDT", 99, Decimal(1), Decimal(1), None, T0, T0)  # type: ignore[arg-type]
    with closing(Writer.open(tmp_path / "some.db")) as writer:
        with pytest.raises(apsw.ConstraintError):
            writer.write([*events(), bad])
        assert writer.write(events()) == Counts(24, 0, 1)


def test_what_a_killed_writer_committed_is_there(tmp_path: Path) -> None:
    """Rows of a writer that never closed are read by the next one, without their connection."""
    path, copy = tmp_path / "some.db", tmp_path / "copy.db"
    with closing(Writer.open(path)) as writer:
        writer.write(events())
        for end in ("", "-wal"):
            copy.with_name(copy.name + end).write_bytes(path.with_name(path.name + end).read_bytes())
    with closing(Writer.open(copy)) as after:
        assert after.write(events()) == Counts(0, 24, 1)


def test_going_forward(tmp_path: Path) -> None:
    """A newer schema is reached from any older one, step by step, with the rows kept; a second time is nothing."""
    path = made(tmp_path / "some.db")
    scripts = [*SCRIPTS, "ALTER TABLE trade ADD COLUMN note TEXT;\nUPDATE trade SET note = ';';\n"]
    with closing(writable(path)) as db:
        migrate(db, path, scripts)
        migrate(db, path, scripts)
        assert db.execute("PRAGMA user_version").fetchone() == (len(scripts),)
        assert db.execute("SELECT count(*) FROM trade WHERE note = ';'").fetchone() == (20,)


def test_a_step_that_fails_is_undone(tmp_path: Path) -> None:
    """A script that breaks leaves version and tables as they were."""
    path = made(tmp_path / "some.db")
    with closing(writable(path)) as db:
        with pytest.raises(apsw.SQLError):
            migrate(db, path, [*SCRIPTS, "DROP TABLE trade;\nDROP TABLE nowhere;\n"])
        assert db.execute("PRAGMA user_version").fetchone() == (len(SCRIPTS),)
    assert kept(path) == 20


def test_beginning_together(tmp_path: Path) -> None:
    """Many that open one new file at the same moment all find it made, once."""
    path = tmp_path / "some.db"
    start = threading.Barrier(8)
    failures: list[StoreError] = []

    def begin() -> None:
        start.wait()
        try:
            Writer.open(path, patience=5).close()
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """The reading end refuses to change anything."""
    with closing(readable(made(tmp_path / "some.db"))) as db, pytest.raises(apsw.ReadOnlyError):
        db.execute("DELETE FROM trade")
