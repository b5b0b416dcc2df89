"""``trioagg simulate``: the built-in exchange by itself, until a signal ends it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

from trioagg.errors import SettingsError, bare
from trioagg.simulator.server import serve


async def serve_until_signal(
    *,
    host: str,
    port: int,
    exchanges: Sequence[str],
    symbols: Sequence[str],
    rate: float | None,
    seed: int,
    faults: Sequence[str],
    capture: Path | None,
) -> None:
    """Serve, and print one line per exchange with its addresses once it can be reached.

    Raises:
        SettingsError: something asked for cannot be, such as a port that is taken.
    """
    play = partial(
        serve, exchanges=exchanges, symbols=symbols, rate=rate, seed=seed, faults=faults, host=host, port=port
    )
    with bare(), trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            try:
                started = await nursery.start(partial(play, capture=str(capture) if capture else None))
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or "no such host"
                raise SettingsError(f"--host, --port: cannot listen on {host[:80]!r}, {port}: {reason}") from None
            for name, urls in started.items():
                print(f"{name} REST {urls.rest} WebSocket {urls.ws}", flush=True)
            await anext(aiter(signals))
            nursery.cancel_scope.cancel()
