"""The parts of the benchmark, one file each: what is compared, the table that tells it, and what is aimed at.

A part's file has ``measure(bench)``, which gives a ``Section``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from bench.cases import Bench
from bench.report import Section

NAMES: Sequence[str] = "socket shapes stages replay polls live memory symbols exchanges rows start".split()
"""In the order in which they are told."""


def measure(name: str, bench: Bench) -> Section:
    """One part."""
    section: Section = import_module(f"{__name__}.{name}").measure(bench)
    return section
