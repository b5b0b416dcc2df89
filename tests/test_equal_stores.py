"""One capture into every store at once: the rows of all of them are the same sets, to the digit."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from pathlib import Path

import pytest
from confluent_kafka import Producer
from servers import Server, empty
from test_kafka import loaded, messages, place
from test_parquet_sink import plain
from test_parquet_sink import rows as in_files
from told_rows import T0, ordered, replayed

from trioagg import sinks
from trioagg.store import Row, scan

EVENTS = ("trades", "ticker", "candles")
NAMES = ("binance-btcusdt-20240808", "okx-recording", "bitfinex-recording", "htx-recording")
CUT = range(300, 420)
"""Frames that the first replay lacks: trades of them are missing, until the second brings them."""


def shortened(captures: Path, folder: Path, name: str, left_out: Sequence[int]) -> Path:
    """The beginning of a recording, without some of its frames."""
    file = folder / f"{name}.jsonl"
    with gzip.open(captures / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        kept = [line for number, line in enumerate(islice(lines, 1500)) if number not in left_out]
    file.write_text("".join(kept), encoding="utf-8")
    return file


def all_rows(address: str | Path, kind: str) -> list[Row]:
    """Of a kind, in an order of their own."""
    with sinks.stored(str(address)) as db:
        return ordered([*scan(db, kind)])


@pytest.fixture
def tables(servers: Callable[[str], Server]) -> Iterator[list[str]]:
    """The URLs of both servers, without rows before and after."""
    both = [servers(scheme) for scheme in ("postgresql", "mysql")]
    yield [server.url() for server in both]
    for server in both:
        empty(server)


def candles(folder: Path) -> Path:
    """Candles, of which the recordings have none: each tells its first state, a later one and its last."""
    prices = '"o":"1.10","c":"%d.500","h":"99","l":"0.10","v":"7.000"'
    kline = '{"e":"kline","E":2,"s":"BTCUSDT","k":{"t":%d,"s":"BTCUSDT","i":"1m",' + prices + ',"x":%s}}'
    file = folder / "candles.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        for minute, state in product(range(20), range(3)):
            data = kline % (minute * 60_000, state + minute, ("false", "true")[state == 2])
            payload = f'{{"stream":"btcusdt@kline_1m","data":{data}}}'
            source, received = "wss://stream.binance.com:9443/stream", T0 + 3 * minute + state
            lines.write(json.dumps({"exchange": "binance", "received": received, "source": source, "payload": payload}))
            lines.write("\n")
    return file


async def test_equal_row_sets(tables: list[str], captures: Path, tmp_path: Path) -> None:
    """SQLite, PostgreSQL, MariaDB, Parquet and Kafka; the three that keep a ledger have the same one, before and after.

    Parquet's decimals have their type's zeros, so there values are compared; elsewhere each digit is.
    """
    broker = [Producer({"test.mock.num.brokers": "1", "log_level": 0})]
    file, folder, topics = tmp_path / "a.db", tmp_path / "files", f"kafka://{place(broker)}/t"
    for left_out in (CUT, ()):
        recordings = [*(shortened(captures, tmp_path, name, left_out) for name in NAMES), candles(tmp_path)]
        outcome = await replayed(recordings, file, *tables, f"parquet:///{folder}", topics)
        assert outcome.problems == [] and all(tally.lost == 0 for tally in outcome.beside.values())
        gaps = all_rows(file, "gaps")
        statuses = {gap["status"] for gap in gaps}
        assert ("open" in statuses, "filled" in statuses) == (bool(left_out), not left_out)
        for url in tables:
            assert all_rows(url, "gaps") == gaps, url
    expected = {kind: all_rows(file, kind) for kind in EVENTS}
    assert min(len(found) for found in expected.values()) > 10
    sent, filed, values = loaded(messages(broker)), in_files(folder), plain(expected)
    for kind, found in expected.items():
        for url in tables:
            assert all_rows(url, kind) == found, (url, kind)
        assert (sent[kind], filed[kind]) == (found, values[kind]), kind
