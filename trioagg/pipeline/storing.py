"""The writers' nursery around those who produce: what both a run and a replay stand in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import trio
from attrs import frozen

from trioagg import sinks
from trioagg.exchanges import counts
from trioagg.integrity.ledger import Ledger
from trioagg.model import Book, Instrument, Quote, Record, Ticker
from trioagg.pipeline.flow import Conflation, Inlet, Outlet, flow
from trioagg.pipeline.holes import Holes
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.patient import PatientWriter
from trioagg.pipeline.record import record
from trioagg.pipeline.spool import MEGABYTE, Spool, folder_of, public
from trioagg.pipeline.tally import Outcome, SinkTally, Tally
from trioagg.pipeline.write import Writer
from trioagg.settings import Buffers, Run, Settings
from trioagg.sinks import Sink, sqlite
from trioagg.transport.capture import Captured

Describe = Callable[[Sequence[Instrument]], Awaitable[None]]
"""Keeps in the database what is known of instruments."""


@frozen
class Producing:
    """Where producers live and deliver.

    Attributes:
        intake: takes what they receive.
        describe: keeps in the database what is known of instruments.
        holes: what the database lacks.
    """

    intake: Intake
    describe: Describe
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
    stores: dict[str, Sink],
    settings: Settings,
    outcome: Outcome,
    *,
    causes: Causes,
    newest: frozenset[type] = frozenset(),
    folder: Path | None = None,
) -> AsyncIterator[Producing]:
    """A scope for those who produce, inside the nursery of those who store.

    When the producers have ended, the flows are closed, and the writers store what is in them; what they cannot store
    in time is counted as lost. A database that takes nothing any more ends the producers; another sink loses alone.

    Args:
        stores: by URL; the first is the database, whose account is the outcome's.
        newest: kinds of events of which a sink that is late is told the newest of each market, each sink by itself.
        folder: for raw captures, if they are wanted.
    """
    (name, database), *others = stores.items()
    buffers, ledger, producers = settings.buffers, _ledger(causes), trio.CancelScope()
    holes = Holes(ledger, database.around)
    inlet, outlet = _flow(name, buffers, newest, outcome.tally)
    inlets, dead = [inlet], producers.cancel
    writers = [Writer(outlet, database, ledger, outcome.tally, buffers, dead=dead, noticed=holes.tell)]
    for url, sink in others:
        tally = outcome.beside[public(url)] = SinkTally()
        inlet, outlet = _flow(public(url), buffers, newest, tally)
        inlets.append(inlet)
        spool = Spool(folder_of(Path(settings.run.database), url), round(buffers.spool * MEGABYTE))
        writers.append(
            PatientWriter(
                outlet=outlet,
                sink=sink,
                ledger=_ledger(causes),
                tally=tally,
                buffers=buffers,
                dead=_nothing,
                noticed=_nothing,
                spool=spool,
                earlier=_ledger(causes),
            )
        )
    with _settled(outcome, writers):
        async with trio.open_nursery() as nursery:
            for writer in writers:
                nursery.start_soon(writer.run)
            captures = _recording(nursery, folder, settings.buffers.channel, outcome.failures) if folder else None
            intake = Intake(outcome.tally, inlets, captures)
            with producers:
                yield Producing(intake, database.describe, holes)
            intake.close()
            outcome.drift = intake.drift.frames
            nursery.cancel_scope.deadline = trio.current_time() + settings.run.drain_timeout


@contextmanager
def _settled(outcome: Outcome, writers: Iterable[Writer]) -> Iterator[None]:
    """Afterwards the accounts add up, however it ended: a producer may outlive a writer when both are cancelled."""
    try:
        yield
    finally:
        for writer in writers:
            writer.lose()
        for tally in outcome.beside.values():
            tally.received = outcome.tally.received


def _ledger(causes: Causes) -> Ledger:
    return Ledger(counts, cause=causes.within, first_cause=causes.before)


def _flow(name: str, buffers: Buffers, newest: frozenset[type], tally: Tally) -> tuple[Inlet[Record], Outlet[Record]]:
    return flow(name, buffers.channel, Conflation(newest, _market, tally.conflate))


def _market(event: Ticker | Book | Quote) -> tuple[type, str, str]:
    return type(event), event.exchange, event.symbol


def _nothing() -> None:
    """A sink beside the database died, and the others go on; or it noticed what the database notices itself."""


def _recording(writers: trio.Nursery, folder: Path, capacity: int, failures: list[str]) -> Inlet[Captured]:
    inlet, outlet = flow("recorder", capacity)
    writers.start_soon(record, outlet, folder, failures)
    return inlet
