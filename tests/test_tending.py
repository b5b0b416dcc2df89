"""When a file's write-ahead log is folded into it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio
import trio.testing
from plain_sql import plain
from told_rows import draft, trade

from trioagg.sinks import sqlite
from trioagg.store import Writer
from trioagg.store import write as writing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def writer(file: Path) -> Writer:
    opened = Writer.open(file)
    opened.fold()
    return opened


@asynccontextmanager
async def tended(writer: Writer, quiet: float, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[sqlite.SqliteSink]:
    """A sink that folds any log once there was quiet for so many seconds."""
    monkeypatch.setattr(sqlite, "WORTH", 1)
    monkeypatch.setattr(sqlite, "QUIET", quiet)
    sink = sqlite.SqliteSink(writer, trio.CapacityLimiter(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.tend)
        await trio.testing.wait_all_tasks_blocked()
        yield sink
        nursery.cancel_scope.cancel()


async def write(sink: sqlite.SqliteSink, number: int) -> None:
    await sink.write([trade(number)], draft([]))


def in_file(file: Path) -> int:
    """The trades that a copy of the file alone would hold."""
    copy = file.with_name("copy.db")
    copy.write_bytes(file.read_bytes())
    with closing(plain(copy)) as db:
        return int(db.execute("SELECT count(*) FROM trade").get)


async def test_the_log_is_folded_when_nothing_is_written(
    file: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then begins anew, so it does not grow."""
    with closing(writer):
        async with tended(writer, 0.0, monkeypatch) as sink:
            lengths = []
            for number in range(5):
                await write(sink, number)
                lengths.append(writer.log)
                while in_file(file) <= number:  # noqa: ASYNC110  (a thread folds it)
                    await trio.sleep(0.001)
    assert lengths[0] > lengths[1] == lengths[-1]


async def test_a_log_is_left_alone_while_something_is_written(
    file: Path, writer: Writer, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a write does not wait for the fold too."""
    with closing(writer):
        async with tended(writer, 1.0, monkeypatch) as sink:
            await write(sink, 1)
            async with sink._limiter:
                await trio.sleep(2)
            await sink.around("binance", "BTC/USDT", (1, 1))  # behind a fold that waited
            assert in_file(file) == 0


def test_a_long_log_is_folded_by_the_write(file: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long nobody rests, it is bounded."""
    with closing(writer):
        writer.write([trade(1)])
        assert in_file(file) == 0
        monkeypatch.setattr(writing, "LONG", writer.log)
        writer.write([trade(2)])
        assert in_file(file) == 2


def test_a_reader_holds_a_fold_up_and_nobody_waits(file: Path, writer: Writer) -> None:
    """What it still reads stays in the log, and is folded later."""
    with closing(writer), closing(plain(file)) as reader:
        writer.write([trade(1)])
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM trade").get == 1
        writer.write([trade(2)])
        writer.fold()
        assert reader.execute("SELECT count(*) FROM trade").get == 1
        reader.execute("COMMIT")
        writer.fold()
        assert in_file(file) == 2
