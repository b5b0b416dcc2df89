"""Ctrl-C and SIGTERM: the first ends those who produce, the second ends everything. SIGUSR1 asks what goes on.

SIGHUP asks for another look at the settings; from a terminal it means that this was closed, and ends the run.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import trio
from attrs import field, frozen

from trioagg.errors import bare
from trioagg.pipeline.flow import Gauge
from trioagg.pipeline.tree import tell

log = structlog.get_logger(__name__)

ASKS = "SIGUSR1"
"""The signal that asks for the tree of tasks; Windows has none."""
AGAIN = "SIGHUP"
"""The one that asks for another look at the settings; nor that."""


@frozen
class Stop:
    """What signals cancel.

    Attributes:
        receiving: by the first signal: nothing more is received, what was is stored.
        everything: by the second signal.
        gauges: of the channels that are told of, beside the tasks, to whoever asks.
        rereads: what to do when the settings are to be read again.
    """

    receiving: trio.CancelScope = field(factory=trio.CancelScope)
    everything: trio.CancelScope = field(factory=trio.CancelScope)
    gauges: list[Gauge] = field(factory=list)
    rereads: list[Callable[[], None]] = field(factory=list)

    def reread(self) -> None:
        """Read the settings again."""
        for reread in self.rereads:
            reread()


def answered(number: int, stop: Stop) -> bool:
    """Do what a signal asks for; False where it asks for nothing but the end."""
    name = signal.Signals(number).name
    if name == ASKS:
        tell(stop.gauges)
    elif name == AGAIN and not (sys.stdin and sys.stdin.isatty()):
        stop.reread()
    else:
        return False
    return True


async def obey(signals: AsyncIterator[int], stop: Stop) -> None:
    """Cancel by signals, until cancelled."""
    async for number in signals:
        name = signal.Signals(number).name
        if answered(number, stop):
            continue
        if stop.receiving.cancel_called:
            log.error("second signal: stopping at once", signal=name)
            stop.everything.cancel()
        else:
            log.info("stopping: storing what was received", signal=name)
            stop.receiving.cancel()


@asynccontextmanager
async def stopping(
    obey: Callable[[AsyncIterator[int], Stop], Awaitable[None]] = obey,
) -> AsyncIterator[Stop]:
    """Listen for signals while the block lasts; outside the main thread, where none can be received, do nothing.

    One of our errors that ends the block comes out bare.

    Args:
        obey: does what they say.
    """
    stop = Stop()
    with bare():
        if threading.current_thread() is not threading.main_thread():
            yield stop
            return
        with trio.open_signal_receiver(*heeded()) as signals, _released():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(obey, signals, stop, name="signals")
                yield stop
                nursery.cancel_scope.cancel()


@contextmanager
def _released() -> Iterator[None]:
    """Let signals through that were held back until now, and hold them again afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, heeded())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heeded() -> list[signal.Signals]:
    """The signals that a run listens for, of those that this system has."""
    names = ("SIGINT", "SIGTERM", "SIGBREAK", ASKS, AGAIN)  # SIGBREAK: Windows, where SIGTERM never comes
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
