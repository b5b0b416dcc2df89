"""The whole tree of tasks, on one screen.

::

    signals                       first: the feeds end; second: everything ends
    └── tellers                   of alerts: one task each for a webhook and a command, if there are any
        └── root
            ├── simulator         with --simulated only: the far end, in the same process
            ├── space             looks what is free on the disk
            ├── display
            ├── monitor           with --serve only: metrics, health and status over HTTP
            └── writers           one task per sink, and the recorder
                └── feeds         one task per exchange; each holds its pollers and its streams under supervisors;
                                  beside them the one that raises alerts, which ends with what it watches

Stopping is the tree itself: when the feeds end, by signal, duration or error, the flows are closed; the writers
store what is in them and return; then nothing is left that the root waits for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import structlog
import trio
from attrs import evolve, frozen

from trioagg.model import STATES, Instrument, Nanos
from trioagg.monitor.web import Address, listening
from trioagg.pipeline.account import account
from trioagg.pipeline.collection import Collection
from trioagg.pipeline.display import Display
from trioagg.pipeline.feeds import Lacks, Place, Roll, check_channels
from trioagg.pipeline.monitoring import Monitor
from trioagg.pipeline.signals import Stop, stopping
from trioagg.pipeline.simulated import simulated
from trioagg.pipeline.space import Space
from trioagg.pipeline.storing import Causes, Describe, open_stores, storing
from trioagg.pipeline.tally import Outcome
from trioagg.pipeline.telling import telling
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
        reread: reads the settings anew when SIGHUP asks for it; None: nothing changes in this run.
        now: tells the time, nanoseconds UTC.
    """

    settings: Settings
    simulated: bool = False
    duration: float | None = None
    record: Path | None = None
    display: bool = False
    serve: Address | None = None
    reread: Callable[[], Settings] | None = None
    now: Callable[[], Nanos] = time.time_ns

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return Path(self.settings.run.database)


async def run(job: Job) -> Outcome:
    """Collect until the duration is over or a signal comes; then store what was received, and say what became of it.

    Raises:
        SettingsError, StoreError: before anything was collected, or when a symbol turned out to be unknown everywhere.
    """
    check_channels(job.settings)
    outcome = Outcome()
    async with stopping() as stop:
        with stop.everything:
            await collect(job, outcome, stop, lacks=Roll(len(job.settings.run.exchanges)).lacks)
        account(outcome, job.database)
    return outcome


async def collect(
    job: Job, outcome: Outcome, stop: Stop, *, lacks: Lacks, begun: Callable[[], None] = lambda: None
) -> None:
    """The tree below the signals.

    Args:
        stop: what signals do.
        lacks: see ``Place``.
        begun: called when the feeds begin.

    Raises:
        SettingsError, StoreError: see ``run``.
    """
    run = job.settings.run
    async with (
        listening(job.serve) as listeners,
        open_http() as http,
        open_stores(job.settings) as opened,
        telling(job.settings.alerts, http) as tellers,
        trio.open_nursery() as root,
    ):
        settings = await simulated(root, job.settings) if job.simulated else job.settings
        display = Display(job.database, run.exchanges, run.symbols)
        space = Space(job.database)
        root.start_soon(space.watch, name="space")
        if job.display:
            root.start_soon(display.repeat, run.display_interval, name="display")
        monitor = Monitor(settings, outcome.tally, space=space, tellers=tellers, now=job.now)
        stores = monitor.measured(opened) if job.serve else opened
        async with storing(stores, settings, outcome, causes=CAUSES, newest=STATES, folder=job.record) as producing:
            stop.gauges.extend(producing.intake.gauges())
            monitor.attach(producing)
            if job.serve:
                root.start_soon(monitor.serve, job.serve[0], listeners, name="monitor")
            with stop.receiving, trio.move_on_after(math.inf if job.duration is None else job.duration):
                saying = evolve(producing, describe=_saying(producing.describe, settings.buffers))
                place = Place(http, Stamps(job.now), lacks, saying)
                begun()
                async with trio.open_nursery() as feeds:
                    feeds.start_soon(monitor.watch, producing.holes, name="alerts")
                    watchers = [display.show, monitor.show]
                    collection = Collection(settings, place, feeds, hint=not job.simulated, watchers=watchers)
                    collection.begin()
                    if job.reread:
                        stop.rereads.append(partial(collection.reread, job.reread))
            stop.rereads.clear()
        if job.display:
            await display.draw()
        root.cancel_scope.cancel()


def _saying(describe: Describe, buffers: Buffers) -> Describe:
    """``describe``, and the first time, when the symbols have proved good, what a crash can lose from now on.

    That is what is not committed yet: what the time between two transactions brings, and no more than may wait at all.
    """
    window = [{"milliseconds": round(buffers.commit_delay * 1000), "rows": buffers.channel + buffers.commit_rows}]

    async def tell(instruments: Sequence[Instrument]) -> None:
        if window:
            log.info("a crash loses at most", **window.pop())
        await describe(instruments)

    return tell
