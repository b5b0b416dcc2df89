"""What is measured of trioagg itself, one file for each kind of case; runs and replays are put together as they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from attrs import evolve

from bench.figures import Load
from bench.frames import kinds, natives
from trioagg import logs
from trioagg.exchanges import Feed, Subscription
from trioagg.exchanges.binance import Adapter
from trioagg.model import Channel
from trioagg.pipeline.storing import Causes
from trioagg.settings import Run, Settings, Venue

T = TypeVar("T")

CAUSES = Causes(before="not running", within="not received")
CHANNELS = {"trade": Channel.TRADES, "bookTicker": Channel.TICKER, "depth": Channel.BOOK}


def adapter(load: Load) -> Adapter:
    """Binance's, subscribed to what is sent."""
    symbols = natives(load.symbols, load.first)
    told = kinds(load.shape, symbols)
    return Adapter(Feed([Subscription(symbol, CHANNELS[told[native]], native) for native, symbol in symbols.items()]))


def settings(load: Load, database: str) -> Settings:
    """A run's, pointed at the load server; all else as by default."""
    symbols = tuple(natives(load.symbols, load.first).values())
    run = evolve(Run(), symbols=symbols, channels=(CHANNELS[load.shape],), database=database)
    return Settings(run=run, venues={"binance": Venue(rest_url=load.rest, ws_url=load.ws)})


def run(case: Callable[[], Awaitable[T]]) -> T:
    """A case under Trio; only errors are told."""
    logs.configure(level="ERROR")
    return trio.run(case)
