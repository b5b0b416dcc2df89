"""The run that is soaked: ``python -m bench.collector SETTINGS`` collects like ``trioagg run --serve 0``.

It tells what it needs, and at its end its account. ``Collector`` keeps such a process up, whatever ends it.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import trio
from attrs import asdict, define, field

from bench.server import ROOT
from trioagg import logs
from trioagg.model import Nanos
from trioagg.pipeline.run import Job, run
from trioagg.settings import load

EVERY = 0.5
"""Seconds between two tellings."""
GOODBYE = 30.0
"""Seconds for a clean end."""
KILOBYTE = 1 if sys.platform == "darwin" else 1024
PAGES = Path("/proc/self/statm")
"""Where Linux tells the pages that are in memory."""


@define
class Figures:
    """What a process needs.

    Attributes:
        memory: bytes, where the system tells; else the most that there ever were.
        handles: open files.
        tasks: of Trio.
    """

    memory: int = 0
    handles: int = 0
    tasks: int = 0

    def most(self, other: Figures) -> None:
        """Take what is larger."""
        self.memory = max(self.memory, other.memory)
        self.handles = max(self.handles, other.handles)
        self.tasks = max(self.tasks, other.tasks)


@define(eq=False)
class Life:
    """What is known of one process.

    Attributes:
        began: when it did, nanoseconds UTC.
        course: what it needed, every half second.
        account: its last line, by name; empty while it runs, and where it was killed.
    """

    began: Nanos = field(factory=time.time_ns)
    course: list[Figures] = field(factory=list)
    account: dict[str, int] = field(factory=dict)


@define(eq=False)
class Collector:
    """Holds one process at a time.

    Attributes:
        config: its settings.
        life: of the one that is there.
        most: the most that any of them needed.
        asked: the signal that the one that is there should end by.
        failures: of those that ended otherwise, a line each.
    """

    config: Path
    process: trio.Process | None = None
    life: Life = field(factory=Life)
    most: Figures = field(factory=Figures)
    asked: signal.Signals | None = None
    failures: list[str] = field(factory=list)

    @property
    def log(self) -> Path:
        """What all of them logged."""
        return self.config.with_suffix(".log")

    @property
    def url(self) -> str:
        """Where the newest of them tells of itself."""
        urls: list[str] = re.findall(r"serving .*\burl=(\S+)", self.log.read_text(encoding="utf-8"))
        return urls[-1]

    async def keep(self) -> None:
        """Start it again whenever it ends, until cancelled; then it is dead."""
        while True:
            command = [sys.executable, "-m", "bench.collector", str(self.config)]
            self.life = Life()
            with self.log.open("ab") as told:
                self.process = await trio.lowlevel.open_process(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=told)
            try:
                await self._listen(self.process, self.life)
                self.judge(await self.process.wait())
            finally:
                self.process.kill()
                with trio.CancelScope(shield=True):
                    await self.process.wait()

    async def stop(self) -> Life:
        """A clean end of the one that is there, whose life it was; the next one starts at once."""
        process, life = self.process, self.life
        assert process is not None
        self.send(signal.SIGTERM)
        with trio.move_on_after(GOODBYE) as patience:
            await process.wait()
        if patience.cancelled_caught:
            self.failures.append(f"the run did not end within {GOODBYE:g} s")
        return life

    def send(self, what: signal.Signals) -> None:
        """Send a signal to the one that is there."""
        if self.process and self.process.returncode is None:
            self.asked = what if what in (signal.SIGTERM, signal.SIGKILL) else self.asked
            self.process.send_signal(what)

    async def _listen(self, process: trio.Process, life: Life) -> None:
        assert process.stdout is not None
        async with process.stdout:
            rest = b""
            async for data in process.stdout:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._learn(life, json.loads(line))

    def _learn(self, life: Life, told: dict[str, int]) -> None:
        if "memory" in told:
            life.course.append(Figures(**told))
            self.most.most(life.course[-1])
        else:
            life.account = told

    def judge(self, code: int) -> None:
        """Note an end that was not the one that was asked for."""
        expected = {-signal.SIGKILL} if self.asked is signal.SIGKILL else {0, -signal.SIGKILL}
        if self.asked and not self.life.course:  # it had not begun to hold signals back
            expected.add(-self.asked)
        if self.asked is None or code not in expected:
            self.failures.append(f"the run ended with {code}, asked by {self.asked.name if self.asked else 'nobody'}")
        self.asked = None


async def collect(config: Path) -> int:
    """Collect until a signal; the exit code of ``trioagg run``."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tell)
        outcome = await run(Job(load(file=config, environment={}), serve=("127.0.0.1", 0)))
        nursery.cancel_scope.cancel()
    _say(outcome.tally.counts())
    return int(bool(outcome.problems))


async def _tell() -> None:
    while True:
        handles = len(os.listdir("/dev/fd"))  # noqa: PTH208  (names are counted, no paths needed)
        _say(asdict(Figures(_memory(), handles, trio.lowlevel.current_statistics().tasks_living)))
        await trio.sleep(EVERY)


def _memory() -> int:
    with suppress(OSError):
        return int(PAGES.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE


def _say(told: Mapping[str, int]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # until the run listens for them
    logs.configure()
    sys.exit(trio.run(collect, Path(sys.argv[1])))
