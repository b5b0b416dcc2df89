"""The writers' nursery around those who produce: what both a run and a replay stand in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import structlog
import trio
from attrs import field, frozen

from trioagg import sinks
from trioagg.errors import SinkError, StoreError
from trioagg.exchanges import counts
from trioagg.integrity.ledger import Ledger
from trioagg.model import Instrument, Record
from trioagg.pipeline.flow import Inlet, flow
from trioagg.pipeline.holes import Holes
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.record import record
from trioagg.pipeline.tally import Outcome, Tally
from trioagg.pipeline.write import AGAIN, Writer
from trioagg.settings import Run, Settings
from trioagg.sinks import Database, Sink, redacted, sqlite
from trioagg.transport.capture import Captured

log = structlog.get_logger(__name__)


@frozen
class Producing:
    """Where producers live and deliver.

    Attributes:
        intake: takes what they receive.
        describe: keeps what is known of instruments.
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


@frozen
class Stores:
    """Where a run's events go.

    Attributes:
        url: the database's.
        beside: further sinks, by URL.
    """

    url: str
    database: Database
    beside: Mapping[str, Sink] = field(factory=dict)


@asynccontextmanager
async def open_sinks(run: Run) -> AsyncIterator[Stores]:
    """The database and every further sink, opened in this order and closed in reverse.

    Raises:
        SettingsError, StoreError: one of them cannot be opened.
    """
    async with AsyncExitStack() as stack:
        url = sqlite.url_of(Path(run.database))
        database = await stack.enter_async_context(sqlite.connect(url))
        yield Stores(url, database, {url: await stack.enter_async_context(sinks.connect(url)) for url in run.sinks})


@asynccontextmanager
async def storing(
    stores: Stores, settings: Settings, outcome: Outcome, *, causes: Causes, folder: Path | None = None
) -> AsyncIterator[Producing]:
    """A scope for those who produce, inside the nursery of those who store.

    When the producers have ended, the flows are closed, and the writers store what is in them; what they cannot store
    in time is counted as lost. A database that takes nothing any more ends the producers; another sink loses alone.

    Args:
        stores: the database's account is the outcome's.
        folder: for raw captures, if they are wanted.
    """
    outcome.beside = {redacted(url): Tally() for url in stores.beside}
    tallies = {stores.url: outcome.tally} | {url: outcome.beside[redacted(url)] for url in stores.beside}
    producers = trio.CancelScope()
    async with trio.open_nursery() as writers:
        ledgers = {url: Ledger(counts, cause=causes.within, first_cause=causes.before) for url in tallies}
        holes = Holes(ledgers[stores.url], stores.database.around)
        inlets: list[Inlet[Record]] = []
        for url, store in {**stores.beside, stores.url: stores.database}.items():
            inlet, outlet = flow(redacted(url), settings.buffers.channel)
            ends, tells = (producers.cancel, holes.tell) if url == stores.url else (_nothing, _nothing)
            writer = Writer(outlet, store, ledgers[url], tallies[url], settings.buffers, dead=ends, noticed=tells)
            writers.start_soon(writer.run)
            inlets.append(inlet)
        captures = _recording(writers, folder, settings.buffers.channel, outcome.failures) if folder else None
        intake = Intake(outcome.tally, inlets, captures)
        with producers:
            yield Producing(intake, partial(_describe, stores, writers), holes)
        intake.close()
        outcome.drift = intake.drift.frames
        writers.cancel_scope.deadline = trio.current_time() + settings.run.drain_timeout


async def _describe(stores: Stores, writers: trio.Nursery, instruments: Sequence[Instrument]) -> None:
    """Keep instruments in the database now, and beside it as soon as it can be."""
    await stores.database.describe(instruments)
    for url, sink in stores.beside.items():
        writers.start_soon(_describe_beside, redacted(url), sink, instruments)


async def _describe_beside(place: str, sink: Sink, instruments: Sequence[Instrument]) -> None:
    for failures in count(1):
        try:
            await sink.describe(instruments)
        except SinkError:  # the writer, which tries as often, tells why
            await trio.sleep(AGAIN.delay(failures))
        except StoreError as error:
            log.error("instruments are not stored", where=place, reason=str(error))
            return
        else:
            return


def _nothing() -> None:
    """A sink beside the database died, and the others go on; or it noticed what the database notices itself."""


def _recording(writers: trio.Nursery, folder: Path, capacity: int, failures: list[str]) -> Inlet[Captured]:
    inlet, outlet = flow("recorder", capacity)
    writers.start_soon(record, outlet, folder, failures)
    return inlet
