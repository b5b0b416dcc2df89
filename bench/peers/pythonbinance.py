"""python-binance: asyncio, websockets; ``recv`` of a multiplexed socket gives dicts."""

from __future__ import annotations

import asyncio
from importlib import import_module

from bench.figures import Figures, Load
from bench.frames import natives
from bench.peers import Count

TITLE = "python-binance 1.0.37 → dict"
PINS = ("python-binance==1.0.37", "websockets==17.4")
PYTHON = ""
SLOW = 6


def event(load: Load) -> Figures:
    """Socket → ``recv``. Its queue is as long as the load, for its own bound of 100 ends it in a burst."""
    asyncio.run(_receive(load))
    raise AssertionError("its loop ended")


async def _receive(load: Load) -> None:
    binance, count = import_module("binance"), Count(load)
    binance.BinanceSocketManager.STREAM_URL = f"{load.ws}/"
    manager = binance.BinanceSocketManager(binance.AsyncClient(), max_queue_size=load.messages + 1)
    async with manager.multiplex_socket([f"{native.lower()}@trade" for native in natives(load.symbols)]) as socket:
        while True:
            await socket.recv()
            count.one()
