"""What befalls the soaked process and its database."""

from __future__ import annotations

import resource
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import trio

from bench.collector import Collector
from bench.walk import Step

SLACK = 20_000
"""Bytes that its log may still grow by while it may write no larger file: the database and its journal are larger."""


async def strike(step: Step, collector: Collector, file: Path) -> None:
    """Do what a step says, as long as it says.

    Args:
        file: the database, which need not be there yet.
    """
    match step.name:
        case "SIGTERM" | "SIGKILL":
            collector.send(signal.Signals[step.name])
        case "SIGSTOP":
            collector.send(signal.SIGSTOP)
            await _then(step, partial(collector.send, signal.SIGCONT))
        case "locked" if await trio.Path(file).exists():
            with closing(sqlite3.connect(file, isolation_level=None, timeout=0)) as other:
                await _hold(other, step)
        case "EIO" if hasattr(resource, "prlimit") and (process := collector.process):
            _limit(process, collector.log.stat().st_size + SLACK)
            await _then(step, partial(_limit, process, resource.RLIM_INFINITY))


async def _then(step: Step, end: Callable[[], object]) -> None:
    try:
        await trio.sleep(step.lasting)
    finally:
        end()


async def _hold(other: sqlite3.Connection, step: Step) -> None:
    """Hold the database, unless somebody writes just now."""
    for _ in range(20):
        try:
            other.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            await trio.sleep(0.02)
        else:
            await _then(step, partial(other.execute, "ROLLBACK"))
            return


def _limit(process: trio.Process, size: int) -> None:
    """Let a process write no file beyond this size; it may have ended."""
    with suppress(ProcessLookupError):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
