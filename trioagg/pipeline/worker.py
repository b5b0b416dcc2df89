"""A run as one of several processes: it obeys the one that started it, and tells it what became of what it received.

Orders come on standard input, a byte each; its end means that nobody is left to give any. What is told goes to standard
output, a JSON object a line.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import msgspec
import structlog
import trio
from attrs import evolve

from trioagg.errors import SettingsError
from trioagg.pipeline.account import account
from trioagg.pipeline.run import Job, collect
from trioagg.pipeline.signals import Stop, answered, stopping
from trioagg.pipeline.tally import Outcome
from trioagg.settings import Settings, Shard

STOP, NOW, REREAD = b"s", b"n", b"r"
"""Orders: store what was received and end; end at once; read the settings again."""


class Begun(msgspec.Struct, tag=True):
    """Its feeds begin."""


class Lacking(msgspec.Struct, tag=True):
    """An exchange has no such symbol, and how that is said."""

    exchange: str
    symbol: str
    message: str


class Refused(msgspec.Struct, tag=True):
    """What was asked for cannot be: the user must mend it."""

    reason: str


class Account(msgspec.Struct, tag=True):
    """How it ended; the last that it tells."""

    outcome: Outcome


Telling = Begun | Lacking | Refused | Account
decoder = msgspec.json.Decoder(Telling)


def share(job: Job, part: Shard) -> Job:
    """A worker's part of a run: the parent shows it, ends it, and plays the far end; each serves on its own port."""
    host, port = job.serve or ("", 0)
    serve = job.serve and (host, port + part.number - 1 if port else 0)
    settings, read = _of(job.settings, part), job.reread
    reread = (lambda: _of(read(), part)) if read else None
    return evolve(job, settings=settings, reread=reread, simulated=False, duration=None, display=False, serve=serve)


def _of(settings: Settings, part: Shard) -> Settings:
    """A worker's settings; the disk is watched by the first one alone, since they have it in common."""
    run = settings.run if part.number == 1 else evolve(settings.run, min_free_disk=0.0)
    return evolve(settings, run=run, worker=part)


async def work(job: Job) -> Outcome:
    """Collect until told to stop, and tell the account; where nobody listens any more, log it."""
    structlog.contextvars.bind_contextvars(worker=str(job.settings.worker))
    outcome = Outcome()
    try:
        async with stopping(_heed) as stop:
            with stop.everything:
                await collect(job, outcome, stop, lacks=_lacks, begun=lambda: tell(Begun()))
    except SettingsError as error:
        tell(Refused(str(error)))
        return Outcome(failures=[str(error)])
    try:
        tell(Account(outcome))
    except BrokenPipeError:
        account(outcome, job.database)
    return outcome


def tell(told: Telling) -> None:
    """Write one line: short enough for a pipe to take it whole.

    Raises:
        BrokenPipeError: nobody listens any more.
    """
    os.write(1, msgspec.json.encode(told) + b"\n")


def _lacks(exchange: str, symbol: str, message: str) -> None:
    """Others may have it: who knows all of them is told."""
    tell(Lacking(exchange, symbol, message))


async def _heed(signals: AsyncIterator[int], stop: Stop) -> None:
    """Any number of signals stops as the first does: the parent gets them too, and says so when it means more."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_obey, stop)
        async for number in signals:
            if not answered(number, stop):
                stop.receiving.cancel()


async def _obey(stop: Stop) -> None:
    while order := await trio.to_thread.run_sync(os.read, 0, 1, abandon_on_cancel=True):
        if order == REREAD:
            stop.reread()
        else:
            (stop.everything if order == NOW else stop.receiving).cancel()
    stop.receiving.cancel()
