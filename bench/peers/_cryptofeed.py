"""What both versions of cryptofeed are asked: its users write a callback, and ours does nothing."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

from attrs import evolve

from bench.figures import Figures, Load
from bench.frames import natives
from bench.peers import Count

UNIT = 1_000
"""It takes times for milliseconds, which those of a live feed are a thousandth of."""


def event(load: Load) -> Figures:
    """Socket → callback. It reads ``aggTrade``, so those are served."""
    feeds, connection = import_module("cryptofeed.exchanges"), import_module("cryptofeed.connection")
    load = evolve(load, shape="aggTrade")
    _let_plain(connection.WSAsyncConn)
    feeds.Binance.websocket_endpoints = [connection.WebsocketEndpoint(load.ws)]
    routes = connection.Routes("/api/v3/exchangeInfo", l2book="/api/v3/depth?symbol={}&limit={}")
    feeds.Binance.rest_endpoints = [connection.RestEndpoint(load.rest, routes=routes)]
    handler = import_module("cryptofeed").FeedHandler()
    symbols = [symbol.replace("/", "-") for symbol in natives(load.symbols).values()]
    handler.add_feed(feeds.Binance(symbols=symbols, channels=["trades"], callbacks={"trades": _callback(load)}))
    asyncio.set_event_loop(asyncio.new_event_loop())  # the older one asks for one that is there
    handler.run()
    raise AssertionError("its loop ended")


def _callback(load: Load) -> Any:
    count = Count(load)

    async def drop(trade: Any, received: float) -> None:
        count.one()

    async def date(trade: Any, received: float) -> None:
        count.sent(trade.timestamp / UNIT)

    return date if load.rate else drop


def _let_plain(kind: Any) -> None:
    """Let it connect without TLS, which it refuses."""
    refusing = kind.__init__

    def init(self: Any, address: str, *words: Any, **more: Any) -> None:
        refusing(self, address.replace("ws://", "wss://"), *words, **more)
        self.address = address

    kind.__init__ = init
