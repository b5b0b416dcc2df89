"""Polls of REST."""

from __future__ import annotations

from attrs import evolve

from bench.cases import Bench, Case
from bench.report import Section, ratios, throughput

SAYS = "One request after the other on one connection; a message is an answer with the tickers of all symbols."


def measure(bench: Bench) -> Section:
    """Ours beside what httpx takes of it."""
    load = evolve(bench.load, messages=max(1, bench.messages // 400))
    cases = {"ours": Case("bench.ours.polls:event", load), "httpx": Case("bench.ours.polls:bare", load)}
    found = bench.figures(cases, bench.fewer)
    titles = {"ours": f"**ours**: request → {bench.symbols} events", "httpx": "httpx alone, bytes dropped"}
    compared = ratios({"ours / httpx": (found["ours"], found["httpx"])})
    return Section("REST polls", [SAYS, throughput(found, titles), compared])
