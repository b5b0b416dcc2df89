"""The whole tree of tasks, on one screen.

::

    signals                       first: the feeds end; second: everything ends
    └── root
        ├── simulator             with --simulated only: the far end, in the same process
        ├── space                 looks whether the disk fills up
        ├── display
        ├── monitor               with --serve only: metrics, health and status over HTTP
        └── writers               one task per sink, and the recorder
            └── feeds             one task per exchange; each holds its pollers and its streams under supervisors

Stopping is the tree itself: when the feeds end, by signal, duration or error, the flows are closed; the writers
store what is in them and return; then nothing is left that the root waits for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
import trio
from attrs import evolve, frozen

from trioagg.model import STATES, Instrument, Nanos
from trioagg.monitor.web import Address, listening
from trioagg.pipeline.account import account
from trioagg.pipeline.display import Display
from trioagg.pipeline.feeds import Place, Roll, check_channels, feeds_of
from trioagg.pipeline.monitoring import Monitor
from trioagg.pipeline.signals import stopping
from trioagg.pipeline.simulated import simulated
from trioagg.pipeline.space import Space
from trioagg.pipeline.storing import Causes, Describe, open_stores, storing
from trioagg.pipeline.tally import Outcome
from trioagg.settings import Buffers, Settings
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
        serve: where to tell of it to monitors, host and port; None: nowhere.
        now: tells the time, nanoseconds UTC.
    """

    settings: Settings
    simulated: bool = False
    duration: float | None = None
    record: Path | None = None
    display: bool = False
    serve: Address | None = None
    now: Callable[[], Nanos] = time.time_ns


async def run(job: Job) -> Outcome:
    """Collect until the duration is over or a signal comes; then store what was received, and say what became of it.

    Raises:
        SettingsError, StoreError: before anything was collected, or when a symbol turned out to be unknown everywhere.
    """
    check_channels(job.settings)
    outcome = Outcome()
    async with stopping() as stop:
        with stop.everything:
            await _collect(job, outcome, stop.receiving)
        account(outcome, Path(job.settings.run.database))
    return outcome


async def _collect(job: Job, outcome: Outcome, receiving: trio.CancelScope) -> None:
    run = job.settings.run
    async with (
        listening(job.serve) as listeners,
        open_http() as http,
        open_stores(job.settings) as opened,
        trio.open_nursery() as root,
    ):
        settings = await simulated(root, job.settings) if job.simulated else job.settings
        display = Display(Path(run.database), run.exchanges, run.symbols)
        root.start_soon(Space(Path(run.database), run.min_free_disk).watch)
        if job.display:
            root.start_soon(display.repeat, run.display_interval)
        monitor = Monitor(settings, outcome.tally) if job.serve else None
        stores = monitor.measured(opened) if monitor else opened
        async with storing(stores, settings, outcome, causes=CAUSES, newest=STATES, folder=job.record) as producing:
            if monitor and job.serve:
                monitor.attach(producing.intake)
                root.start_soon(monitor.serve, job.serve[0], listeners)
            with receiving, trio.move_on_after(math.inf if job.duration is None else job.duration):
                telling = evolve(producing, describe=_telling(producing.describe, settings.buffers))
                place = Place(http, Stamps(job.now), Roll(len(run.exchanges)), telling)
                async with trio.open_nursery() as feeds:
                    for name in run.exchanges:
                        feeds.start_soon(feeds_of(name, settings, place, hint=not job.simulated).run)
        if job.display:
            await display.draw()
        root.cancel_scope.cancel()


def _telling(describe: Describe, buffers: Buffers) -> Describe:
    """``describe``, and the first time, when the symbols have proved good, what a crash can lose from now on.

    That is what is not committed yet: what the time between two transactions brings, and no more than may wait at all.
    """
    window = [{"milliseconds": round(buffers.commit_delay * 1000), "rows": buffers.channel + buffers.commit_rows}]

    async def tell(instruments: Sequence[Instrument]) -> None:
        if window:
            log.info("a crash loses at most", **window.pop())
        await describe(instruments)

    return tell
