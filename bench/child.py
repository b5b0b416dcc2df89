"""One case in a process of its own: ``python -m bench.child CASE SERVER SYMBOLS MESSAGES RATE`` prints its figures."""

from __future__ import annotations

import json
import sys

import trio
from attrs import asdict

from bench import others, ours, stages
from bench.figures import Load
from bench.server import pin
from trioagg import logs
from trioagg.cli.collecting import collect_less_garbage

CASES = {
    "floor": others.floor,
    "our event": ours.our_event,
    "naive event": others.naive_event,
    "our row": ours.our_row,
    "naive row": others.naive_row,
}


def main(case: str, server: str, *numbers: str) -> None:
    """Measure one case."""
    pin(0)
    logs.configure(level="ERROR")
    collect_less_garbage()  # as the program does, for all cases alike
    symbols, messages, rate = map(int, numbers)
    if case == "stages":
        found = trio.run(stages.measure, symbols, messages)
    else:
        found = asdict(trio.run(CASES[case], Load(server, symbols, messages, rate)))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
