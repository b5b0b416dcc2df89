"""As fast as it goes: from a socket to events and to rows, among peers."""

from __future__ import annotations

from bench import peers
from bench.cases import Bench, Case
from bench.report import Aim, Section, rate, ratio, ratios, throughput

FASTER = {"cryptofeed3": 3, "cryptofeed2": 0, "ccxtpro": 12, "pythonbinance": 6, "unicorn": 4, "naive": 12}
"""How many times as many events we want to make as a peer; 0 wants nothing."""
SAYS = """\
Coalesced reads: the server never waits. Every peer does what its users do with least: a callback or a loop that drops
what it gets; those that are slower get fewer messages. The floor checks nothing, ours checks everything, and its rows
are those of `trioagg run` with a ledger beside them; the floor's and the naive rows are bare."""


def measure(bench: Bench) -> Section:
    """All peers, in one run with us."""
    load, cases, titles = bench.load, dict[str, Case](), {"server": "the load server alone, bytes dropped"}
    cases |= {"server": Case("bench.drain:drain", load), "our event": Case("bench.ours.feed:event", load)}
    for name in peers.names():
        cases |= bench.peer(name, "event", load)
        titles[f"{name} event"] = peers.load(name).TITLE
    cases["our row"] = Case("bench.ours.feed:row", load)
    for name in peers.names():
        cases |= bench.peer(name, "row", load)
        titles[f"{name} row"] = f"{name} → committed SQLite row"
    titles |= {"our event": "**ours**: socket → event", "our row": "**ours**: socket → committed SQLite row"}
    found = bench.figures(cases, bench.rounds)
    pairs = {
        f"our {what} / {case}": (found[f"our {what}"], found[case])
        for what in ("event", "row")
        for case in found
        if (case.endswith(what) and not case.startswith("our")) or (what, case) == ("row", "cryptofeed3 event")
    }

    def seen(ours: str, other: str) -> list[float]:
        return ratio(found[ours], found[other], rate) if other in found else []

    wanted = {name: bound for name, bound in FASTER.items() if bound}
    aims = [
        *(
            Aim(f"socket → event: msg/s, ours to {name}", bound, seen("our event", f"{name} event"), least=True)
            for name, bound in wanted.items()
        ),
        Aim(
            "ours to a committed row, msg/s, to cryptofeed3's callback",
            1.5,
            seen("our row", "cryptofeed3 event"),
            least=True,
        ),
        Aim("ours to a committed row, msg/s, to the floor's", 0.8, seen("our row", "floor row"), least=True),
    ]
    title = f"As fast as it goes: trades, {bench.symbols} symbols"
    return Section(title, [SAYS, throughput(found, titles), ratios(pairs)], aims)
