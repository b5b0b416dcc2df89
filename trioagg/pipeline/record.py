"""The recorder: takes captures from its flow and appends them to files, in a thread of its own."""

from __future__ import annotations

from pathlib import Path

import structlog
import trio

from trioagg.errors import StoreError
from trioagg.pipeline.flow import Outlet
from trioagg.transport.capture import Captured, Recorder

log = structlog.get_logger(__name__)

LINES = 10_000
"""Lines written at a time at the most."""


async def record(outlet: Outlet[Captured], folder: Path, failures: list[str]) -> None:
    """Write until the flow ends, then complete the files.

    A folder that cannot be written to ends the recording, not the collecting; ``failures`` is told.
    """
    recorder = Recorder(folder)
    limiter = trio.CapacityLimiter(1)
    lines: list[Captured] = []
    try:
        while True:
            lines = await outlet.take(LINES)
            await trio.to_thread.run_sync(recorder.write, lines, limiter=limiter)
            lines = []
    except trio.EndOfChannel:
        pass
    except StoreError as error:
        log.error("recording ended", reason=str(error))
        failures.append(str(error))
        lines = []
        await _discard(outlet)
    finally:
        if unwritten := len(lines) + outlet.gauge.waiting:
            failures.append(f"{unwritten} lines were not written to {folder}")
        _complete(recorder, failures)


def _complete(recorder: Recorder, failures: list[str]) -> None:
    try:
        recorder.close()
    except StoreError as error:
        log.error("a capture could not be completed", reason=str(error))
        failures.append(str(error))


async def _discard(outlet: Outlet[Captured]) -> None:
    try:
        while True:
            await outlet.take(LINES)
    except trio.EndOfChannel:
        pass
