"""A whole run on the fake clock: the built-in exchanges and a store in memory, no sockets, no threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl

import httpx
import pytest
import trio
from attrs import define, evolve, field
from msgspec.structs import replace
from structlog.testing import capture_logs
from structlog.typing import EventDict
from test_conflation_sinks import Shelf

from trioagg.exchanges import Output, kraken
from trioagg.model import Channel, Nanos, Ticker, Trade
from trioagg.monitor.notices import Notice
from trioagg.pipeline import run as running
from trioagg.pipeline import telling
from trioagg.pipeline.run import Job, run
from trioagg.pipeline.storing import Stores
from trioagg.settings import Alerts, Buffers, Run, Settings, Venue
from trioagg.simulator import Dialect, Request, Session, feeds, server, websocket
from trioagg.simulator.dialects import _kit, binance
from trioagg.simulator.feeds import MarketFeed
from trioagg.simulator.house import Clock, House
from trioagg.transport.http import Http, open_http

SECOND = 10**9
NOON = 1_772_452_800 * SECOND
MEGABYTE = 10**6
Told = tuple[float, str, str, str, str, str]
Take = Callable[[MarketFeed, Nanos], Iterator[tuple[Nanos, list[bytes]]]]
"""When, what turned, the rule, exchange, symbol, channel."""


@define(eq=False)
class Stage:
    """Where a run plays.

    Attributes:
        shift: seconds by which our clock is wrong.
        free: megabytes on the disk.
        muted: what no frame is said with.
        banned: what no address of a connection may hold.
        factor: how much dearer everything is at Kraken.
        shelf: the store.
        told: each alert's turn.
        logs: of the run.
    """

    houses: Mapping[str, House] = field(factory=dict)
    shift: float = 0.0
    free: float = 10_000.0
    muted: bytes = b""
    banned: str = ""
    factor: Decimal = Decimal(1)
    shelf: Shelf = field(factory=Shelf)
    told: list[Told] = field(factory=list)
    logs: Sequence[EventDict] = ()

    def now(self) -> Nanos:
        """Our time."""
        return NOON + round((trio.current_time() + self.shift) * SECOND)

    async def dial(self, nursery: trio.Nursery, host: str, port: int) -> trio.abc.Stream:
        """In the place of a TCP connection."""
        ours, theirs = trio.testing.memory_stream_pair()
        house = self.houses[host.partition(".")[0]]
        if house.faults.refusing(house.age()):
            raise ConnectionRefusedError
        nursery.start_soon(server._client, {"": house}, cast(trio.SocketStream, theirs))
        return ours

    async def ask(self, request: httpx.Request) -> httpx.Response:
        """In the place of HTTP."""
        house = self.houses[request.url.host.partition(".")[0]]
        if house.faults.refusing(house.age()):
            raise httpx.ConnectError("refused")
        query = dict(parse_qsl(request.url.query.decode(), keep_blank_values=True))
        headers = {name.lower(): value for name, value in request.headers.items()}
        asked = Request(request.method, request.url.path, query, headers, await request.aread())
        answer = house.answer(asked)
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.body)

    def said(self, take: Take) -> Take:
        """What the exchanges say, but for what is muted."""
        return lambda feed, wall: ((at, [one for one in due if self._loud(one)]) for at, due in take(feed, wall))

    def _loud(self, frame: bytes) -> bool:
        return not (self.muted and self.muted in frame)

    def open(self, find: Callable[..., Session | None]) -> Callable[[Dialect, str], Session | None]:
        """Connections to addresses that are not banned."""
        return lambda dialect, target: None if self.banned and self.banned in target else find(dialect, target)

    def heard(self, digest: Callable[..., list[Output]]) -> Callable[..., list[Output]]:
        """What frames mean, at the prices of the moment."""
        return lambda adapter, frames, at: [self._dearer(item) for item in digest(adapter, frames, at)]

    def _dearer(self, item: Output) -> Output:
        if isinstance(item, Trade):
            return replace(item, price=item.price * self.factor)
        if isinstance(item, Ticker) and item.bid and item.ask:
            return replace(item, bid=item.bid * self.factor, ask=item.ask * self.factor)
        return item

    async def hear(self, notice: Notice) -> None:
        """In the place of a webhook."""
        for change in notice.changes:
            about, at = change.alert.subject, round(notice.clock, 3)
            told = (at, change.turn, change.alert.rule, about.exchange, about.symbol, str(about.channel))
            self.told.append(told)

    @property
    def turns(self) -> list[str]:
        """What turned, without the times."""
        return [" ".join(part for part in told[1:] if part) for told in self.told]


@asynccontextmanager
async def _no_store(stage: Stage, _: Settings) -> AsyncIterator[Stores]:
    yield Stores("shelf:", stage.shelf)


async def _here(function: Callable[..., Any], *args: Any, **_: Any) -> Any:
    """In the place of a worker thread."""
    await trio.lowlevel.checkpoint()
    return function(*args)


def settings_of(exchanges: Sequence[str], alerts: Alerts, **run: Any) -> Settings:
    """Settings that collect two markets, each exchange at a host of its own."""
    chosen: dict[str, Any] = {
        "exchanges": tuple(exchanges),
        "symbols": ("BTC/USDT", "ETH/USDT"),
        "channels": (Channel.TRADES, Channel.TICKER),
        **run,
    }
    venues = {name: Venue(f"http://{name}.invalid", f"ws://{name}.invalid", min_delay=0.0) for name in exchanges}
    return Settings(run=evolve(Run(), **chosen), buffers=Buffers(channel=2000), alerts=alerts, venues=venues)


async def play(
    seconds: float,
    *,
    stage: Stage | None = None,
    exchanges: Sequence[str] = ("binance",),
    faults: Mapping[str, Sequence[str]] | None = None,
    act: Callable[[Stage], Awaitable[None]] | None = None,
    rate: float = 4.0,
    alerts: Alerts | None = None,
    **chosen: Any,
) -> Stage:
    """Run for so long; ``act`` happens meanwhile."""
    stage = stage or Stage()
    stage.shelf.opened.set()
    settings = settings_of(exchanges, alerts or Alerts(), **chosen)
    for name in exchanges:
        specs = (faults or {}).get(name, ())
        house = await server._house(name, symbols=settings.run.symbols, rate=rate, seed=0, specs=specs, capture=None)
        house.clock = Clock(stage.now())
        stage.houses = {**stage.houses, name: house}
    with pytest.MonkeyPatch.context() as patch, capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            _set(patch, stage, nursery)
            for house in stage.houses.values():
                nursery.start_soon(house.run)
                house.begin()
            if act:
                nursery.start_soon(act, stage)
            await run(Job(settings, duration=seconds, now=stage.now))
            nursery.cancel_scope.cancel()
    stage.logs = logs
    return stage


def _set(patch: pytest.MonkeyPatch, stage: Stage, nursery: trio.Nursery) -> None:
    def opened() -> Any:
        return open_http(transport=httpx.MockTransport(stage.ask))

    def roads(_: Alerts, http: Http) -> list[telling.Road]:
        return [telling.Road("webhook", "the stage", stage.hear, 10)]

    patch.setattr(trio, "open_tcp_stream", partial(stage.dial, nursery))
    patch.setattr(trio.to_thread, "run_sync", _here)
    patch.setattr(running, "open_http", opened)
    patch.setattr(running, "open_stores", partial(_no_store, stage))
    patch.setattr(running, "account", lambda outcome, path: None)
    patch.setattr(telling, "roads_of", roads)
    patch.setattr(MarketFeed, "take", stage.said(MarketFeed.take))
    patch.setattr(binance.Dialect, "session", stage.open(binance.Dialect.session))
    patch.setattr(kraken.Adapter, "digest", stage.heard(kraken.Adapter.digest))
    patch.setattr(websocket, "_PAUSES", (0.5, 0.5))
    patch.setattr(_kit, "DAY", 60 * SECOND)
    patch.setattr(feeds, "SLICE", SECOND // 2)
    patch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=stage.free * MEGABYTE))
