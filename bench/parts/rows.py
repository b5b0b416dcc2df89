"""What many stored rows cost those who write and read."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from attrs import evolve

from bench.cases import Bench, Case, say
from bench.report import Aim, Section, spread, table

FEW = 10_000
EARLY = 100_000


def measure(bench: Bench) -> Section:
    """Fill a file, and look at it and at a small one."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = (str(Path(folder) / name) for name in ("small.db", "large.db"))
        _fill(bench, FEW, small)
        rates = _fill(bench, bench.rows, large)
        size = Path(large).stat().st_size / bench.rows
        found = bench.turns({"few": _show(bench, small), "many": _show(bench, large)}, bench.rounds)
    few, many = ([one["seconds"] for one in found[name]] for name in ("few", "many"))
    rows = [
        (f"rows a second, written at {EARLY:,}", f"{rates['early']:,.0f}"),
        (f"rows a second, written at {bench.rows:,}", f"{rates['late']:,.0f}"),
        (f"s for `show trades` at {FEW:,}", spread(few, ".3f")),
        (f"s for `show trades` at {bench.rows:,}", spread(many, ".3f")),
        ("bytes a row", f"{size:.0f}"),
    ]
    looks = [late / early for early, late in zip(few, many, strict=True)]
    aims = [
        Aim(f"`show trades` at {bench.rows:,} rows / at {FEW:,}", 1.2, looks),
        Aim(f"write rate at {bench.rows:,} rows / at {EARLY:,}", 0.8, [rates["late"] / rates["early"]], least=True),
    ]
    return Section("Rows stored", [table(("what", "found"), rows)], aims)


def _fill(bench: Bench, rows: int, file: str) -> dict[str, float]:
    say(f"writing {rows:,} rows")
    rates: dict[str, float] = bench.one(Case("bench.ours.growth:fill", evolve(bench.load, messages=rows), (file,)))
    return rates


def _show(bench: Bench, file: str) -> Case:
    command = (sys.executable, "-m", "trioagg", "show", "trades", "--database", file, "--format", "json")
    return Case("bench.ours.commands:wait", bench.load, command)
