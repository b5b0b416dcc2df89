"""unicorn-binance-websocket-api: asyncio in a thread, websockets, orjson; a callback is given dicts."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

from bench.figures import Figures, Load
from bench.frames import natives
from bench.peers import Count

TITLE = "unicorn-binance-websocket-api 2.16.1 → dict"
PINS = ("unicorn-binance-websocket-api==2.16.1", "websockets==17.4", "orjson==3.13.0")
PYTHON = ""
SLOW = 4


def event(load: Load) -> Figures:
    """Socket → callback."""
    count = Count(load)

    def drop(message: Any, **about: Any) -> None:
        if "data" in message:
            count.one()

    manager = import_module("unicorn_binance_websocket_api").BinanceWebSocketApiManager(
        process_stream_data=drop, output_default="dict", warn_on_update=False, websocket_base_uri=f"{load.ws}/"
    )
    manager.create_stream(["trade"], [native.lower() for native in natives(load.symbols)])
    time.sleep(600)  # its thread ends the process
    raise AssertionError("it did not get all messages")
