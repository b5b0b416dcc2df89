"""The writers' nursery around those who produce: what both a run and a replay stand in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio
from attrs import frozen

from trioagg import sinks
from trioagg.exchanges import counts
from trioagg.integrity.ledger import Ledger
from trioagg.model import Instrument, Record
from trioagg.pipeline.flow import Inlet, flow
from trioagg.pipeline.holes import Holes
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.record import record
from trioagg.pipeline.tally import Outcome, Tally
from trioagg.pipeline.write import Writer
from trioagg.settings import Run, Settings, bare
from trioagg.sinks import Sink, sqlite
from trioagg.transport.capture import Captured


@frozen
class Producing:
    """Where producers live and deliver.

    Attributes:
        intake: takes what they receive.
        describe: keeps in the database what is known of instruments.
        holes: what the database lacks.
    """

    intake: Intake
    describe: Callable[[Sequence[Instrument]], Awaitable[None]]
    holes: Holes


@frozen
class Causes:
    """Why a numbered trade may be missing, for the ledger.

    Attributes:
        before: between what was stored earlier and the first of this session.
        within: within this session.
    """

    before: str
    within: str


@asynccontextmanager
async def open_sinks(run: Run) -> AsyncIterator[dict[str, Sink]]:
    """The database and every further sink by its URL, opened in this order and closed in reverse.

    Raises:
        SettingsError, StoreError: one of them cannot be opened.
    """
    async with AsyncExitStack() as stack:
        urls = [sqlite.url_of(Path(run.database)), *run.sinks]
        yield {url: await stack.enter_async_context(sinks.connect(url)) for url in urls}


@asynccontextmanager
async def storing(
    stores: dict[str, Sink], settings: Settings, outcome: Outcome, *, causes: Causes, folder: Path | None = None
) -> AsyncIterator[Producing]:
    """A scope for those who produce, inside the nursery of those who store.

    When the producers have ended, the flows are closed, and the writers store what is in them; what they cannot store
    in time is counted as lost. A database that takes nothing any more ends the producers; another sink loses alone.

    Args:
        stores: by URL; the first is the database, whose account is the outcome's.
        folder: for raw captures, if they are wanted.
    """
    database, *others = stores
    outcome.beside = {url: Tally() for url in others}
    tallies = {database: outcome.tally, **outcome.beside}
    producers = trio.CancelScope()
    async with trio.open_nursery() as writers:
        ledgers = {url: Ledger(counts, cause=causes.within, first_cause=causes.before) for url in stores}
        holes = Holes(ledgers[database], stores[database].around)
        inlets: list[Inlet[Record]] = []
        for url, store in stores.items():
            inlet, outlet = flow(bare(url), settings.buffers.channel)
            ends, tells = (producers.cancel, holes.tell) if url == database else (_nothing, _nothing)
            writer = Writer(outlet, store, ledgers[url], tallies[url], settings.buffers, dead=ends, noticed=tells)
            writers.start_soon(writer.run)
            inlets.append(inlet)
        captures = _recording(writers, folder, settings.buffers.channel, outcome.failures) if folder else None
        intake = Intake(outcome.tally, inlets, captures)
        with producers:
            yield Producing(intake, stores[database].describe, holes)
        intake.close()
        outcome.drift = intake.drift.frames
        writers.cancel_scope.deadline = trio.current_time() + settings.run.drain_timeout


def _nothing() -> None:
    """A sink beside the database died, and the others go on; or it noticed what the database notices itself."""


def _recording(writers: trio.Nursery, folder: Path, capacity: int, failures: list[str]) -> Inlet[Captured]:
    inlet, outlet = flow("recorder", capacity)
    writers.start_soon(record, outlet, folder, failures)
    return inlet
