"""Ctrl-C and SIGTERM: the first ends those who produce, the second ends everything."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import trio
from attrs import field, frozen

from trioagg.errors import bare

log = structlog.get_logger(__name__)


@frozen
class Stop:
    """What signals cancel.

    Attributes:
        receiving: by the first signal: nothing more is received, what was is stored.
        everything: by the second signal.
    """

    receiving: trio.CancelScope = field(factory=trio.CancelScope)
    everything: trio.CancelScope = field(factory=trio.CancelScope)


async def obey(signals: AsyncIterator[int], stop: Stop) -> None:
    """Cancel by signals, until cancelled."""
    async for number in signals:
        name = signal.Signals(number).name
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
        with trio.open_signal_receiver(*_signals()) as signals, _released():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(obey, signals, stop)
                yield stop
                nursery.cancel_scope.cancel()


@contextmanager
def _released() -> Iterator[None]:
    """Let signals through that were held back until now, and hold them again afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, _signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signals() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGBREAK")  # SIGBREAK: Windows, where SIGTERM never comes
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
