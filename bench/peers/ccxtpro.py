"""ccxt pro: asyncio, aiohttp; one loop over ``watch_trades_for_symbols``."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

from bench.figures import Figures, Load
from bench.frames import natives
from bench.peers import Count

TITLE = "ccxt pro 4.5.90, `watch_trades_for_symbols`"
PINS = ("ccxt==4.5.90", "aiohttp==3.14.5", "orjson==3.13.0")
PYTHON = ""
SLOW = 8


def event(load: Load) -> Figures:
    """Socket → its trade; counted where it makes them, since ``watch_…`` may return once for several."""
    asyncio.run(_watch(load))
    raise AssertionError("its loop ended")


async def _watch(load: Load) -> None:
    pro, count = import_module("ccxt.pro"), Count(load)

    def handle_trade(self: Any, client: Any, message: Any) -> None:
        pro.binance.handle_trade(self, client, message)
        count.one()

    local = type("Local", (pro.binance,), {"handle_trade": handle_trade, "is_spot_url": lambda self, client: True})
    exchange = local({"newUpdates": True, "options": {"fetchMarkets": {"types": ["spot"]}}})
    exchange.urls["api"] = _aimed(exchange.urls["api"], load)
    exchange.has["fetchCurrencies"] = False
    await exchange.load_markets()
    while True:
        await exchange.watch_trades_for_symbols(list(natives(load.symbols).values()))


def _aimed(urls: Any, load: Load) -> Any:
    """The same tree of addresses, each of them here."""
    if isinstance(urls, dict):
        return {name: _aimed(url, load) for name, url in urls.items()}
    return load.ws if urls.startswith("ws") else f"{load.rest}/api/v3"
