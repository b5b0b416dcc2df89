"""The run that is soaked: ``python -m bench.collector SETTINGS`` collects like ``trioagg run`` and tells its figures.

``Collector`` keeps such a process up, whatever ends it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import trio
from attrs import asdict, define, field

from bench.server import ROOT
from trioagg import logs
from trioagg.pipeline.run import Job, run
from trioagg.settings import load

EVERY = 0.5
"""Seconds between two tellings."""
GOODBYE = 30.0
"""Seconds for a clean end."""
KILOBYTE = 1 if sys.platform == "darwin" else 1024


@define
class Figures:
    """What a process needs.

    Attributes:
        peak: bytes of memory at the most.
        handles: open files.
        tasks: of Trio.
    """

    peak: int = 0
    handles: int = 0
    tasks: int = 0

    def most(self, other: Figures) -> None:
        """Take what is larger."""
        self.peak = max(self.peak, other.peak)
        self.handles = max(self.handles, other.handles)
        self.tasks = max(self.tasks, other.tasks)


@define(eq=False)
class Collector:
    """Holds one process at a time.

    Attributes:
        config: its settings.
        most: the most that any of them needed.
        asked: the signal that the one that is there should end by.
        failures: of those that ended otherwise, a line each.
    """

    config: Path
    process: trio.Process | None = None
    most: Figures = field(factory=Figures)
    asked: signal.Signals | None = None
    failures: list[str] = field(factory=list)

    async def keep(self) -> None:
        """Start it again whenever it ends, until cancelled; then it is dead."""
        while True:
            command = [sys.executable, "-m", "bench.collector", str(self.config)]
            with self.config.with_suffix(".log").open("ab") as told:
                self.process = await trio.lowlevel.open_process(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=told)
            try:
                await self._listen(self.process)
                self._judge(await self.process.wait())
            finally:
                self.process.kill()
                with trio.CancelScope(shield=True):
                    await self.process.wait()

    async def stop(self) -> None:
        """A clean end of the one that is there; the next one starts at once."""
        if process := self.process:
            self.send(signal.SIGTERM)
            with trio.move_on_after(GOODBYE) as patience:
                await process.wait()
            if patience.cancelled_caught:
                self.failures.append(f"the run did not end within {GOODBYE:g} s")

    def send(self, what: signal.Signals) -> None:
        """Send a signal to the one that is there."""
        if self.process and self.process.returncode is None:
            self.asked = what if what in (signal.SIGTERM, signal.SIGKILL) else self.asked
            self.process.send_signal(what)

    async def _listen(self, process: trio.Process) -> None:
        assert process.stdout is not None
        async with process.stdout:
            rest = b""
            async for data in process.stdout:
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self.most.most(Figures(**json.loads(line)))

    def _judge(self, code: int) -> None:
        expected = -signal.SIGKILL if self.asked is signal.SIGKILL else 0
        if self.asked is None or code not in (expected, -signal.SIGKILL):
            self.failures.append(f"the run ended with {code}, asked by {self.asked.name if self.asked else 'nobody'}")
        self.asked = None


async def collect(config: Path) -> int:
    """Collect until a signal; the exit code of ``trioagg run``."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tell)
        outcome = await run(Job(load(file=config, environment={})))
        nursery.cancel_scope.cancel()
    return int(bool(outcome.problems))


async def _tell() -> None:
    while True:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE
        tasks = trio.lowlevel.current_statistics().tasks_living
        figures = Figures(peak, len(os.listdir("/dev/fd")), tasks)  # noqa: PTH208  (names are counted, no paths needed)
        sys.stdout.write(json.dumps(asdict(figures)) + "\n")
        sys.stdout.flush()
        await trio.sleep(EVERY)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # until the run listens for them
    logs.configure()
    sys.exit(trio.run(collect, Path(sys.argv[1])))
