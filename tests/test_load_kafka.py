"""Loaders against the mock cluster in librdkafka, whose groups take three seconds to begin."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define
from confluent_kafka import Producer
from servers import Server, ordered, place, shown
from structlog.testing import capture_logs
from told_rows import T0, draft, everything, expected, stored, ticker, trade

from trioagg import sinks
from trioagg.model import Event, Quarantined
from trioagg.pipeline.load import Job, load
from trioagg.settings import Settings, at
from trioagg.sinks.sqlite import url_of
from trioagg.store import database, rows

SEVERAL = [("binance", f"A{number}/USDT") for number in range(12)]
"""Markets, so many that all partitions have some."""


@pytest.fixture
def cluster() -> Producer:
    """A cluster of one broker, which lives as long as the test."""
    return Producer({"test.mock.num.brokers": "1", "log_level": 0})


@pytest.fixture
def broker(cluster: Producer) -> str:
    """Where it listens."""
    return ",".join(f"{one.host}:{one.port}" for one in cluster.list_topics(timeout=5).brokers.values())


async def tell(url: str, batches: Sequence[Sequence[Event]]) -> None:
    """Write batches to Kafka, as a collector does."""
    async with sinks.connect(url) as sink:
        for batch in batches:
            await sink.write(batch, draft(batch))


async def test_everything_is_loaded_and_nonsense_is_kept_whole(broker: str, tmp_path: Path) -> None:
    """Row for row what the database has, though it was told twice; a drain ends by itself (5 s: see above)."""
    batch, url = everything(), f"kafka://{broker}/t"
    for parts in ([batch], [batch[:9], batch[9:12], batch[12:]]):
        await tell(url, parts)
    strange = Producer({"bootstrap.servers": broker})
    strange.produce("t.trades", b'{"exchange"', "binance|BTC/USDT", timestamp=5, headers={"id": b"1"})
    strange.produce("t.ticker", b"\xff", None, timestamp=6)
    strange.produce("t.book", None, "kraken|BTC/USD", timestamp=7, headers={"id": b"5|\xff"})
    assert strange.flush(5) == 0
    job = Job(Settings(), at(url, "--from"), [at(url_of(tmp_path / "b.db"))], drain=True)
    with trio.fail_after(20):
        (tally,) = (await load(job)).tallies.values()
    found, known = stored(tmp_path / "b.db"), expected(tmp_path / "a.db", batch)
    odd = [row for row in found["quarantine"] if row not in known["quarantine"]]
    found["quarantine"] = [row for row in found["quarantine"] if row not in odd]
    assert found == known
    assert sorted((row["exchange"], row["received"], row["payload"]) for row in odd) == [
        ("binance", 5 * 10**6, '{"exchange"'),
        ("kafka", 6 * 10**6, b"\xff"),
        ("kraken", 7 * 10**6, ""),
    ]
    assert (tally.received, tally.quarantined, tally.left) == (43, 7, 0)


async def test_messages_that_the_brokers_deleted_are_told(broker: str, tmp_path: Path) -> None:
    """With their number, and all others are loaded: a partition of the mock cluster holds 5 MB (8 s: see above)."""
    url, text = f"kafka://{broker}/t?compression=none", b"x" * 400_000
    frames = [Quarantined("binance", T0 + number, "torn", text) for number in range(20)]
    job = Job(Settings(), at(f"kafka://{broker}/t?session=4", "--from"), [at(url_of(tmp_path / "b.db"))], drain=True)
    await tell(url, [frames[:2]])
    await load(job)
    await tell(url, [[frame] for frame in frames[2:]])
    with capture_logs() as logs:
        await load(job)
    ((told,),) = [[line] for line in logs if "are gone from the log" in line["event"]]
    loaded = [row["received"] - T0 for row in stored(tmp_path / "b.db")["quarantine"]]
    assert loaded == [0, 1, *range(2 + told["messages"], 20)] and 0 < told["messages"] < 18
    assert told["part"][0] == "t.quarantine"


@define
class Loader:
    """A process that loads, and the file that it logs to."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def told(self) -> list[dict[str, Any]]:
        """Its log, line by line."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def reading(self) -> bool:
        """Whether it has a share of the log."""
        return any(line.get("gained") for line in self.told)

    def stop(self) -> dict[str, Any]:
        """The account that it gives at its end, which is clean."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=20) == 0
        account = self.told[-1]
        assert account["event"] == "done"
        return account


