"""From a log into stores: one of any number of loaders that share it.

::

    signals                       first: nothing more is read; second: everything ends
    └── writers                   one task per store
        └── reader                one task: reads its share of the log, and tells it what is durable

What a store does not take waits in its flow, then in the log: when a flow is full, the reader rests. What a stop leaves
there the next loader reads again; to store a row twice is to store it once.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import structlog
import trio
from attrs import define, field, frozen

from trioagg import sources
from trioagg.errors import StoreError, named
from trioagg.exchanges import counts
from trioagg.integrity.ledger import Ledger
from trioagg.model import Instrument
from trioagg.pipeline.flow import Inlet, flow
from trioagg.pipeline.progress import Progress
from trioagg.pipeline.signals import stopping
from trioagg.pipeline.storing import check_places, open_sinks
from trioagg.pipeline.tally import LoadTally
from trioagg.pipeline.write import Writer
from trioagg.settings import Buffers, Settings, Store
from trioagg.sinks import Sink
from trioagg.sources import Source

log = structlog.get_logger(__name__)

CAUSE = "not in the log"
"""Why a numbered trade may be missing, for the ledger: whoever collected it knows more."""

HELD = 4_000
"""Events that may wait for a store before the reader does, and not ``buffers.channel``: the log keeps the rest."""

MOMENT = 0.1
"""Seconds that the reader waits for room before it rests."""


@frozen
class Job:
    """One load.

    Attributes:
        source: where the log is.
        stores: where to.
        drain: stop once the present end of the log was reached, and all before it is stored.
    """

    settings: Settings
    source: Store
    stores: Sequence[Store]
    drain: bool = False


@define
class Loaded:
    """How a load ended.

    Attributes:
        tallies: each store's account, by its name.
        problems: what failed, a line each.
        useless: ends the reading.
    """

    tallies: dict[str, LoadTally]
    problems: list[str] = field(factory=list)
    useless: trio.CancelScope = field(factory=trio.CancelScope)

    def lose(self, name: str) -> None:
        """A store will take nothing any more, so there is no use in reading on."""
        self.problems.append(f"{name} takes nothing any more; what is left stays in the log")
        self.useless.cancel()


@define(eq=False)
class LoadWriter(Writer):
    """A writer whose flow brings instruments too, and that says what is durable.

    Attributes:
        number: the store's, for the progress.
    """

    progress: Progress
    number: int

    async def _store(self) -> None:
        """See ``Writer._store``."""
        items: list[Any] = self._in_hand
        if listed := [item for item in items if type(item) is Instrument]:
            await self._until_taken(partial(self.sink.describe, listed))
        self._in_hand = [item for item in items if type(item) is not Instrument]
        if self._in_hand:
            await super()._store()
        self.progress.settle(self.number, len(items))

    def lose(self) -> None:
        """See ``Writer.lose``; nothing is lost that the log has."""
        self.outlet.take_waiting()
        self._in_hand = []


@define(eq=False)
class Reader:
    """Reads a share of the log into every store's flow."""

    source: Source
    inlets: Sequence[Inlet[Any]]
    progress: Progress
    tallies: Sequence[LoadTally]

    async def read(self, *, drain: bool) -> None:
        """Read until cancelled, or until the end if it is to be drained."""
        while not (drain and self.source.ended and self.progress.done):
            haul = await (self.source.take() if await self._room() else self.source.rest())
            if haul.ends:
                self.progress.put(len(haul.items), haul.ends)
            for inlet, tally in zip(self.inlets, self.tallies, strict=True):
                inlet.put(haul.items)
                tally.received += sum(type(item) is not Instrument for item in haul.items)
            self.source.keep(self.progress.durable())

    async def _room(self) -> bool:
        """Whether every flow has room, now or in a moment: to rest and to go on again costs what was fetched ahead."""
        with trio.move_on_after(MOMENT) as waiting:
            for inlet in self.inlets:
                await inlet.room()
        return not waiting.cancelled_caught


async def load(job: Job) -> Loaded:
    """Load until a signal comes, or the log's present end if it is to be drained; say what became of it.

    Raises:
        SettingsError: the log or a store cannot be.
        StoreError: a store cannot be opened.
    """
    check_places(job.stores)
    loaded = Loaded({store.name: LoadTally() for store in job.stores})
    progress = Progress(len(job.stores))
    async with stopping() as stop:
        with stop.everything:
            with named(job.source.where):
                opening = sources.connect(job.source.url, progress)
            async with open_sinks(job.stores) as sinks, _opened(opening, job.source.where) as source:
                await _load(job, source, sinks, loaded, progress=progress, stopped=stop.receiving)
        _account(loaded)
    return loaded


@asynccontextmanager
async def _opened(opening: AbstractAsyncContextManager[Source], where: str) -> AsyncIterator[Source]:
    """A source while the block lasts; what is wrong with it is told with the option that names it."""
    async with AsyncExitStack() as stack:
        with named(where):
            source = await stack.enter_async_context(opening)
        yield source


async def _load(
    job: Job,
    source: Source,
    sinks: Mapping[Store, Sink],
    loaded: Loaded,
    *,
    progress: Progress,
    stopped: trio.CancelScope,
) -> None:
    inlets: list[Inlet[Any]] = []
    async with trio.open_nursery() as writers:
        for number, (store, sink) in enumerate(sinks.items()):
            inlet, writer = _writer(job.settings.buffers, store, sink, loaded, number=number, progress=progress)
            inlets.append(inlet)
            writers.start_soon(writer.run)
        reader = Reader(source, inlets, progress, [*loaded.tallies.values()])
        with stopped, loaded.useless:
            try:
                await reader.read(drain=job.drain)
            except StoreError as error:
                loaded.problems.append(str(error))
        for inlet in inlets:
            inlet.close()
        writers.cancel_scope.deadline = trio.current_time() + job.settings.run.drain_timeout
    source.keep(progress.durable())


def _writer(
    buffers: Buffers, store: Store, sink: Sink, loaded: Loaded, *, number: int, progress: Progress
) -> tuple[Inlet[Any], LoadWriter]:
    inlet, outlet = flow(store.name, min(buffers.channel, HELD))
    writer = LoadWriter(
        outlet=outlet,
        sink=sink,
        ledger=Ledger(counts, cause=CAUSE, first_cause=CAUSE),
        tally=loaded.tallies[store.name],
        buffers=buffers,
        dead=partial(loaded.lose, store.name),
        noticed=_nothing,
        progress=progress,
        number=number,
    )
    return inlet, writer


def _nothing() -> None:
    """A loader asks no exchange for what is missing."""


def _account(loaded: Loaded) -> None:
    """Log what went wrong, a line each, and then each store's account; whatever the log level, the account is there."""
    for problem in loaded.problems:
        log.error(problem)
    level = max(logging.INFO, logging.getLogger().level)
    for name, tally in loaded.tallies.items():
        log.log(level, "done", **tally.counts(), sink=name)
