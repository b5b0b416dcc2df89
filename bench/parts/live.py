"""A live feed: one frame a read."""

from __future__ import annotations

from attrs import evolve

from bench import peers
from bench.cases import Bench, Case
from bench.report import Aim, Rounds, Section, micros, paced, ratio

RATES = {1_000: 10.0, 10_000: 10.0}
"""Messages a second, and for how long at full size."""
FULL = 400_000
"""Messages at full speed that make full size."""
SAYS = """\
Each frame is sent alone, stamped with the microsecond of its sending; latencies count from there to the event, for rows
to the end of their transaction. Settings are the defaults, by which transactions begin 18 ms apart."""


def measure(bench: Bench) -> Section:
    """Ours, cryptofeed's callback and the naive loop, slow and fast."""
    titles = {"our event": "**ours** → event", "our row": "**ours** → committed SQLite row"}
    titles |= {f"{name} event": peers.load(name).TITLE for name in peers.names()}
    titles |= {f"{name} row": f"{name} → committed SQLite row" for name in peers.names()}
    found = {speed: _at(bench, speed) for speed in RATES}
    tables = [f"### {speed:,} a second\n\n{paced(one, titles)}" for speed, one in found.items()]
    return Section("A live feed: one frame per read", [SAYS, *tables], _aims(found[max(RATES)]))


def _at(bench: Bench, speed: int) -> dict[str, Rounds]:
    seconds = max(0.2, RATES[speed] * min(1.0, bench.messages / FULL))
    load = evolve(bench.load, rate=speed, messages=round(speed * seconds))
    cases = {"our row": Case("bench.ours.feed:row", load), "our event": Case("bench.ours.feed:event", load)}
    cases |= bench.peer("cryptofeed3", "event", load) | bench.peer("naive", "row", load)
    return dict(bench.figures(cases, bench.fewer))


def _aims(fast: dict[str, Rounds]) -> list[Aim]:
    peer = fast.get("cryptofeed3 event")
    cost = ratio(fast["our row"], peer, micros) if peer else []
    return [
        Aim("live, CPU per message, our row / cryptofeed3 event", 0.4, cost),
        Aim("live, p99 from sending to the commit", 25, [one.p99 for one in fast["our row"]], unit=" ms"),
    ]
