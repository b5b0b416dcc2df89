"""What many stored rows cost those who write and read."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from attrs import evolve

from bench.cases import Bench, Case
from bench.report import Aim, Section, spread, table

FEW = 10_000
EARLY = 100_000


def measure(bench: Bench) -> Section:
    """Fill a file, and look at it and at a small one."""
    with tempfile.TemporaryDirectory() as folder:
        files = {rows: str(Path(folder) / f"{rows}.db") for rows in (FEW, bench.rows)}
        rates = {
            rows: bench.one(Case("bench.ours.growth:fill", evolve(bench.load, messages=rows), (file,)))
            for rows, file in files.items()
        }[bench.rows]
        found = bench.turns({str(rows): _show(bench, file) for rows, file in files.items()}, bench.rounds)
        size = Path(files[bench.rows]).stat().st_size / bench.rows
    looks = [[one["seconds"] for one in found[str(rows)]] for rows in files]
    shown = [
        (f"`show trades` at {rows:,} rows", f"{spread(look, '.3f')} s") for rows, look in zip(files, looks, strict=True)
    ]
    written = [
        (f"rows a second {when}", f"{rates[key]:,.0f}")
        for when, key in ((f"at {EARLY:,} rows", "early"), (f"at {bench.rows:,} rows", "late"))
    ]
    aims = [
        Aim(f"`show` at {bench.rows:,} rows to {FEW:,}", 1.2, [many / few for few, many in zip(*looks, strict=True)]),
        Aim(f"write rate at {bench.rows:,} rows to {EARLY:,}", 0.8, [rates["late"] / rates["early"]], least=True),
    ]
    rows = [*written, *shown, ("bytes a row", f"{size:.0f}")]
    return Section("Rows stored", [table(("what", "found"), rows)], aims)


def _show(bench: Bench, file: str) -> Case:
    command = (sys.executable, "-m", "trioagg", "show", "trades", "--database", file, "--format", "json")
    return Case("bench.ours.commands:wait", bench.load, command)
