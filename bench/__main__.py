"""Measure, print the tables, and with ``--write`` put them into ``bench/RESULTS.md``; see ``--help``."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import parts, peers, report
from bench.cases import Bench, say
from bench.server import ROOT, load_server

RESULTS = Path(__file__).with_name("RESULTS.md")
NOTES = """\
Each case runs in a fresh process on the first core, against a load server on the last one: Binance's frames with
contiguous ids, prepared as bytes. The cases take turns, round after round; the tables tell medians and (least to most).
On a machine with other work the figures move by a third from run to run; the ratios, of neighbours in one round, are
what counts. CPU counts all threads of the client."""
QUICK = {"rounds": 1, "messages": 20_000, "stall": 1.0, "rows": 200_000}


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the speed of trioagg.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all, or some of: {' '.join(parts.NAMES)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each case runs (%(default)s)")
    parser.add_argument("--messages", type=int, default=400_000, help="per run at full speed (%(default)s)")
    parser.add_argument("--symbols", type=int, default=50, help="markets (%(default)s)")
    parser.add_argument("--stall", type=float, default=60.0, help="seconds without a store (%(default)s)")
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the large file (%(default)s)")
    known = " ".join(peers.names())
    parser.add_argument("--peers", nargs="*", metavar="NAME", default=peers.names(), help=f"all, or some of: {known}")
    parser.add_argument("--quick", action="store_true", help="one small round of each, to see that all works")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {RESULTS.relative_to(ROOT)}")
    chosen = parser.parse_args(words)
    for strange in {*chosen.parts} - {*parts.NAMES} | {*chosen.peers} - {*peers.names()}:
        parser.error(f"unknown: {strange}")
    if chosen.write and chosen.parts:
        parser.error("--write wants all parts")
    vars(chosen).update(QUICK if chosen.quick else {})
    return chosen


def measure(bench: Bench, names: Sequence[str]) -> str:
    """The aims, and the tables of some parts."""
    sections = []
    for name in names:
        say(f"== {name}")
        try:
            sections.append(parts.measure(name, bench))
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            sections.append(report.Section(name, [f"**This part failed**, at `{error.cmd[3]}`."]))
    whole = [f"## Aims\n\n{report.aims(sections)}"] if any(section.aims for section in sections) else []
    return "\n\n".join([*whole, *(section.text for section in sections), *_peers(bench)])


def _peers(bench: Bench) -> list[str]:
    """Which peers there were, and which not."""
    there = [(name, peers.load(name)) for name in bench.used]
    lines = [
        f"- {name}: {', '.join(peer.PINS)}, Python {peer.PYTHON or 'as ours'}" for name, peer in there if peer.PINS
    ]
    lines += [f"- {name} is left out: {reason}" for name, reason in bench.left_out.items()]
    return ["## Peers\n\n" + "\n".join(lines)] if lines else []


def main(words: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    chosen, began = arguments(words), time.monotonic()
    about = report.about(shlex.join(["python", "-m", "bench", *(sys.argv[1:] if words is None else words)]))
    with load_server() as server:
        bench = Bench(
            server=server,
            rounds=chosen.rounds,
            messages=chosen.messages,
            symbols=chosen.symbols,
            stall=chosen.stall,
            rows=chosen.rows,
            wanted=chosen.peers,
        )
        found = measure(bench, chosen.parts or parts.NAMES)
    about += f"\n- {(time.monotonic() - began) / 60:.0f} minutes, load {os.getloadavg()[0]:.1f} at the end"
    text = f"# Results\n\n{about}\n\n{NOTES}\n\n{found}\n"
    sys.stdout.write(text)
    if chosen.write:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
