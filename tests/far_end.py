"""The built-in exchange and a run against it, as the tests use them."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import trio
from attrs import define, evolve
from plain_sql import plain

from trioagg.model import Channel
from trioagg.pipeline.feeds import Roll
from trioagg.pipeline.run import Job, collect
from trioagg.pipeline.signals import Stop
from trioagg.pipeline.tally import Outcome
from trioagg.settings import Buffers, Retry, Run, Settings, Venue
from trioagg.simulator.server import Urls, serve


@define(eq=False)
class Names(trio.abc.HostnameResolver):
    """A name server of our own, which is down at times; nothing leaves this machine.

    Attributes:
        down: (from, until), in Trio's time; for longer where too few have asked.
    """

    down: tuple[float, float] = (math.inf, math.inf)
    failures: int = 0

    async def getaddrinfo(self, host: bytes | None, port: Any, *rest: Any, **more: Any) -> Any:
        if self.down[0] <= trio.current_time() and (trio.current_time() < self.down[1] or self.failures < 2):
            self.failures += 1
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return socket.getaddrinfo("127.0.0.1", port, socket.AF_INET, socket.SOCK_STREAM)

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


@asynccontextmanager
async def far_end(**options: Any) -> AsyncIterator[Urls]:
    """The built-in exchange, serving while the block lasts: as Binance, or as the first of ``exchanges``."""
    async with trio.open_nursery() as nursery:
        chosen = {"exchanges": ("binance",), "symbols": ("BTC/USDT",), "rate": 400.0, **options}
        started = await nursery.start(partial(serve, **chosen))
        yield started[chosen["exchanges"][0]]
        nursery.cancel_scope.cancel()


def settings_for(urls: Urls, database: Path, **run: Any) -> Settings:
    """Settings that collect BTC/USDT from there, with short waits."""
    chosen: dict[str, Any] = {
        "exchanges": ("binance",),
        "symbols": ("BTC/USDT",),
        "channels": (Channel.TRADES, Channel.TICKER),
        "interval": 0.2,
        "database": str(database),
        **run,
    }
    return Settings(
        run=evolve(Run(), **chosen),
        retry=Retry(base_delay=0.05, max_delay=0.2, reconnect_delay=0.02),
        buffers=Buffers(),
        venues={name: Venue(rest_url=urls.rest, ws_url=urls.ws, min_delay=0.0) for name in chosen["exchanges"]},
    )


async def collected(job: Job, true: Callable[[], object], *, least: float = 0.0) -> Outcome:
    """A run that is stopped when something is true, and not before it is so many seconds old."""
    outcome, stop = Outcome(), Stop()

    async def end() -> None:
        await trio.sleep(least)
        await until(true)
        stop.receiving.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        await collect(job, outcome, stop, lacks=Roll(len(job.settings.run.exchanges)).lacks)
        nursery.cancel_scope.cancel()
    return outcome


async def until(true: Callable[[], object]) -> None:
    """Look again and again."""
    while not true():  # noqa: ASYNC110  (a database tells nobody)
        await trio.sleep(0.05)


def ask(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a person's SQL tells."""
    with closing(plain(database)) as db:
        return db.execute(sql).fetchall()


def made(database: Path) -> bool:
    """Whether a run has begun to use it."""
    return database.exists() and bool(ask(database, "SELECT 1 FROM sqlite_schema WHERE name = 'gaps'"))


def ids(database: Path) -> list[int]:
    """The ids of the trades that are stored, in order."""
    return [int(row[0]) for row in ask(database, "SELECT trade_id FROM trades ORDER BY CAST(trade_id AS INTEGER)")]
