"""A run in several processes, each with a share of the exchanges, all of them into the same stores.

::

    signals                       first: every worker is told to stop; second: to end at once
    └── root
        ├── simulator             with --simulated only: the far end of all workers, in this process
        ├── display               reads the database
        └── workers               one task per process, under a supervisor

A process is a task: it ends before its nursery does, and when the task is cancelled it is killed. One that dies is
started again as a feed is; what it stored is stored, and the connections that it left open are known for killed.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
import trio
from attrs import define, evolve, field

from trioagg.errors import LinkError, SettingsError
from trioagg.pipeline.account import account
from trioagg.pipeline.display import Display
from trioagg.pipeline.feeds import Lacks, Roll, check_channels
from trioagg.pipeline.run import Job
from trioagg.pipeline.signals import Stop, stopping
from trioagg.pipeline.simulated import simulated
from trioagg.pipeline.storing import open_stores
from trioagg.pipeline.supervise import supervise
from trioagg.pipeline.tally import Outcome
from trioagg.pipeline.worker import NOW, REREAD, STOP, Account, Begun, Lacking, Refused, Telling, decoder
from trioagg.settings import Settings, Shard
from trioagg.sinks import solitary
from trioagg.transport.backoff import Attempts, Backoff

log = structlog.get_logger(__name__)

OVERTIME = 5.0
"""Seconds that workers may take to end at once, before they are killed."""

if sys.platform == "win32":
    APART: Mapping[str, Any] = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
else:
    APART: Mapping[str, Any] = {"process_group": 0}
"""Out of reach of the terminal's Ctrl-C, which is for the parent: it says once what is meant."""


def size(settings: Settings) -> int:
    """How many workers there are to be; an exchange is never divided."""
    return min(settings.run.workers, len(settings.exchanges))


async def lead(job: Job, command: Sequence[str]) -> Outcome:
    """Run workers until the duration is over or a signal comes, and account for all of them together.

    Args:
        command: starts the same run; a worker is told by ``--worker K/N`` behind it which it is.

    Raises:
        SettingsError, StoreError: before anything was collected, or when a symbol turned out to be unknown everywhere.
    """
    settings, outcome = job.settings, Outcome()
    check_channels(settings)
    check_workers(job)
    async with stopping() as stop:
        async with open_stores(settings):
            pass  # what cannot be is told once, and the tables are made once
        await _lead(job, command, outcome, stop)
        account(outcome, job.database)
    return outcome


def check_workers(job: Job) -> None:
    """Refuse what several processes cannot do.

    Raises:
        SettingsError: naming it.
    """
    for store in job.settings.stores:
        if solitary(store.url):
            raise SettingsError(f"--workers: {store.name} takes one process only; leave it out, or the workers")
    if job.serve and job.serve[1] and job.serve[1] + size(job.settings) - 1 > 65535:
        raise SettingsError(f"--serve: {size(job.settings)} workers need as many ports from {job.serve[1]} on")


async def _lead(job: Job, command: Sequence[str], outcome: Outcome, stop: Stop) -> None:
    run = job.settings.run
    async with trio.open_nursery() as root:
        settings = await simulated(root, job.settings) if job.simulated else job.settings
        display = Display(job.database, run.exchanges, run.symbols)
        if job.display:
            root.start_soon(display.repeat, run.display_interval)
        async with trio.open_nursery() as nursery:
            crew = _crew(settings, command, outcome, stop, addresses=_addresses(settings) if job.simulated else {})
            for worker in crew:
                nursery.start_soon(worker.run, name=f"worker {worker.part}")
            if read := job.reread:
                stop.rereads.append(lambda: nursery.start_soon(_reread, read, crew, display))
            with stop.receiving:
                for worker in crew:
                    await worker.begun.wait()
                await trio.sleep(math.inf if job.duration is None else job.duration)
            await _dismiss(crew, stop, nursery)
        if job.display:
            await display.draw()
        root.cancel_scope.cancel()


def _crew(
    settings: Settings, command: Sequence[str], outcome: Outcome, stop: Stop, *, addresses: Mapping[str, str]
) -> list[Worker]:
    of, retry, lacks = size(settings), settings.retry, Roll(len(settings.run.exchanges)).lacks
    return [
        Worker(
            part=(part := Shard(number, of)),
            exchanges=evolve(settings, worker=part).exchanges,
            command=[*command, "--worker", str(part)],
            environment={**os.environ, **addresses},
            attempts=Attempts(Backoff(retry.reconnect_delay, retry.max_delay)),
            outcome=outcome,
            lacks=lacks,
            give_up=stop.receiving.cancel,
        )
        for number in range(1, of + 1)
    ]


