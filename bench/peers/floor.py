"""The floor that Python sets: no checks, one kind of frame, nothing that a user would want."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal

import msgspec
import trio

from bench.figures import Figures, Load, Watch
from bench.frames import natives
from bench.peers._plain import Trade, ids, table

TITLE = "floor: bare Trio socket, split, typed decode, event"
PINS = ()
PYTHON = ""
SLOW = 1

HANDSHAKE = (
    "GET /{} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PER_COMMIT = 10_000
READS = 64  # that may wait for the table


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


def event(load: Load) -> Figures:
    """Socket → event."""
    return trio.run(_drop, load)


def row(load: Load) -> Figures:
    """Socket → committed row: lists of events through a channel to a worker thread."""
    return trio.run(_store, load)


async def _drop(load: Load) -> Figures:
    watch = Watch()
    async with await _connected(load) as stream:
        async for _ in _events(stream, load):
            pass
    return watch.stop(load.messages)


async def _store(load: Load) -> Figures:
    sender, receiver = trio.open_memory_channel[list[Trade]](READS)
    with table(load) as place:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_receive, load, sender)
            async for events in receiver:
                batch = events
                while len(batch) < PER_COMMIT and receiver.statistics().current_buffer_used:
                    batch += receiver.receive_nowait()
                await place.store(batch, ids(load))
        return place.figures()


async def _receive(load: Load, sender: trio.MemorySendChannel[list[Trade]]) -> None:
    async with sender, await _connected(load) as stream:
        async for events in _events(stream, load):
            await sender.send(events)


async def _connected(load: Load) -> trio.SocketStream:
    """The server, asked for the feed."""
    host, _, port = load.server.partition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    await stream.send_all(HANDSHAKE.format(load.place.partition("/")[2], load.server).encode())
    return stream


async def _events(stream: trio.SocketStream, load: Load) -> AsyncIterator[list[Trade]]:
    """What each read brings, until all messages are there."""
    symbols, left, data = natives(load.symbols), load.messages, b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some(65536)
    data = data.partition(b"\r\n\r\n")[2]
    while left:
        events, rest = bare(data, symbols, load.tick)
        left -= len(events)
        yield events
        data = rest + (await stream.receive_some(65536) if left else b"")


def bare(data: bytes, symbols: Mapping[str, str], tick: int) -> tuple[list[Trade], bytes]:
    """The events of whole frames of 126 to 65,535 bytes, and what is left of the bytes."""
    events = []
    at, end, received = 0, len(data) - 4, time.time_ns()
    while at <= end:
        stop = at + 4 + (data[at + 2] << 8 | data[at + 3])
        if stop > end + 4:
            break
        t = _decode(data[at + 4 : stop]).data
        side = "sell" if t.m else "buy"
        events.append(Trade("binance", symbols[t.s], t.t, t.p, t.q, side, t.T * tick, received))
        at = stop
    return events, data[at:]
