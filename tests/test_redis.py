"""The Redis sink against a real server: equal rows, each once, whatever happens to the connection."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import trio
from attrs import define
from told_rows import (
    KINDS,
    MARKET,
    T0,
    draft,
    everything,
    expected,
    newest,
    ordered,
    replayed,
    shortened,
    stored,
    ticker,
    trade,
)

from trioagg import sinks
from trioagg.errors import SinkError, StoreError
from trioagg.model import Event, Instrument
from trioagg.sinks import Sink
from trioagg.store import COLUMNS, Counts, Row

DB = 13
URL = f"redis://127.0.0.1:6379/{DB}"


def absent(what: str) -> None:
    """End a test whose server is not there: as skipped, and as failed where all is expected to be."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)


@pytest.fixture
def server() -> Iterator[redis.Redis]:
    """A client of the server on this machine, and a database of it that is empty before and after."""
    client = redis.Redis("127.0.0.1", 6379, DB, decode_responses=False)
    try:
        client.flushdb()
    except redis.ConnectionError as error:
        client.close()
        absent(f"no Redis on port 6379: {error}")
    yield client
    client.flushdb()
    client.close()


@pytest.fixture
async def sink(server: redis.Redis) -> AsyncIterator[Sink]:
    """The sink, as a run has it."""
    async with sinks.connect(URL) as opened:
        yield opened


def streamed(server: redis.Redis) -> dict[str, list[Row]]:
    """The rows of all streams, kind by kind."""
    found: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for key in server.scan_iter("trioagg:stream:*"):
        kind = key.decode().split(":")[2]
        entries: Any = server.xrange(key)
        for _, cells in entries:
            told = {name.decode(): value.decode() for name, value in cells.items()}
            if bare := told.pop("payload_base64", None):
                told["payload"] = b64decode(bare)
            found[kind].append({name: _value(name, told.get(name)) for name in COLUMNS[kind]})
    return {kind: newest(told) if kind == "candles" else ordered(told) for kind, told in found.items()}


def _value(name: str, value: Any) -> Any:
    whole = {"timestamp", "received", "open_time", "closed", "whole", "due"}
    return int(value) if name in whole and value is not None else value


def _hash(server: redis.Redis, key: str) -> dict[bytes, bytes]:
    found: Any = server.hgetall(key)
    return dict(found)


async def test_every_kind_is_streamed_as_the_database_has_it(sink: Sink, server: redis.Redis, tmp_path: Path) -> None:
    """Column for column, digit for digit, and frames that are no text byte for byte."""
    batch = everything()
    assert await sink.write(batch, draft(batch)) == Counts(18, 1, 2)
    assert streamed(server) == expected(tmp_path / "a.db", batch)


async def test_the_same_again_adds_nothing(sink: Sink, server: redis.Redis) -> None:
    """Neither the whole batch, nor parts of it, nor by another process that begins anew."""
    batch = everything()
    await sink.write(batch, draft(batch))
    before = streamed(server)
    assert await sink.write(batch, draft(batch)) == Counts(0, len(batch) - 2, 2)
    assert (await sink.write(batch[:4], draft(batch))).stored == 0
    async with sinks.connect(URL) as other:
        assert (await other.write(batch, draft(batch))).stored == 0
    assert streamed(server) == before


async def test_a_recording_is_the_same_in_the_stream_and_in_the_database(
    server: redis.Redis, captures: Path, tmp_path: Path
) -> None:
    """Row for row, and replayed twice it is still the same (a second: a real recording)."""
    files, path = shortened(captures, tmp_path), tmp_path / "a.db"
    outcome = await replayed(files, path, URL)
    assert outcome.problems == [] and outcome.beside[URL].lost == 0
    assert streamed(server) == stored(path) and len(stored(path)["trades"]) > 100
    again = await replayed(files, path, URL)
    assert again.beside[URL].stored == 0 and streamed(server) == stored(path)


async def test_hashes_hold_the_newest(sink: Sink, server: redis.Redis) -> None:
    """Of trades by the exchange's clock, so that a repair changes nothing; what is null is not there."""
    late: list[Event] = [trade(5), trade(9), ticker("1.5", T0 + 4)]
    early: list[Event] = [trade(3), ticker("1.4", T0 + 3)]
    for batch in (late, early):
        await sink.write(batch, draft(batch))
    found = _hash(server, "trioagg:latest:trades:binance:BTC/USDT")
    assert (found[b"trade_id"], found[b"price"], found[b"amount"]) == (b"9", b"60000.10", b"0.50000000")
    assert _hash(server, "trioagg:latest:ticker:binance:BTC/USDT") == {
        b"exchange": b"binance",
        b"symbol": b"BTC/USDT",
        b"bid": b"1.5",
        b"ask": b"0.0000002",
        b"received": str(T0 + 4).encode(),
    }


async def test_streams_are_bounded(server: redis.Redis) -> None:
    """To ``maxlen`` exactly, and so are the ids beside them."""
    async with sinks.connect(f"{URL}?maxlen=10") as sink:
        for start in (0, 7, 14, 21):
            batch: list[Event] = [trade(number) for number in range(start, start + 7)]
            await sink.write(batch, draft(batch))
    assert [row["trade_id"] for row in streamed(server)["trades"]] == [str(number) for number in range(18, 28)]
    assert server.zcard("trioagg:seen:trades:binance:BTC/USDT") == 10