async def _reread(read: Callable[[], Settings], crew: Sequence[Worker], display: Display) -> None:
    """Have everybody read the settings again, and show what they say; workers that find them wrong say so."""
    for worker in crew:
        await worker.order(REREAD)
    with suppress(SettingsError):
        display.show(read())


async def _dismiss(crew: Sequence[Worker], stop: Stop, nursery: trio.Nursery) -> None:
    """Tell everybody to stop; and, if that is what a second signal says, to do so at once."""
    for worker in crew:
        await worker.end(STOP)
    with stop.everything:
        for worker in crew:
            await worker.ended.wait()
    for worker in crew:
        await worker.end(NOW)
    nursery.cancel_scope.deadline = trio.current_time() + OVERTIME


def _addresses(settings: Settings) -> dict[str, str]:
    """Where the built-in exchange is, as the environment tells a worker's settings."""
    return {
        f"TRIOAGG_EXCHANGE_{name}_{key}".upper(): url
        for name, venue in settings.venues.items()
        for key, url in (("rest_url", venue.rest_url), ("ws_url", venue.ws_url))
        if url
    }


@define(eq=False)
class Worker:
    """One process, and the next one in its place.

    Attributes:
        part: which of the workers it is.
        exchanges: its share.
        outcome: where it is accounted for.
        lacks: told of symbols that an exchange does not have.
        give_up: ends the run, since others will fare no better.
        begun: whether its feeds began, for the first time.
        ended: whether it has ended for good.
    """

    part: Shard
    exchanges: Sequence[str]
    command: Sequence[str]
    environment: Mapping[str, str]
    attempts: Attempts
    outcome: Outcome
    lacks: Lacks
    give_up: Callable[[], None]
    begun: trio.Event = field(factory=trio.Event)
    ended: trio.Event = field(factory=trio.Event)
    _process: trio.Process | None = None
    _told: bool = False
    _lasting: trio.CancelScope = field(factory=trio.CancelScope)

    async def run(self) -> None:
        """Keep it running until it is told to end.

        Raises:
            SettingsError: it found that what the user wants cannot be.
        """
        structlog.contextvars.bind_contextvars(worker=str(self.part))
        try:
            with self._lasting:
                await supervise(self._live, self.attempts, hint=dict, again="starting the worker again")
        finally:
            self.begun.set()
            self.ended.set()

    async def end(self, order: bytes) -> None:
        """Tell it to end; between two processes it just ends."""
        self._told = True
        if self._process is None:
            self._lasting.cancel()
        else:
            await self.order(order)

    async def order(self, order: bytes) -> None:
        """Tell it something, if it is there to hear it."""
        if self._process and self._process.stdin:
            try:
                await self._process.stdin.send_all(order)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                log.debug("it has ended already")

    async def _live(self) -> None:
        process = await trio.lowlevel.open_process(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment, **APART
        )
        log.info("a worker is started", pid=process.pid, exchanges=", ".join(self.exchanges))
        self._process = process
        try:
            last = await self._listen(process)
            await process.wait()
        except trio.Cancelled:
            self._failed("it did not end in time and was killed")
            raise
        finally:
            self._process = None
            with trio.move_on_after(OVERTIME, shield=True):
                await _buried(process)
        self._judge(last, process.returncode or 0)
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _listen(self, process: trio.Process) -> Telling | None:
        """Hear it out; the last that it told."""
        assert process.stdout
        rest, last = b"", None
        async for some in process.stdout:
            *lines, rest = (rest + some).split(b"\n")
            for line in lines:
                self._hear(last := decoder.decode(line))
        return last

    def _hear(self, told: Telling) -> None:
        match told:
            case Begun():
                self.begun.set()
            case Lacking():
                self.lacks(told.exchange, told.symbol, told.message)
            case Refused():
                raise SettingsError(told.reason)
            case Account():
                self.outcome.add(told.outcome)

    def _failed(self, reason: str) -> None:
        self.outcome.failures.append(f"worker {self.part}: {reason}; what it had received is in no account")

    def _judge(self, last: Telling | None, code: int) -> None:
        """What its end means for the run.

        Raises:
            LinkError: it is to be started again.
        """
        if isinstance(last, Account):
            reason, hopeless = "it ended by itself", bool(last.outcome.problems)
        else:
            reason = f"it was killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with code {code}"
            self._failed(reason)
            hopeless = not self.begun.is_set()
        if hopeless or self._told:
            self._told = True
            self._lasting.cancel()
            self.give_up()
        else:
            raise LinkError(reason)


async def _buried(process: trio.Process) -> None:
    """Nothing is left of it."""
    if process.returncode is None:
        process.kill()
    await process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            await pipe.aclose()
