"""How long a person waits for short commands."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from attrs import evolve

from bench.cases import Bench, Case
from bench.report import Aim, Section, spread, table

ROWS = 1000
OURS = {"--help": ("--help",), "show --format json": ("show", "--format", "json"), "show": ("show",)}
AIMS = (("--help", "import typer", 2.0), ("show --format json", "import typer", 3.0), ("show", "import pandas", 1.3))


def measure(bench: Bench) -> Section:
    """Ours against the imports of what they need."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "start.db")
        bench.one(Case("bench.ours.growth:fill", evolve(bench.load, messages=ROWS, shape="bookTicker"), (file,)))
        commands = {name: ("-m", "trioagg", *words, *_where(words, file)) for name, words in OURS.items()}
        commands |= {name: ("-c", name) for name in ("import typer", "import pandas")}
        cases = {
            name: Case("bench.ours.commands:wait", bench.load, (sys.executable, *words))
            for name, words in commands.items()
        }
        for case in cases.values():
            bench.one(case)  # what is read for the first time comes from the disk
        found = bench.turns(cases, bench.rounds)
    rows = [
        (f"`{name}`", *(spread((one[what] for one in found[name]), ".3f") for what in ("seconds", "cpu")))
        for name in found
    ]
    aims = [
        Aim(
            f"`{ours}` to `python -c '{other}'`",
            bound,
            [a["seconds"] / b["seconds"] for a, b in zip(found[ours], found[other], strict=True)],
        )
        for ours, other, bound in AIMS
    ]
    return Section("Start-up", [table(("command", "s", "CPU s"), rows)], aims)


def _where(words: tuple[str, ...], file: str) -> tuple[str, ...]:
    return ("--database", file) if "show" in words else ()
