"""What a message costs among many symbols."""

from __future__ import annotations

from attrs import evolve

from bench.cases import Bench, Case
from bench.report import Aim, Section, micros, ratio, ratios, throughput

MANY = 500


def measure(bench: Bench) -> Section:
    """One symbol against many, as fast as it goes."""
    few, many = (evolve(bench.load, symbols=count) for count in (1, MANY))
    cases = {
        f"{load.symbols} → {what}": Case(f"bench.ours.feed:{what}", load)
        for what in ("event", "row")
        for load in (few, many)
    }
    found = bench.figures(cases, bench.rounds)
    pairs = {f"{MANY} / 1 → {what}": (found[f"{MANY} → {what}"], found[f"1 → {what}"]) for what in ("event", "row")}
    aims = [Aim(f"CPU per message, {name}", 1.1, ratio(*pair, micros)) for name, pair in pairs.items()]
    titles = {name: f"symbols: {name}" for name in found}
    return Section("Symbols", [throughput(found, titles), ratios(pairs)], aims)
