"""The writers' nursery around those who produce: what both a run and a replay stand in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import structlog
import trio
from attrs import field, frozen

from trioagg import sinks
from trioagg.errors import SettingsError, SinkError, StoreError, named, spent
from trioagg.exchanges import counts
from trioagg.integrity.ledger import Ledger
from trioagg.model import Book, Instrument, Quote, Record, Road, Ticker
from trioagg.pipeline.flow import Conflation, Inlet, Outlet, flow
from trioagg.pipeline.holes import Holes
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.patient import PatientWriter
from trioagg.pipeline.record import record
from trioagg.pipeline.spool import MEGABYTE, Spool, folder_of, left_behind
from trioagg.pipeline.tally import Outcome, SinkTally, Tally
from trioagg.pipeline.write import AGAIN, Writer
from trioagg.settings import Buffers, Settings, Store, redacted
from trioagg.sinks import Database, Sink, sqlite
from trioagg.transport.capture import Captured

log = structlog.get_logger(__name__)

Describe = Callable[[Sequence[Instrument]], Awaitable[None]]
"""Keeps what is known of instruments."""

FAREWELL = 0.5
"""Seconds at a stop in which a sink may still be told of instruments."""


@frozen
class Producing:
    """Where producers live and deliver.

    Attributes:
        intake: takes what they receive.
        describe: keeps what is known of instruments.
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
        road: how trades come in this session.
    """

    before: str
    within: str
    road: Road = "stream"


@frozen
class Stores:
    """Where a run's events go.

    Attributes:
        url: the database's.
        beside: further sinks.
    """

    url: str
    database: Database
    beside: Mapping[Store, Sink] = field(factory=dict)


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """The database and every further sink, opened in this order and closed in reverse.

    Raises:
        SettingsError: a sink cannot be, or two differ in nothing but who logs in.
        StoreError: one of them cannot be opened.
    """
    if sinks.is_url(settings.run.database):
        place = redacted(settings.run.database)
        raise SettingsError(f"--database: bad value {place!r}: must be a file; a server is a further store: --sink")
    stores = settings.stores
    check_places(stores)
    url = sqlite.url_of(Path(settings.run.database))
    async with sqlite.connect(url) as database, open_sinks(stores) as beside:
        yield Stores(url, database, beside)


def check_places(stores: Sequence[Store]) -> None:
    """Refuse stores that nobody could tell apart.

    Raises:
        SettingsError: two differ in nothing but who logs in.
    """
    shown = [redacted(store.url) for store in stores]
    for place, store in zip(shown, stores, strict=True):
        if shown.count(place) > 1:
            raise SettingsError(f"{store.where}: {place} is named twice; leave one of them out")


@asynccontextmanager
async def open_sinks(stores: Sequence[Store]) -> AsyncIterator[dict[Store, Sink]]:
    """Sinks, opened in this order and closed in reverse.

    Raises:
        SettingsError: a sink cannot be.
        StoreError: one of them cannot be opened.
    """
    opened: dict[Store, Sink] = {}
    async with AsyncExitStack() as stack:
        for store in stores:
            with named(store.where):
                opened[store] = await stack.enter_async_context(sinks.connect(store.url))
        yield opened


@asynccontextmanager
async def storing(
    stores: Stores,
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
        stores: the database's account is the outcome's.
        newest: kinds of events of which a sink that is late is told the newest of each market, each sink by itself.
        folder: for raw captures, if they are wanted.
    """
    buffers, ledger, producers = settings.buffers, _ledger(causes), trio.CancelScope()
    holes = Holes(ledger, stores.database.around)
    inlet, outlet = _flow(stores.url, buffers, newest, outcome.tally)
    inlets, dead = [inlet], producers.cancel
    writers = [Writer(outlet, stores.database, ledger, outcome.tally, buffers, dead=dead, noticed=holes.tell)]
    for store, sink in stores.beside.items():
        tally = outcome.beside[store.name] = SinkTally()
        inlet, outlet = _flow(store.name, buffers, newest, tally)
        inlets.append(inlet)
        writers.append(_patient(settings, store, sink, outlet=outlet, tally=tally, causes=causes))
    with _settled(outcome, writers):
        async with _tended(stores.database), trio.open_nursery() as nursery:
            for writer in writers:
                nursery.start_soon(writer.run, name=f"writer {writer.outlet.gauge.name}")
            captures = _recording(nursery, folder, settings.buffers.channel, outcome.failures) if folder else None
            intake = Intake(outcome.tally, inlets, captures)
            async with trio.open_nursery() as describing:
                with producers:
                    yield Producing(intake, partial(_describe, stores, describing), holes)
                intake.close()
                nursery.cancel_scope.deadline = trio.current_time() + settings.run.drain_timeout
                describing.cancel_scope.deadline = trio.current_time() + FAREWELL
            outcome.drift = intake.drift.frames


def _patient(
    settings: Settings, store: Store, sink: Sink, *, outlet: Outlet[Record], tally: SinkTally, causes: Causes
) -> PatientWriter:
    """The writer of a sink beside the database, and of what earlier runs left for it."""
    database, worker = Path(settings.run.database), settings.worker
    for left in left_behind(database, store.url, worker.of):
        log.warning("what waits for a sink is another worker's; start as many", sink=store.name, folder=str(left))
    return PatientWriter(
        outlet=outlet,
        sink=sink,
        ledger=_ledger(causes),
        tally=tally,
        buffers=settings.buffers,
        dead=_nothing,
        noticed=_nothing,
        spool=Spool(folder_of(database, store.url, worker.number), round(settings.buffers.spool * MEGABYTE)),
        earlier=_ledger(causes),
    )


@asynccontextmanager
async def _tended(database: Database) -> AsyncIterator[None]:
    """A scope for those who write, in which their store is kept in order."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.tend, name="database tended")
        yield
        nursery.cancel_scope.cancel()


async def _describe(stores: Stores, describing: trio.Nursery, instruments: Sequence[Instrument]) -> None:
    """Keep instruments in the database now, and beside it as soon as it can be."""
    await stores.database.describe(instruments)
    for store, sink in stores.beside.items():
        describing.start_soon(_describe_beside, store.name, sink, instruments)


async def _describe_beside(place: str, sink: Sink, instruments: Sequence[Instrument]) -> None:
    for failures in count(1):
        try:
            await sink.describe(instruments)
        except SinkError as error:  # the writer, which tries as often, tells why
            spent(error)
            await trio.sleep(AGAIN.delay(failures))
        except StoreError as error:
            log.error("instruments are not stored", sink=place, reason=str(error))
            return
        else:
            return


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
    return Ledger(counts, cause=causes.within, first_cause=causes.before, road=causes.road)


def _flow(name: str, buffers: Buffers, newest: frozenset[type], tally: Tally) -> tuple[Inlet[Record], Outlet[Record]]:
    return flow(name, buffers.channel, Conflation(newest, _market, tally.conflate))


def _market(event: Ticker | Book | Quote) -> tuple[type, str, str]:
    return type(event), event.exchange, event.symbol


def _nothing() -> None:
    """A sink beside the database died, and the others go on; or it noticed what the database notices itself."""


def _recording(writers: trio.Nursery, folder: Path, capacity: int, failures: list[str]) -> Inlet[Captured]:
    inlet, outlet = flow("recorder", capacity)
    writers.start_soon(record, outlet, folder, failures, name="recorder")
    return inlet
