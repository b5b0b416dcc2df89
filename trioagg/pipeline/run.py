"""The whole tree of tasks, on one screen.

::

    root
    ├── simulator             with --simulated only: the far end, in the same process
    ├── signals               first: the producers end; second: everything ends
    ├── display
    └── writers               one task per sink, and the recorder
        └── producers         one task per exchange; each holds its pollers and its streams under supervisors

Stopping is the tree itself: when the producers end, by signal, duration or error, the flows are closed; the writers
store what is in them and return; then nothing is left that the root waits for.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import structlog
import trio
from attrs import evolve, frozen

from trioagg import sinks
from trioagg.model import Event
from trioagg.pipeline.display import Display
from trioagg.pipeline.feeds import Place, Roll, check_channels, feeds_of
from trioagg.pipeline.flow import Inlet, flow
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.record import record
from trioagg.pipeline.tally import Outcome, Tally
from trioagg.pipeline.write import Writer
from trioagg.settings import Settings
from trioagg.simulator.pairs import listed
from trioagg.simulator.server import serve
from trioagg.sinks import Sink, sqlite
from trioagg.transport.capture import Captured
from trioagg.transport.clock import Stamps
from trioagg.transport.http import open_http

log = structlog.get_logger(__name__)


@frozen
class Job:
    """One run.

    Attributes:
        settings: what to collect, and how.
        simulated: against the built-in exchange.
        duration: seconds, then a clean stop; None runs until a signal.
        record: the folder for raw captures.
        display: print summaries.
    """

    settings: Settings
    simulated: bool = False
    duration: float | None = None
    record: Path | None = None
    display: bool = False


async def run(job: Job) -> Outcome:
    """Collect until the duration is over or a signal comes; then store what was received.

    Raises:
        SettingsError, StoreError: before anything was collected, or when a symbol turned out to be unknown everywhere.
    """
    check_channels(job.settings)
    run, outcome = job.settings.run, Outcome()
    urls = [sqlite.url_of(Path(run.database)), *run.sinks]
    async with open_http() as http, open_sinks(urls) as stores, trio.open_nursery() as root:
        settings = await _simulated(root, job.settings) if job.simulated else job.settings
        display = Display(Path(run.database), run.exchanges, run.symbols)
        if job.display:
            root.start_soon(display.repeat, run.display_interval)
        async with (
            storing(stores, settings, outcome, folder=job.record) as intake,
            trio.open_nursery() as producers,
        ):
            root.start_soon(_obey_signals, producers.cancel_scope, root.cancel_scope)
            if job.duration is not None:
                producers.cancel_scope.deadline = trio.current_time() + job.duration
            place = Place(http, intake, Stamps(), Roll(len(run.exchanges)), stores[0].describe)
            for name in run.exchanges:
                producers.start_soon(feeds_of(name, settings, place, hint=not job.simulated).run)
        if job.display:
            await display.draw()
        root.cancel_scope.cancel()
    return outcome


@asynccontextmanager
async def open_sinks(urls: Sequence[str]) -> AsyncIterator[list[Sink]]:
    """Every sink, opened in order and closed in reverse."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(sinks.connect(url)) for url in urls]


@asynccontextmanager
async def storing(
    stores: Sequence[Sink], settings: Settings, outcome: Outcome, *, folder: Path | None = None
) -> AsyncIterator[Intake]:
    """The writers' nursery around those who produce; ends when all that they produced is stored or counted as lost.

    Args:
        stores: the first is the database, whose account is the outcome's.
        folder: for raw captures, if they are wanted.
    """
    tallies = [outcome.tally, *(Tally() for _ in stores[1:])]
    async with trio.open_nursery() as writers:
        inlets: list[Inlet[Event]] = []
        for number, (store, tally) in enumerate(zip(stores, tallies, strict=True)):
            inlet, outlet = flow(f"sink-{number}", settings.buffers.channel)
            inlets.append(inlet)
            writers.start_soon(Writer(outlet, store, tally, settings.buffers).run)
        captures = _recording(writers, folder, settings.buffers.channel, outcome.problems) if folder else None
        intake = Intake(outcome.tally, inlets, captures)
        try:
            yield intake
        finally:
            intake.close()
            writers.cancel_scope.deadline = trio.current_time() + settings.run.drain_timeout
    for number, tally in enumerate(tallies):
        if tally.lost:
            outcome.problems.append(f"{tally.lost} events could not be stored in sink {number}")


def _recording(writers: trio.Nursery, folder: Path, capacity: int, problems: list[str]) -> Inlet[Captured]:
    inlet, outlet = flow("recorder", capacity)
    writers.start_soon(record, outlet, folder, problems)
    return inlet


async def _simulated(root: trio.Nursery, settings: Settings) -> Settings:
    """Start the built-in exchange, and settings that point to it."""
    there = [symbol for symbol in settings.run.symbols if symbol in listed()]
    urls = await root.start(partial(serve, exchanges=settings.run.exchanges, symbols=there))
    venues = {
        name: evolve(settings.venue(name), rest_url=served.rest, ws_url=served.ws) for name, served in urls.items()
    }
    return evolve(settings, venues={**settings.venues, **venues})


async def _obey_signals(producers: trio.CancelScope, everything: trio.CancelScope) -> None:
    """First signal: stop receiving. Second: stop. Outside the main thread, where none can be received, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        return
    with trio.open_signal_receiver(*_signals()) as signals:
        async for number in signals:
            if producers.cancel_called:
                log.error("second signal: stopping at once", signal=signal.Signals(number).name)
                everything.cancel()
            else:
                log.info("stopping: storing what was received", signal=signal.Signals(number).name)
                producers.cancel()


def _signals() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGBREAK")  # SIGBREAK: Windows, where SIGTERM never comes
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
