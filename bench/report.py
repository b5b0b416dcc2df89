"""The tables: medians, ranges and ratios in plain Markdown."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bench.figures import Figures

Rounds = Sequence[Figures]
LIBRARIES = "trio trio-websocket wsproto msgspec attrs httpx".split()
RATIOS = {
    "ours / naive, socket → event": ("our event", "naive event"),
    "ours / naive, socket → committed row": ("our row", "naive row"),
    "ours / floor, socket → event": ("our event", "floor"),
}
NAMES = {
    "floor": "floor: bare Trio socket, split, typed decode, event",
    "our event": "**ours**: socket → event",
    "naive event": "naive: trio-websocket, json, a channel send each → event",
    "our row": "**ours**: socket → committed SQLite row",
    "naive row": "naive → committed SQLite row",
}


def spread(values: Iterable[float], form: str) -> str:
    """``median (least to most)``."""
    found = list(values)
    return f"{median(found):{form}} ({min(found):{form}} to {max(found):{form}})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lines of Markdown, the columns aligned; all but the first to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in [lines[0], rule, *lines[1:]])


def about(command: str) -> str:
    """Machine, versions, date and command."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "\n".join(
        [
            f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, `{command}`",
            f"- {processor()}, {cores} cores, load {os.getloadavg()[0]:.1f} at the start, {platform.platform()}",
            f"- {platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
            f"- {libraries}",
        ]
    )


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def throughput(found: Mapping[str, Rounds]) -> str:
    """Each case at full speed."""
    head = ("case", "messages", "msg/s", "CPU µs/msg", "peak MB")
    rows = [
        (
            NAMES[case],
            f"{rounds[0].messages:,}",
            spread((one.rate for one in rounds), ",.0f"),
            spread((one.micros for one in rounds), ".1f"),
            f"{median(one.rss for one in rounds):.0f}",
        )
        for case, rounds in found.items()
    ]
    return table(head, rows)


def ratios(found: Mapping[str, Rounds]) -> str:
    """What is told: neighbours of one round against each other."""
    rows = [(name, *_compared(found[ours], found[other])) for name, (ours, other) in RATIOS.items()]
    return table(("ratio", "msg/s", "CPU per message"), rows)


def _compared(ours: Rounds, other: Rounds) -> tuple[str, str]:
    def each(value: Callable[[Figures], float]) -> str:
        return spread((value(a) / value(b) for a, b in zip(ours, other, strict=True)), ".2f")

    return each(lambda one: one.rate), each(lambda one: one.micros)


def stages(rounds: Sequence[Mapping[str, float]]) -> str:
    """Each stage's cost, and their sum."""
    rows = [(stage, spread((one[stage] for one in rounds), ".2f")) for stage in rounds[0]]
    rows.append(("all of them", spread((sum(one.values()) for one in rounds), ".2f")))
    return table(("stage", "CPU µs/msg"), rows)


def paced(found: Mapping[str, Rounds]) -> str:
    """The live feed: cost and latency."""
    head = ("case", "msg/s", "CPU µs/msg", "receipt → commit p50 ms", "p99 ms")
    rows = [
        (
            NAMES[case],
            f"{median(one.rate for one in rounds):,.0f}",
            spread((one.micros for one in rounds), ".1f"),
            spread((one.p50 for one in rounds), ".1f"),
            spread((one.p99 for one in rounds), ".1f"),
        )
        for case, rounds in found.items()
    ]
    return table(head, rows)
