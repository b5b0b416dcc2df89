"""From the load server's socket to events and to rows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio
from attrs import define, field

from bench.figures import Figures, Load, Watch
from bench.frames import answer, kinds, natives
from bench.ours import CAUSES, adapter, run, settings
from trioagg.exchanges import Fetch
from trioagg.exchanges.binance import Adapter
from trioagg.integrity.continuity import Run as Ids
from trioagg.integrity.ledger import Draft
from trioagg.model import Event, Instrument, Nanos, Trade
from trioagg.pipeline.feeds import Place, Roll, feeds_of
from trioagg.pipeline.storing import Stores, storing
from trioagg.pipeline.tally import Outcome
from trioagg.sinks import Database
from trioagg.sinks.sqlite import connect, url_of
from trioagg.store import Counts
from trioagg.transport import websocket
from trioagg.transport.clock import Stamps
from trioagg.transport.http import open_http


def event(load: Load) -> Figures:
    """Socket → event: one connection and its adapter; the events are dropped."""
    return run(lambda: _drop(load))


def row(load: Load) -> Figures:
    """Socket → committed row: all that ``trioagg run`` is, but for signals and display, with its default settings."""
    return run(lambda: collect([load], Watched))


def exchanges(load: Load, count: str) -> Figures:
    """The same from so many exchanges, each with a part of the symbols and of the messages, and feeds of its own.

    All of them speak Binance's language, so that nothing differs but their number.
    """
    return run(lambda: collect(load.share(int(count)), Watched))


async def _drop(load: Load) -> Figures:
    ours, left, latencies = primed(load), load.messages, list[int]()
    watch = Watch()
    async with websocket.connect(load.ws, stamps=Stamps()) as socket:
        while left:
            frames = await socket.receive()
            left -= len(frames.payloads)
            events = ours.digest(frames.payloads, frames.at)
            if load.rate:
                now = time.time_ns()
                latencies += [now - (event.timestamp or 0) for event in events if isinstance(event, Trade)]
        return watch.stop(load.messages, latencies)


def primed(load: Load) -> Adapter:
    """An adapter whose books have their snapshots."""
    ours, symbols = adapter(load), natives(load.symbols, load.first)
    for native, kind in kinds(load.shape, symbols).items():
        if kind == "depth":
            path = f"/api/v3/depth?symbol={native}&limit=1000"
            ours.answered(Fetch(path), answer(path, symbols), time.time_ns())
    return ours


@define(eq=False)
class Watched:
    """A sink in front of another: watches from the instruments' coming on, and is ``full`` after ``count`` rows."""

    sink: Database
    loads: Sequence[Load]
    full: trio.Event = field(factory=trio.Event)
    watch: Watch | None = None
    stored: int = 0
    latencies: list[int] = field(factory=list)
    figures: Figures | None = None

    @property
    def count(self) -> int:
        """All messages."""
        return sum(load.messages for load in self.loads)

    async def write(self, batch: Sequence[Event], draft: Draft, /) -> Counts:
        """Note when the batch was committed."""
        written = await self.sink.write(batch, draft)
        if self.loads[0].rate:
            committed = time.time_ns()
            self.latencies += [committed - (event.timestamp or 0) for event in batch if isinstance(event, Trade)]
        self.stored += written.stored
        if self.watch and self.stored >= self.count:
            self.figures = self.watch.stop(self.count, self.latencies)
            self.full.set()
        return written

    async def around(self, exchange: str, symbol: str, run: Ids, /) -> tuple[Nanos | None, Nanos | None]:
        """As the other has it."""
        return await self.sink.around(exchange, symbol, run)

    async def tend(self) -> None:
        """As the other does."""
        await self.sink.tend()

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        """What a run does just before it connects."""
        self.watch = self.watch or Watch()
        await self.sink.describe(instruments)


async def collect(loads: Sequence[Load], kind: type[Watched]) -> Figures:
    """Collect from one exchange for each load into one database, until all messages are rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ours.db"
        url, outcome = url_of(path), Outcome()
        async with open_http() as http, connect(url) as sink:
            watched = kind(sink, loads)
            storage = storing(Stores(url, watched), settings(loads[0], str(path)), outcome, causes=CAUSES)
            async with storage as producing, trio.open_nursery() as feeds:
                place = Place(http, Stamps(), Roll(len(loads)).lacks, producing)
                for load in loads:
                    feeds.start_soon(feeds_of("binance", settings(load, str(path)), place, hint=False).run)
                await watched.full.wait()
                feeds.cancel_scope.cancel()
    assert watched.figures
    assert outcome.tally.received == outcome.tally.stored + outcome.tally.duplicates
    assert outcome.tally.stored >= watched.count
    return watched.figures