async def test_subscribers_hear_each_event_once(sink: Sink, server: redis.Redis) -> None:
    """As JSON, with exact texts."""
    listening: Any = server.pubsub  # it tells no types
    with listening(ignore_subscribe_messages=True) as heard:
        heard.subscribe("trioagg:trades:binance:BTC/USDT")
        heard.get_message(timeout=1)
        batch: list[Event] = [trade(1), trade(2)]
        for _ in range(2):
            await sink.write(batch, draft(batch))
        messages = [heard.get_message(timeout=0.05) for _ in range(4)]
    told = [json.loads(message["data"]) for message in messages if message]
    assert [(row["trade_id"], row["price"], row["received"]) for row in told] == [
        ("1", "60000.10", T0 + 6),
        ("2", "60000.10", T0 + 7),
    ]


@pytest.mark.parametrize(
    ("query", "uses"),
    [
        ("latest=no&publish=no", {"stream", "seen"}),
        ("streams=no", {"latest", "seen"}),
        ("streams=no&publish=no", {"latest"}),
        ("prefix=x&streams=no&publish=no", set()),
    ],
)
async def test_each_use_can_be_switched_off(server: redis.Redis, query: str, uses: set[str]) -> None:
    """And then leaves no key."""
    async with sinks.connect(f"{URL}?{query}") as sink:
        await sink.write([trade(1)], draft([trade(1)]))
    keys = [key.decode() for key in server.scan_iter("*")]
    assert {key.split(":")[1] for key in keys if key.startswith("trioagg:")} == uses and keys


async def test_instruments_are_kept(sink: Sink, server: redis.Redis) -> None:
    """With exact steps."""
    one = trade(1).price
    await sink.describe([Instrument(*MARKET, "BTCUSDT", "BTC", "USDT", one, None, one, "BTC", "trading")])
    found = _hash(server, "trioagg:instrument:binance:BTC/USDT")
    assert (found[b"native"], found[b"tick_size"]) == (b"BTCUSDT", b"60000.10") and b"amount_step" not in found


async def test_a_connection_that_was_killed_between_batches_is_made_anew(
    sink: Sink, server: redis.Redis, tmp_path: Path
) -> None:
    """And nothing is lost or twice."""
    batch = everything()
    await sink.write(batch[:6], draft(batch))
    kill(server, DB)
    await sink.write(batch[6:], draft(batch))
    assert streamed(server) == expected(tmp_path / "a.db", batch)


async def test_a_key_of_somebody_else_is_told_and_nothing_is_added(sink: Sink, server: redis.Redis) -> None:
    """A person must act: another prefix, or another database."""
    server.set("trioagg:stream:trades:binance:BTC/USDT", "mine")
    with pytest.raises(StoreError, match="WRONGTYPE") as told:
        await sink.write([trade(1)], draft([trade(1)]))
    assert len(str(told.value)) < 300 and "\n" not in str(told.value)


async def test_a_wrong_password_is_told_without_it(server: redis.Redis) -> None:
    """Never tried again, and the password is not in the line."""
    async with sinks.connect("redis://me:s3cret@127.0.0.1:6379/0") as sink:
        with pytest.raises(StoreError) as told:
            await sink.write([trade(1)], draft([trade(1)]))
    assert str(told.value) == "redis://127.0.0.1:6379/0: it refuses the name and password"


def kill(server: redis.Redis, db: int) -> None:
    """End the sink's connections to a database."""
    for client in server.client_list():
        if client["name"] == "trioagg" and client["db"] == str(db):
            server.client_kill(client["addr"])


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def own_server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server that keeps what it has, killed at the end."""
    if shutil.which("redis-server") is None:
        absent("there is no redis-server to start")
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""]
    words += ["--dir", str(folder), "--appendfsync", "always"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.01)
        yield process
        process.kill()


@define
class Wire:
    """Lets bytes through to the server and back, until it is told to keep the next answer for itself and hang up."""

    deaf: bool = False

    async def serve(self, near: trio.SocketStream) -> None:
        """One connection."""
        far = await trio.open_tcp_stream("127.0.0.1", 6379)
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(self._back, far, near, nursery.cancel_scope)
            async for some in near:
                await far.send_all(some)
            nursery.cancel_scope.cancel()

    async def _back(self, far: trio.SocketStream, near: trio.SocketStream, ends: trio.CancelScope) -> None:
        async for some in far:
            if self.deaf and b"*" in some:  # the answer to EXEC is an array
                self.deaf = False
                break
            await near.send_all(some)
        ends.cancel()


async def test_a_batch_whose_answer_was_lost_is_there_once(
    server: redis.Redis, nursery: trio.Nursery, tmp_path: Path
) -> None:
    """The server took it, the connection died before it could say so, and the same batch is offered again."""
    wire, batch = Wire(), everything()
    (listener,) = await nursery.start(partial(trio.serve_tcp, wire.serve, 0, host="127.0.0.1"))
    port = listener.socket.getsockname()[1]
    async with sinks.connect(f"redis://127.0.0.1:{port}/{DB}") as sink:
        await sink.write(batch[:6], draft(batch))
        wire.deaf = True
        with pytest.raises(SinkError, match="redis://"):
            await sink.write(batch[6:], draft(batch))
        assert streamed(server) == expected(tmp_path / "a.db", batch)
        assert (await sink.write(batch[6:], draft(batch))).stored == 0
    assert streamed(server) == expected(tmp_path / "a.db", batch)


async def test_a_server_that_is_killed_and_comes_back_has_all_once(tmp_path: Path) -> None:
    """While it is away each offer fails; then the same batch is taken (two starts of a server: 0.3 s)."""
    port, batch = free_port(), everything()
    async with sinks.connect(f"redis://127.0.0.1:{port}") as sink:
        with own_server(tmp_path, port):
            await sink.write(batch[:8], draft(batch))
        for _ in range(2):
            with pytest.raises(SinkError):
                await sink.write(batch[4:], draft(batch))
        with own_server(tmp_path, port), redis.Redis("127.0.0.1", port) as client:
            await sink.write(batch[4:], draft(batch))
            assert streamed(client) == expected(tmp_path / "a.db", batch)
