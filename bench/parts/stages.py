"""Our line by stages."""

from __future__ import annotations

from attrs import evolve

from bench.cases import Bench, Case
from bench.report import Section, spread, table

SAYS = "In one thread, on batches as large as a transaction, without sockets; the events live until they are stored."


def measure(bench: Bench) -> Section:
    """Each stage's cost, and their sum."""
    load = evolve(bench.load, messages=max(1, bench.messages // 4))
    rounds = bench.turns({"stages": Case("bench.ours.stages:stages", load)}, bench.fewer)["stages"]
    rows = [(stage, spread((one[stage] for one in rounds), ".2f")) for stage in rounds[0]]
    rows.append(("all of them", spread((sum(one.values()) for one in rounds), ".2f")))
    return Section("Our line by stages", [SAYS, table(("stage", "CPU µs/msg"), rows)])
