"""Measure, print the tables, and with ``--write`` put them into ``bench/RESULTS.md``; see ``--help``."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

from bench import report
from bench.figures import Figures, Load
from bench.server import ROOT, load_server

RESULTS = Path(__file__).with_name("RESULTS.md")
SLOW = 8  # the naive loops take so many times fewer messages
NOTES = f"""\
Each case runs in a fresh process on the first core, against a load server on the last one that is faster than any of
them: Binance `trade` frames of some 170 bytes with contiguous ids. The cases take turns, round after round; the tables
tell medians and (least to most). On a machine with other work the figures move by a third from run to run; the ratios,
of neighbours in one round, are what counts. All cases make the same event; the floor checks nothing, ours checks
everything. The naive loops get 1/{SLOW} of the messages. CPU counts all threads of the client.
"""
STAGES = """\
Measured in one thread on batches as large as a transaction, without sockets; the events live until they are stored.
"""


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the speed of trioagg.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each case runs (%(default)s)")
    parser.add_argument("--messages", type=int, default=400_000, help="per run at full speed (%(default)s)")
    parser.add_argument("--symbols", type=int, default=50, help="markets, up to 100 (%(default)s)")
    parser.add_argument("--rate", type=int, default=10_000, help="messages a second of the live feed (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 40,000 messages, to see that all works")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {RESULTS.relative_to(ROOT)}")
    chosen = parser.parse_args(words)
    if chosen.quick:
        chosen.rounds, chosen.messages = 2, 40_000
    return chosen


def child(case: str, load: Load) -> Any:
    """What a fresh process measures."""
    numbers = map(str, (load.symbols, load.messages, load.rate))
    command = [sys.executable, "-m", "bench.child", case, load.server, *numbers]
    return json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)  # noqa: S603  (our own words)


def rounds(loads: dict[str, Load], count: int) -> dict[str, list[Figures]]:
    """Every case, one after the other, as often as asked."""
    found: dict[str, list[Figures]] = {case: [] for case in loads}
    for number in range(count):
        for case, load in loads.items():
            found[case].append(Figures(**child(case, load)))
            say(f"round {number + 1}: {case} {found[case][-1].rate:,.0f}/s")
    return found


def say(progress: str) -> None:
    """Tell a person who waits."""
    sys.stderr.write(f"{progress}\n")


def measure(server: str, chosen: argparse.Namespace) -> str:
    """All tables."""
    full = Load(server, chosen.symbols, chosen.messages)
    fewer = evolve(full, messages=max(1, chosen.messages // SLOW))
    live = evolve(full, messages=max(1, chosen.messages // SLOW), rate=chosen.rate)
    loads = {"floor": full, "our event": full, "naive event": fewer, "our row": full, "naive row": fewer}
    speed = rounds(loads, chosen.rounds)
    say("stages")
    parts = [child("stages", evolve(full, messages=max(1, chosen.messages // 4))) for _ in range(chosen.rounds)]
    say("live feed")
    paced = rounds({"our row": live, "naive row": live}, chosen.rounds)
    return "\n\n".join(
        [
            f"## As fast as it goes, {chosen.symbols} symbols\n\n{report.throughput(speed)}",
            report.ratios(speed),
            f"## Our line by stages\n\n{STAGES}\n{report.stages(parts)}",
            f"## A live feed: one frame per read, {chosen.rate:,} a second\n\n{report.paced(paced)}",
        ]
    )


def main(words: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    chosen = arguments(words)
    about = report.about(shlex.join(["python", "-m", "bench", *(sys.argv[1:] if words is None else words)]))
    with load_server() as server:
        text = f"# Results\n\n{about}\n\n{NOTES}\n{measure(server, chosen)}\n"
    sys.stdout.write(text)
    if chosen.write:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
