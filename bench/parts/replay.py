"""Replays of captures."""

from __future__ import annotations

from attrs import evolve

from bench.cases import Bench, Case
from bench.report import Section, throughput


def measure(bench: Bench) -> Section:
    """From a file of trades to rows."""
    load = evolve(bench.load, messages=max(1, bench.messages // 4))
    found = bench.figures({"replay": Case("bench.ours.files:row", load)}, bench.fewer)
    return Section("Replay", [throughput(found, {"replay": "capture of trades → committed row"})])
