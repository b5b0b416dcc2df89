"""What else comes over a socket: other messages, and TLS."""

from __future__ import annotations

from attrs import evolve

from bench.cases import Bench, Case
from bench.frames import SHAPES
from bench.report import Section, throughput

SAYS = """\
Ours alone. A change of a book has five levels on each side; mixed are trades, best prices and changes of books in equal
parts, by symbol. For 1 and 500 symbols see below, for small reads the live feed."""


def measure(bench: Bench) -> Section:
    """Events of every shape, and rows of those that are one row each."""
    some = evolve(bench.load, messages=max(1, bench.messages // 4))
    loads = {f"{shape}, ws": evolve(some, shape=shape) for shape in (*SHAPES, "mixed") if shape != "aggTrade"}
    if bench.server.secure:
        loads["trade, wss"] = evolve(some, server=bench.server.secure, scheme="wss")
    cases = {f"{name} → event": Case("bench.ours.feed:event", load) for name, load in loads.items()}
    cases |= {
        f"{name} → committed row": Case("bench.ours.feed:row", load)
        for name, load in loads.items()
        if load.shape in ("trade", "bookTicker")
    }
    found = bench.figures(cases, bench.fewer)
    missing = [] if bench.server.secure else ["`wss` is left out: there is no `openssl` to make a certificate."]
    return Section("Other messages, and TLS", [SAYS, throughput(found, {name: name for name in found}), *missing])