@contextmanager
def loaders(number: int, source: str, to: str, folder: Path) -> Iterator[list[Loader]]:
    """As many; those that are left at the end are ended."""
    command = [sys.executable, "-m", "trioagg", "load", "--from", source, "--to", to, "--log-format", "json"]
    around = {**os.environ, "TRIOAGG_BUFFERS_COMMIT_ROWS": "50", "PYTHONPATH": str(Path(__file__).parent.parent)}
    with ExitStack() as stack:
        made = []
        for log in [folder / f"loader-{one}.log" for one in range(number)]:
            process = subprocess.Popen(command, env=around, cwd=folder, stderr=stack.enter_context(log.open("w")))
            made.append(Loader(stack.enter_context(process), log))
            stack.callback(process.kill)
        yield made


def batches() -> list[list[Event]]:
    """Trades of many markets, some of them missing, and twins of tickers that lie across the cuts of batches."""
    made: list[list[Event]] = []
    for number in range(0, 600, 5):
        trades = [trade(n, market=market) for market in SEVERAL for n in range(number, number + 5) if n % 7]
        made.append([*trades, *[ticker(f"1.{number}", T0 + number // 10)] * 2])
    return made


@pytest.fixture
def server() -> Iterator[Server]:
    """A place on PostgreSQL."""
    with place("postgresql") as one:
        yield one


async def test_of_two_loaders_one_is_killed(broker: str, server: Server, tmp_path: Path) -> None:
    """In the middle of its batches: the other takes its share over, and each row is there once (15 s: see above)."""
    told, url = batches(), f"kafka://{broker}/t"
    whole, half = sum(map(len, told)), len(told) // 2
    await tell(url, told[:2])
    with loaders(2, f"{url}?session=4", server.url(), tmp_path) as (one, two):
        await until(lambda: one.reading and two.reading)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell, url, told[2:half])
            await until(lambda: count_of(server) > whole / 5)
            one.process.kill()
        await tell(url, told[half:])
        await until(lambda: count_of(server) >= whole)
        account = await trio.to_thread.run_sync(two.stop)
    assert account["left"] == 0 < account["stored"] < whole
    assert rows_of(server) == await direct(told, tmp_path / "a.db")
    missing = server.ask("SELECT symbol, sum(missing) FROM gaps GROUP BY symbol")
    assert {symbol for symbol, _ in missing} == {symbol for _, symbol in SEVERAL} and {n for _, n in missing} == {85}


def rows_of(server: Server) -> list[tuple[Any, ...]]:
    """All trades and tickers."""
    return [*shown(server, "trades"), *shown(server, "ticker")]


def count_of(server: Server) -> int:
    """How many they are."""
    ((found,),) = server.ask("SELECT (SELECT count(*) FROM trades) + (SELECT count(*) FROM tickers)")
    return int(found)


async def direct(told: Sequence[Sequence[Event]], file: Path) -> list[tuple[Any, ...]]:
    """The rows of the same without Kafka."""
    async with sinks.connect(url_of(file)) as sink:
        for batch in told:
            await sink.write(batch, draft(batch))
    with database(file) as db:
        kinds = [[tuple(row.values()) for row in rows(db, kind, limit=10**6)] for kind in ("trades", "ticker")]
    return [row for kind in kinds for row in ordered(kind)]


async def until(true: Callable[[], bool]) -> None:
    """Look five times a second."""
    while True:
        await trio.sleep(0.2)
        if true():
            return
