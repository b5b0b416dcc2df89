"""trioagg itself, as a run puts it together, from the load server's socket to events and to rows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio
from attrs import define, evolve, field

from bench.figures import Figures, Load, Watch
from bench.server import natives
from trioagg.exchanges import Feed, Subscription
from trioagg.exchanges.binance import Adapter
from trioagg.integrity.continuity import Run as Ids
from trioagg.integrity.ledger import Draft
from trioagg.model import Channel, Event, Instrument, Nanos
from trioagg.pipeline.feeds import Place, Roll, feeds_of
from trioagg.pipeline.storing import Causes, Stores, storing
from trioagg.pipeline.tally import Outcome
from trioagg.settings import Run, Settings, Venue
from trioagg.sinks import Database
from trioagg.sinks.sqlite import connect, url_of
from trioagg.store import Counts
from trioagg.transport import websocket
from trioagg.transport.clock import Stamps
from trioagg.transport.http import open_http

CAUSES = Causes(before="not running", within="not received")
SAMPLE = 8  # one event in so many tells its latency


def adapter(symbols: int) -> Adapter:
    """Binance's, subscribed to the trades of so many markets."""
    pairs = natives(symbols).items()
    return Adapter(Feed([Subscription(symbol, Channel.TRADES, native) for native, symbol in pairs]))


async def our_event(load: Load) -> Figures:
    """Socket → event: one connection and its adapter; the events are dropped."""
    watch, ours, left = Watch(), adapter(load.symbols), load.messages
    async with websocket.connect(f"ws://{load.base}", stamps=Stamps()) as socket:
        while left:
            frames = await socket.receive()
            left -= len(ours.digest(frames.payloads, frames.at))
        return watch.stop(load.messages)


@define(eq=False)
class Watched:
    """A sink in front of another: watches from the instruments' coming on, and is ``full`` after ``count`` rows."""

    sink: Database
    count: int
    watch: Watch = field(factory=Watch)
    full: trio.Event = field(factory=trio.Event)
    stored: int = 0
    latencies: list[int] = field(factory=list)
    figures: Figures | None = None

    async def write(self, batch: Sequence[Event], draft: Draft, /) -> Counts:
        """Note when the batch was committed."""
        written = await self.sink.write(batch, draft)
        committed = time.time_ns()
        self.latencies += [committed - event.received for event in batch[::SAMPLE]]
        self.stored += written.stored
        if self.stored >= self.count:
            self.figures = self.watch.stop(self.count, self.latencies)
            self.full.set()
        return written

    async def around(self, exchange: str, symbol: str, run: Ids, /) -> tuple[Nanos | None, Nanos | None]:
        """As the other has it."""
        return await self.sink.around(exchange, symbol, run)

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        """What a run does just before it connects."""
        self.watch = Watch()
        await self.sink.describe(instruments)


async def our_row(load: Load) -> Figures:
    """Socket → committed row: all that ``trioagg run`` is, but for signals and display, with its default settings."""
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(load, Path(folder) / "ours.db")
        url, outcome = url_of(Path(settings.run.database)), Outcome()
        async with open_http() as http, connect(url) as sink:
            watched = Watched(sink, load.messages)
            storage = storing(Stores(url, watched), settings, outcome, causes=CAUSES)
            async with storage as producing, trio.open_nursery() as feeds:
                place = Place(http, Stamps(), Roll(1).lacks, producing)
                feeds.start_soon(feeds_of("binance", settings, place, hint=False).run)
                await watched.full.wait()
                feeds.cancel_scope.cancel()
    assert watched.figures
    assert outcome.tally.stored == outcome.tally.received == load.messages
    return watched.figures


def _settings(load: Load, database: Path) -> Settings:
    symbols = tuple(natives(load.symbols).values())
    venue = Venue(rest_url=f"http://{load.base}", ws_url=f"ws://{load.base}")
    run = evolve(Run(), symbols=symbols, channels=(Channel.TRADES,), database=str(database))
    return Settings(run=run, venues={"binance": venue})
