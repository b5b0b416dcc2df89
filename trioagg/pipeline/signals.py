"""Ctrl-C and SIGTERM: the first ends those who produce, the second ends everything. SIGHUP asks for a change.

From a terminal SIGHUP means that the terminal was closed, and is one of those that end the run.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import trio
from attrs import field, frozen

from trioagg.errors import bare

log = structlog.get_logger(__name__)

HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)


@frozen
class Stop:
    """What signals cancel.

    Attributes:
        receiving: by the first signal: nothing more is received, what was is stored.
        everything: by the second signal.
    """

    receiving: trio.CancelScope = field(factory=trio.CancelScope)
    everything: trio.CancelScope = field(factory=trio.CancelScope)


@asynccontextmanager
async def stopping() -> AsyncIterator[Stop]:
    """Listen for signals while the block lasts; outside the main thread, where none can be received, do nothing.

    One of our errors that ends the block comes out bare.
    """
    stop = Stop()
    with bare():
        if threading.current_thread() is not threading.main_thread():
            yield stop
            return
        with trio.open_signal_receiver(*_signals()) as signals, _released(*_signals()):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_obey, signals, stop)
                yield stop
                nursery.cancel_scope.cancel()


async def at_hangups(do: Callable[[], None]) -> None:
    """Do it at each SIGHUP, where that is no terminal's end, and can be received."""
    main = threading.current_thread() is threading.main_thread()
    if HANGUP is None or HANGUP in _signals() or not main:
        return
    with trio.open_signal_receiver(HANGUP) as signals, _released(HANGUP):
        async for _ in signals:
            do()


async def _obey(signals: AsyncIterator[int], stop: Stop) -> None:
    async for number in signals:
        name = signal.Signals(number).name
        if stop.receiving.cancel_called:
            log.error("second signal: stopping at once", signal=name)
            stop.everything.cancel()
        else:
            log.info("stopping: storing what was received", signal=name)
            stop.receiving.cancel()


@contextmanager
def _released(*signals: signal.Signals) -> Iterator[None]:
    """Let signals through that were held back until now, and hold them again afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signals() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGBREAK")  # SIGBREAK: Windows, where SIGTERM never comes
    found = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [*found, HANGUP] if HANGUP and sys.stdin and sys.stdin.isatty() else found
