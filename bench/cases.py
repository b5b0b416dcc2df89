"""A case is a process that measures one thing and prints its figures as JSON; cases that are compared take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from http.client import HTTPConnection
from types import ModuleType
from typing import Any

from attrs import asdict, define, evolve, field, frozen

from bench import peers
from bench.envs import LeftOut, python_for
from bench.figures import Figures, Load
from bench.server import ROOT, Address

PATIENCE = 900.0  # seconds for one case
TRIAL = 1000  # messages
HASTE = 90.0  # seconds for a trial


@frozen
class Case:
    """One case.

    Attributes:
        target: ``module:function``, called with the load and the words.
        python: the interpreter.
    """

    target: str
    load: Load
    words: tuple[str, ...] = ()
    python: str = sys.executable


@define
class Bench:
    """One run of the benchmark.

    Attributes:
        server: where the load comes from.
        rounds: how often each case runs.
        messages: per run of a fast case at full speed.
        symbols: markets.
        stall: seconds in which the store stands still.
        rows: of the large file.
        wanted: peers.
        left_out: those that cannot run here, and why.
        used: the interpreters of those that ran.
    """

    server: Address
    rounds: int
    messages: int
    symbols: int
    stall: float
    rows: int
    wanted: Iterable[str] = field(factory=peers.names)
    left_out: dict[str, str] = field(factory=dict)
    used: dict[str, str] = field(factory=dict)

    @property
    def fewer(self) -> int:
        """Rounds of what takes long."""
        return (self.rounds + 1) // 2

    @property
    def load(self) -> Load:
        """The standard one: trades as fast as they go."""
        return Load(self.server.plain, self.symbols, self.messages)

    def peer(self, name: str, what: str, load: Load) -> dict[str, Case]:
        """A peer's case under its name; none if the peer was not chosen or is left out, or has no such case."""
        module = peers.load(name)
        if name not in self.wanted or not hasattr(module, what) or not self._ready(name, module):
            return {}
        share = evolve(load, messages=load.messages if load.rate else max(1, load.messages // module.SLOW))
        return {f"{name} {what}": Case(f"{module.__name__}:{what}", share, python=self.used[name])}

    def _ready(self, name: str, module: ModuleType) -> bool:
        """Whether a peer can run; the first time that is asked, it is tried out."""
        if name not in self.used | self.left_out:
            say(f"trying {module.TITLE}")
            try:
                python = python_for(name, module)
                trial = Case(f"{module.__name__}:event", evolve(self.load, messages=TRIAL), python=python)
                self.one(trial, patience=HASTE)
            except LeftOut as reason:
                self.left_out[name] = str(reason)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
                self.left_out[name] = f"its first {TRIAL} messages did not come through"
            else:
                self.used[name] = python
        return name in self.used

    def one(self, case: Case, *, patience: float = PATIENCE) -> Any:
        """What a fresh process measures, within so many seconds."""
        self._prepare(case.load)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is compiled once, not at each start
        if case.load.scheme == "wss":
            environment["SSL_CERT_FILE"] = self.server.trust
        command = [case.python, "-m", "bench.child", case.target, json.dumps(asdict(case.load)), *case.words]
        with tempfile.TemporaryDirectory() as folder:  # some libraries leave files where they are
            found = subprocess.run(  # noqa: S603  (our own words)
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True, timeout=patience
            )
        return json.loads(found.stdout.splitlines()[-1])

    def _prepare(self, load: Load) -> None:
        """Have the server make a load's frames, so that no case waits for that."""
        with closing(HTTPConnection(self.server.plain)) as connection:
            connection.request("GET", load.ws.partition(load.server)[2] + "/api/v3/time")
            connection.getresponse().read()

    def turns(self, cases: Mapping[str, Case], rounds: int) -> dict[str, list[Any]]:
        """Every case, one after the other, as often as asked: A B A B."""
        found: dict[str, list[Any]] = {name: [] for name in cases}
        for number in range(rounds):
            for name, case in cases.items():
                found[name].append(self.one(case))
                figures = ", ".join(f"{what} {value:.4g}" for what, value in found[name][-1].items())
                say(f"round {number + 1}: {name}: {figures}")
        return found

    def figures(self, cases: Mapping[str, Case], rounds: int) -> dict[str, list[Figures]]:
        """The same, of cases that take messages."""
        return {name: [Figures(**one) for one in found] for name, found in self.turns(cases, rounds).items()}


def say(progress: str) -> None:
    """Tell a person who waits."""
    sys.stderr.write(f"{progress}\n")
