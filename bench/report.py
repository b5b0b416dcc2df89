"""The tables: medians, ranges, ratios and aims in plain Markdown."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from attrs import frozen

from bench.figures import Figures
from trioagg.store.fitness import SQLITE

Rounds = Sequence[Figures]
LIBRARIES = "apsw trio trio-websocket wsproto msgspec attrs httpx typer pandas".split()


@frozen
class Aim:
    """What we want of a ratio (or of a figure with a unit).

    Attributes:
        what: the figure.
        bound: the least or the most that is good.
        seen: round by round; empty if it could not be measured.
        least: whether more is better.
        unit: of bound and seen.
    """

    what: str
    bound: float
    seen: Sequence[float]
    least: bool = False
    unit: str = ""

    @property
    def verdict(self) -> str:
        """Whether the median is good enough."""
        if not self.seen:
            return "not measured"
        found = median(self.seen)
        return "met" if (found >= self.bound if self.least else found <= self.bound) else "**missed**"

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Its line in the table."""
        seen = f"{spread(self.seen, '.2f')}{self.unit}" if self.seen else ""
        return self.what, f"{'≥' if self.least else '≤'} {self.bound:g}{self.unit}", seen, self.verdict


@frozen
class Section:
    """What a part found out.

    Attributes:
        title: its heading.
        says: what was done, and the tables.
    """

    title: str
    says: Sequence[str]
    aims: Sequence[Aim] = ()

    @property
    def text(self) -> str:
        """It, as Markdown."""
        return "\n\n".join([f"## {self.title}", *self.says])


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


def rate(one: Figures) -> float:
    """Messages a second."""
    return one.rate


def micros(one: Figures) -> float:
    """CPU per message."""
    return one.micros


def ratio(these: Rounds, those: Rounds, value: Callable[[Figures], float]) -> list[float]:
    """These to those, neighbours of one round against each other."""
    return [value(a) / value(b) for a, b in zip(these, those, strict=True)]


def throughput(found: Mapping[str, Rounds], titles: Mapping[str, str]) -> str:
    """Cases at full speed."""
    head = ("case", "messages", "msg/s", "CPU µs/msg", "peak MB")
    rows = [
        (
            titles[case],
            f"{rounds[0].messages:,}",
            spread(map(rate, rounds), ",.0f"),
            spread(map(micros, rounds), ".1f"),
            f"{median(one.rss for one in rounds):.0f}",
        )
        for case, rounds in found.items()
    ]
    return table(head, rows)


def ratios(found: Mapping[str, tuple[Rounds, Rounds]]) -> str:
    """Pairs against each other."""
    rows = [
        (name, *(spread(ratio(these, those, value), ".2f") for value in (rate, micros)))
        for name, (these, those) in found.items()
    ]
    return table(("ratio", "msg/s", "CPU per message"), rows)


def paced(found: Mapping[str, Rounds], titles: Mapping[str, str]) -> str:
    """A live feed: cost and latency."""
    head = ("case", "msg/s", "CPU µs/msg", "p50 ms", "p99 ms", "p99.9 ms")
    rows = [
        (
            titles[case],
            f"{median(map(rate, rounds)):,.0f}",
            spread(map(micros, rounds), ".1f"),
            *(spread(cut, ".2f") for cut in zip(*((one.p50, one.p99, one.p999) for one in rounds), strict=True)),
        )
        for case, rounds in found.items()
    ]
    return table(head, rows)


def aims(sections: Iterable[Section]) -> str:
    """All that is aimed at, and what was seen."""
    rows = [aim.row for section in sections for aim in section.aims]
    return table(("what", "aim", "seen", ""), rows)


def about(command: str) -> str:
    """Machine, versions, date and command."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "\n".join(
        [
            f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, `{command}`",
            f"- {processor()}, {cores} cores, load {os.getloadavg()[0]:.1f} at the start, {platform.platform()}",
            f"- {platform.python_implementation()} {platform.python_version()} with SQLite {sqlite3.sqlite_version}",
            f"- SQLite {SQLITE}, {libraries}",
        ]
    )


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
