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
from functools import partial
from pathlib import Path

import structlog
import trio
from attrs import evolve, frozen

from trioagg.pipeline.display import Display
from trioagg.pipeline.feeds import Place, Roll, check_channels, feeds_of
from trioagg.pipeline.storing import Causes, open_sinks, storing
from trioagg.pipeline.tally import Outcome
from trioagg.settings import Settings
from trioagg.simulator.pairs import listed
from trioagg.simulator.server import serve
from trioagg.sinks import sqlite
from trioagg.transport.clock import Stamps
from trioagg.transport.http import open_http

log = structlog.get_logger(__name__)

CAUSES = Causes(before="not running", within="not received")


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
        async with storing(stores, settings, outcome, causes=CAUSES, folder=job.record) as producing:
            producers = producing.nursery
            root.start_soon(_obey_signals, producers.cancel_scope, root.cancel_scope)
            if job.duration is not None:
                producers.cancel_scope.deadline = trio.current_time() + job.duration
            place = Place(http, producing.intake, Stamps(), Roll(len(run.exchanges)), stores[urls[0]].describe)
            for name in run.exchanges:
                producers.start_soon(feeds_of(name, settings, place, hint=not job.simulated).run)
        if job.display:
            await display.draw()
        root.cancel_scope.cancel()
    return outcome


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
