"""What we are compared with: the floor that Python sets, and the loop that one would write first."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import msgspec
import trio
from trio_websocket import open_websocket_url

from bench.figures import Figures, Load, Watch
from bench.server import natives
from trioagg.model import Trade

HANDSHAKE = (
    "GET /{} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
WAITING = 1000  # events between the naive loop's two tasks
PER_COMMIT = 1000

SCHEMA = """
CREATE TABLE trade (
    exchange TEXT, symbol TEXT, trade_id INTEGER, price TEXT, amount TEXT, side TEXT, timestamp INTEGER,
    received INTEGER, PRIMARY KEY (exchange, symbol, trade_id)
)
"""
INSERT = "INSERT OR IGNORE INTO trade VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class _WireTrade(msgspec.Struct):
    s: str
    t: int
    p: Decimal
    q: Decimal
    T: int
    m: bool


class _Frame(msgspec.Struct):
    data: _WireTrade


_decode = msgspec.json.Decoder(_Frame).decode


async def floor(load: Load) -> Figures:
    """Socket → event with nothing around it: the least that this Python can do. No checks, one kind of frame."""
    watch, host = Watch(), load.server.partition(":")
    async with await trio.open_tcp_stream(host[0], int(host[2])) as stream:
        await stream.send_all(HANDSHAKE.format(load.base.partition("/")[2], load.server).encode())
        await _receive_bare(stream, load)
        return watch.stop(load.messages)


async def _receive_bare(stream: trio.SocketStream, load: Load) -> None:
    symbols = natives(load.symbols)
    left, data = load.messages, b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some(65536)
    data = data.partition(b"\r\n\r\n")[2]
    while True:
        events, rest = bare(data, symbols)
        left -= len(events)
        if not left:
            return
        data = rest + await stream.receive_some(65536)


def bare(data: bytes, symbols: dict[str, str]) -> tuple[list[Trade], bytes]:
    """The events of whole frames of 126 to 65,535 bytes, and what is left of the bytes."""
    events = []
    at, end, received = 0, len(data) - 4, time.time_ns()
    while at <= end:
        stop = at + 4 + (data[at + 2] << 8 | data[at + 3])
        if stop > end + 4:
            break
        t = _decode(data[at + 4 : stop]).data
        side = "sell" if t.m else "buy"
        events.append(Trade("binance", symbols[t.s], t.t, t.p, t.q, side, t.T * 1_000_000, received))  # type: ignore[arg-type]
        at = stop
    return events, data[at:]


def plain(message: str | bytes, symbols: dict[str, str]) -> Trade:
    """The event of one frame, by the standard library."""
    t = json.loads(message)["data"]
    price, amount = Decimal(t["p"]), Decimal(t["q"])
    side = "sell" if t["m"] else "buy"
    return Trade("binance", symbols[t["s"]], t["t"], price, amount, side, t["T"] * 1_000_000, time.time_ns())  # type: ignore[arg-type]


async def _receive_naively(load: Load, sender: trio.MemorySendChannel[Trade]) -> None:
    symbols = natives(load.symbols)
    async with sender, open_websocket_url(f"ws://{load.base}") as socket:
        for _ in range(load.messages):
            await sender.send(plain(await socket.get_message(), symbols))


async def naive_event(load: Load) -> Figures:
    """Socket → event: trio-websocket as it comes, and a channel to a consumer that drops the events."""
    watch = Watch()
    sender, receiver = trio.open_memory_channel[Trade](WAITING)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_receive_naively, load, sender)
        async for _ in receiver:
            pass
    return watch.stop(load.messages)


async def naive_row(load: Load) -> Figures:
    """Socket → committed row: the same loop, and an ``executemany`` in a thread for every thousand events."""
    sender, receiver = trio.open_memory_channel[Trade](WAITING)
    with tempfile.TemporaryDirectory() as folder, closing(_database(Path(folder) / "naive.db")) as db:
        watch = Watch()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_receive_naively, load, sender)
            latencies = await _store_naively(receiver, db)
        figures = watch.stop(load.messages, latencies)
        assert db.execute("SELECT count(*) FROM trade").fetchone() == (load.messages,)
    return figures


async def _store_naively(receiver: trio.MemoryReceiveChannel[Trade], db: sqlite3.Connection) -> list[int]:
    batch: list[Trade] = []
    latencies: list[int] = []
    async for trade in receiver:
        batch.append(trade)
        if len(batch) == PER_COMMIT:
            latencies += await _commit(db, batch)
            batch = []
    return latencies + (await _commit(db, batch) if batch else [])


async def _commit(db: sqlite3.Connection, batch: Sequence[Trade]) -> list[int]:
    await trio.to_thread.run_sync(_insert, db, batch)
    committed = time.time_ns()
    return [committed - trade.received for trade in batch]


def _insert(db: sqlite3.Connection, batch: Sequence[Trade]) -> None:
    rows = [
        (t.exchange, t.symbol, t.trade_id, str(t.price), str(t.amount), t.side, t.timestamp, t.received) for t in batch
    ]
    with db:
        db.executemany(INSERT, rows)


def _database(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(SCHEMA)
    return db
