"""Memory while the store takes nothing."""

from __future__ import annotations

from attrs import evolve

from bench.cases import Bench, Case
from bench.report import Aim, Section, table


def measure(bench: Bench) -> Section:
    """One stall at full feed."""
    load = evolve(bench.load, messages=bench.messages * 2)
    found = bench.one(Case("bench.ours.memory:stalled", load, (str(bench.stall),)))
    head = ("stall", "MB just before", "most during it", "most of the whole run", "messages", "stored", "came twice")
    sizes = (f"{found[what]:.0f}" for what in ("before", "during", "most"))
    row = (f"{bench.stall:g} s", *sizes, f"{load.messages:,}", f"{found['stored']:,.0f}", f"{found['duplicates']:,.0f}")
    says = "The server sends as fast as we take it; then a commit stands still for so long, and then all goes on."
    aims = [
        Aim("memory, most during the stall / just before it", 1.2, [found["during"] / found["before"]]),
        Aim("messages stored after the stall / sent", 1, [found["stored"] / load.messages], least=True),
    ]
    return Section("A store that stands still", [says, table(head, [row])], aims)
