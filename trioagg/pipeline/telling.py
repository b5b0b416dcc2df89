"""Telling of alerts: one task for each road, a webhook and a command, that nobody waits for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

import structlog
import trio
from attrs import field, frozen

from trioagg.errors import LinkError
from trioagg.monitor.notices import Notice, body
from trioagg.settings import Alerts, veiled
from trioagg.transport.backoff import Backoff
from trioagg.transport.budget import Gate
from trioagg.transport.http import Http, Policy

log = structlog.get_logger(__name__)

WAITING = 100
"""Notices that may wait for one road; more are given up."""
TRIES = 3
"""Times that a notice is posted, within the time that it may take."""
BURST = 5
"""Posts that may follow each other at once; then one a second, which is what most hosts allow."""
AGAIN = Backoff(0.5, 5)
"""How long a host is left alone after a failure."""
GRACE = 0.5
"""Seconds that a command has to end by itself, once it has taken too long."""
FAREWELL = 5.0
"""Seconds at a stop in which what waits may still be told."""
PLAIN = 3
"""Letters of a part of a path that keep no secret: so few are found everywhere."""


@frozen
class Road:
    """One way to tell.

    Attributes:
        name: ``webhook`` or ``command``.
        shown: where it leads, as anybody may know it.
        tell: raises LinkError where it fails.
        seconds: that one notice may take.
    """

    name: str
    shown: str
    tell: Callable[[Notice], Awaitable[None]]
    seconds: float


@frozen
class Tellers:
    """Where notices go.

    Attributes:
        failed: by road, how many could not be told.
    """

    failed: Counter[str] = field(factory=Counter)
    _waiting: Counter[str] = field(factory=Counter)
    _inlets: dict[str, trio.MemorySendChannel[Notice]] = field(factory=dict)

    def put(self, notice: Notice) -> None:
        """Tell it by every road, soon; never waits."""
        for name, inlet in self._inlets.items():
            try:
                inlet.send_nowait(notice)
                self._waiting[name] += 1
            except trio.WouldBlock:
                self._lost(name, "too many wait")

    def open(self, nursery: trio.Nursery, road: Road) -> None:
        """Have a task that tells by one road."""
        self.failed[road.name] = 0
        self._inlets[road.name], outlet = trio.open_memory_channel[Notice](WAITING)
        nursery.start_soon(self._tell, road, outlet)

    def close(self) -> None:
        """Nothing more comes."""
        for inlet in self._inlets.values():
            inlet.close()

    def settle(self) -> None:
        """Nothing more is told; say what was not."""
        for name in self._waiting.elements():
            self._lost(name, "the run is over")

    async def _tell(self, road: Road, notices: trio.MemoryReceiveChannel[Notice]) -> None:
        async for notice in notices:
            reason = f"not done in {road.seconds:g} s"
            with trio.move_on_after(road.seconds):
                try:
                    await road.tell(notice)
                except LinkError as error:
                    reason = str(error)
                else:
                    reason = ""
            self._waiting[road.name] -= 1
            if reason:
                self._lost(road.name, reason, to=road.shown)

    def _lost(self, name: str, reason: str, **more: str) -> None:
        self.failed[name] += 1
        log.error("an alert could not be told", road=name, reason=reason, **more)


@asynccontextmanager
async def telling(alerts: Alerts, http: Http) -> AsyncIterator[Tellers]:
    """Those who tell, while the block lasts; what waits at its end has a short time."""
    tellers = Tellers()
    async with trio.open_nursery() as nursery:
        for road in roads_of(alerts, http):
            tellers.open(nursery, road)
        yield tellers
        tellers.close()
        nursery.cancel_scope.deadline = trio.current_time() + FAREWELL
    tellers.settle()


def roads_of(alerts: Alerts, http: Http) -> list[Road]:
    """Those that the settings name."""
    roads = []
    if alerts.webhook:
        gate = Gate(weight=BURST, window=BURST, min_delay=0, backoff=AGAIN)
        post = partial(_post, http, gate, alerts)
        roads.append(Road("webhook", veiled(alerts.webhook), post, alerts.timeout))
    if alerts.command:
        roads.append(Road("command", alerts.command[0], partial(_run, alerts.command), alerts.timeout))
    return roads


async def _post(http: Http, gate: Gate, alerts: Alerts, notice: Notice) -> None:
    """Post it.

    Raises:
        LinkError: it was not taken; says nothing of the address but the host.
    """
    try:
        await http.fetch(
            alerts.webhook, gate=gate, body=body(notice, alerts.webhook_form), policy=Policy(attempts=TRIES)
        )
    except LinkError as error:
        raise LinkError(_discreet(str(error), alerts.webhook)) from None


def _discreet(reason: str, url: str) -> str:
    """A reason without what is secret of an address: servers like to repeat the path that they do not know."""
    parts = urlsplit(url)
    secrets = [
        part for text in (parts.path, parts.query) for part in text.replace("=", "&").replace("/", "&").split("&")
    ]
    for secret in sorted((part for part in secrets if len(part) > PLAIN), key=len, reverse=True):
        reason = reason.replace(secret, "...")
    return reason


async def _run(command: tuple[str, ...], notice: Notice) -> None:
    """Run it with the notice on its standard input; what it prints of errors goes where ours go.

    Raises:
        LinkError: it cannot be run, or its exit status is not 0.
    """
    given = body(notice, "json").encode()
    run = partial(trio.run_process, stdin=given, stdout=subprocess.DEVNULL, check=False, deliver_cancel=_end)
    try:
        done = await run(command, start_new_session=True)  # so that a Ctrl-C is ours alone
    except OSError as error:
        raise LinkError(error.strerror or str(error)) from None
    if done.returncode:
        raise LinkError(f"exit status {done.returncode}")


async def _end(process: trio.Process) -> None:
    """End a command that takes too long, and whatever it has started."""
    if not hasattr(os, "killpg"):
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with trio.move_on_after(GRACE):
            await process.wait()
        os.killpg(process.pid, signal.SIGKILL)
