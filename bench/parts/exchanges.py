"""What a message costs among many exchanges."""

from __future__ import annotations

from attrs import evolve

from bench.cases import Bench, Case
from bench.report import Aim, Section, micros, ratio, ratios, throughput

MANY = 15
SAYS = f"""\
The same symbols and messages from one exchange, or from {MANY} that have a connection, a REST, a supervisor, a repair
and a clock each. All of them speak Binance's language, so that nothing but their number differs."""


def measure(bench: Bench) -> Section:
    """One exchange against many, as fast as it goes, to committed rows."""
    load = evolve(bench.load, symbols=3 * MANY, messages=bench.messages // MANY * MANY)
    cases = {str(count): Case("bench.ours.feed:exchanges", load, (str(count),)) for count in (1, MANY)}
    found = bench.figures(cases, bench.rounds)
    pair = found[str(MANY)], found["1"]
    aims = [Aim(f"CPU per message, {MANY} / 1 exchanges → row", 1.1, ratio(*pair, micros))]
    titles = {name: f"exchanges: {name} → committed row" for name in found}
    return Section("Exchanges", [SAYS, throughput(found, titles), ratios({f"{MANY} / 1": pair})], aims)
