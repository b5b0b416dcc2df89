"""As fast as it goes: from a socket to events and to rows, among peers."""

from __future__ import annotations

from collections.abc import Mapping

from bench import peers
from bench.cases import Bench, Case
from bench.report import Aim, Rounds, Section, rate, ratio, ratios, throughput

AIMS = {
    ("our event", "cryptofeed3 event"): 3,
    ("our event", "ccxtpro event"): 12,
    ("our event", "pythonbinance event"): 6,
    ("our event", "unicorn event"): 4,
    ("our event", "naive event"): 12,
    ("our row", "cryptofeed3 event"): 1.5,
    ("our event", "floor event"): 0.8,
}
"""How many times as many messages a second we want to take as somebody else."""
OURS = {"our event": "**ours**: socket → event", "our row": "**ours**: socket → committed SQLite row"}
SAYS = """\
Coalesced reads: the server never waits. Every peer does what its users do with least: a callback or a loop that drops
what it gets; those that are slower get fewer messages. The floor checks nothing, ours checks everything, and its rows
are those of `trioagg run` with a ledger beside them; the floor's and the naive rows are bare."""


def measure(bench: Bench) -> Section:
    """All peers, in one run with us."""
    found = bench.figures(_cases(bench), bench.rounds)
    titles = {"server": "the load server alone, bytes dropped", **OURS}
    for name in peers.names():
        titles[f"{name} event"] = peers.load(name).TITLE
        titles[f"{name} row"] = f"{name} → committed SQLite row"
    aims = [
        Aim(f"msg/s, {ours} / {other}", bound, _seen(found, ours, other), least=True)
        for (ours, other), bound in AIMS.items()
    ]
    title = f"As fast as it goes: trades, {bench.symbols} symbols"
    return Section(title, [SAYS, throughput(found, titles), ratios(_pairs(found))], aims)


def _cases(bench: Bench) -> dict[str, Case]:
    load = bench.load
    cases = {"server": Case("bench.drain:drain", load)}
    for what in ("event", "row"):
        cases[f"our {what}"] = Case(f"bench.ours.feed:{what}", load)
        for name in peers.names():
            cases |= bench.peer(name, what, load)
    return cases


def _seen(found: Mapping[str, Rounds], ours: str, other: str) -> list[float]:
    return ratio(found[ours], found[other], rate) if other in found else []


def _pairs(found: Mapping[str, Rounds]) -> dict[str, tuple[Rounds, Rounds]]:
    """Ours against everybody of the same kind, and wherever something is aimed at."""
    alike = {(ours, other) for ours in OURS for other in found if other.endswith(ours.removeprefix("our"))}
    asked = [pair for pair in [*AIMS, *sorted(alike - AIMS.keys())] if pair[1] in found and pair[1] not in OURS]
    return {f"{ours} / {other}": (found[ours], found[other]) for ours, other in asked}
