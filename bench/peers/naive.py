"""The loop that one would write first: trio-websocket as it comes, ``json``, a channel send for each message."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal

import trio
from trio_websocket import open_websocket_url

from bench.figures import Figures, Load, Watch
from bench.frames import natives
from bench.peers._plain import Trade, ids, table

TITLE = "naive: trio-websocket, json, a channel send each → event"
PINS = ()
PYTHON = ""
SLOW = 8

WAITING = 1000  # events between the two tasks
PER_COMMIT = 1000


def event(load: Load) -> Figures:
    """Socket → event."""
    return trio.run(_drop, load)


def row(load: Load) -> Figures:
    """Socket → committed row: the same loop, and an ``executemany`` in a thread for every thousand events."""
    return trio.run(_store, load)


def plain(message: str | bytes, symbols: Mapping[str, str], tick: int) -> Trade:
    """The event of one frame, by the standard library."""
    t = json.loads(message)["data"]
    price, amount = Decimal(t["p"]), Decimal(t["q"])
    side = "sell" if t["m"] else "buy"
    return Trade("binance", symbols[t["s"]], t["t"], price, amount, side, t["T"] * tick, time.time_ns())


async def _drop(load: Load) -> Figures:
    watch = Watch()
    sender, receiver = trio.open_memory_channel[Trade](WAITING)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_receive, load, sender)
        async for _ in receiver:
            pass
    return watch.stop(load.messages)


async def _store(load: Load) -> Figures:
    sender, receiver = trio.open_memory_channel[Trade](WAITING)
    with table(load) as place:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_receive, load, sender)
            async for batch in _thousands(receiver):
                await place.store(batch, ids(load))
        return place.figures()


async def _receive(load: Load, sender: trio.MemorySendChannel[Trade]) -> None:
    symbols = natives(load.symbols)
    async with sender, open_websocket_url(load.ws) as socket:
        for _ in range(load.messages):
            await sender.send(plain(await socket.get_message(), symbols, load.tick))


async def _thousands(receiver: trio.MemoryReceiveChannel[Trade]) -> AsyncIterator[list[Trade]]:
    batch: list[Trade] = []
    async for trade in receiver:
        batch.append(trade)
        if len(batch) == PER_COMMIT:
            yield batch
            batch = []
    if batch:
        yield batch
