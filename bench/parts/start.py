"""How long a person waits for short commands."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from attrs import evolve

from bench.cases import Bench, Case
from bench.report import Aim, Section, spread, table

ROWS = 1000
FILE = "FILE"
COMMANDS = {
    "--help": ("-m", "trioagg", "--help"),
    "show --format json": ("-m", "trioagg", "show", "--format", "json", "--database", FILE),
    "show": ("-m", "trioagg", "show", "--database", FILE),
    "import typer": ("-c", "import typer"),
    "import pandas": ("-c", "import pandas"),
}
"""What Python is told; ``FILE`` is a database with tickers."""
AIMS = {
    ("--help", "import typer"): 2.0,
    ("show --format json", "import typer"): 3.0,
    ("show", "import pandas"): 1.3,
}


def measure(bench: Bench) -> Section:
    """Ours against the imports of what they need."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "start.db")
        bench.one(Case("bench.ours.growth:fill", evolve(bench.load, messages=ROWS, shape="bookTicker"), (file,)))
        cases = {name: _command(bench, words, file) for name, words in COMMANDS.items()}
        for case in cases.values():
            bench.one(case)  # what is read for the first time comes from the disk
        found = bench.turns(cases, bench.rounds)
    seconds = {name: [one["seconds"] for one in rounds] for name, rounds in found.items()}
    rows = [
        (f"`{name}`", spread(seconds[name], ".3f"), spread((one["cpu"] for one in rounds), ".3f"))
        for name, rounds in found.items()
    ]
    aims = [
        Aim(f"s, `{ours}` / `{other}`", bound, [a / b for a, b in zip(seconds[ours], seconds[other], strict=True)])
        for (ours, other), bound in AIMS.items()
    ]
    return Section("Start-up", [table(("command", "s", "CPU s"), rows)], aims)


def _command(bench: Bench, words: tuple[str, ...], file: str) -> Case:
    told = [file if word == FILE else word for word in words]
    return Case("bench.ours.commands:wait", bench.load, (sys.executable, *told))
