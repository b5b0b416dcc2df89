"""Candles made from trades, followed: new ones, and those that are not as they were, a repaired hole's among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from attrs import evolve, field, frozen

from trioagg.integrity.agreement import union, without
from trioagg.integrity.continuity import Run
from trioagg.model import Nanos
from trioagg.store.audit import numbered_parts
from trioagg.store.candles import Candles
from trioagg.store.order import ABOVE, Part, Row, Span
from trioagg.store.seek import demand, following, markets, preceding

Ledger = Mapping[str, Sequence[Run]]
"""The ids of a market that are or were missing, by what has become of them."""


def renewals(candles: Candles, exchanges: Sequence[str], symbols: Sequence[str], limit: int) -> Iterator[Sequence[Row]]:
    """The newest candles first, then at each step those that are new, or not as they were shown.

    Args:
        candles: what is read again at each step: the newest two of each market, and where its ledger has changed.
        exchanges: only these; empty for all.
        symbols: only these; empty for all.
        limit: see ``Candles.newest``.

    Raises:
        SettingsError: the database knows nothing of an exchange or symbol.
        StoreError: it cannot be read.
    """
    demand(candles.db, "trades", exchanges, symbols)
    shown = _Shown(candles, limit)
    while True:
        yield shown.step(markets(candles.db, exchanges, symbols))


@frozen
class _Mark:
    """What was shown of a market.

    Attributes:
        begin: before this time nothing was.
        last: the newest two candles: what comes changes no older one, unless the ledger tells.
    """

    begin: Nanos
    last: Sequence[Row]
    ledger: Ledger


@frozen
class _Shown:
    candles: Candles
    limit: int
    marks: dict[Part, _Mark] = field(factory=dict)

    def step(self, chosen: Sequence[Part]) -> list[Row]:
        """What is to be shown now."""
        ledgers = {market: self._ledger(market) for market in chosen}
        places = [(market, span) for market in chosen for span in self._looked_at(market, ledgers[market])]
        fresh = [row for market, rows in self.candles.read(places) for row in self._taken(market, rows)]
        for market, mark in self.marks.items():
            self.marks[market] = evolve(mark, ledger=ledgers.get(market, mark.ledger))
        return fresh

    def _taken(self, market: Part, rows: Sequence[Row]) -> Sequence[Row]:
        """Those that were not shown so; they are now."""
        mark = self.marks.get(market)
        if mark is None:
            fresh = self.candles.tail(rows, self.limit)
            self.marks[market] = _Mark(fresh[0]["open_time"], fresh[-2:], {})
            return fresh
        fresh = [row for row in rows if row not in mark.last]
        known = {row["open_time"]: row for row in [*mark.last, *fresh]}
        self.marks[market] = evolve(mark, last=[known[opened] for opened in sorted(known)[-2:]])
        return fresh

    def _looked_at(self, market: Part, ledger: Ledger) -> Iterator[Span]:
        mark = self.marks.get(market)
        if mark is None:
            yield from self.candles.ending(market, self.limit)
            return
        recent = mark.last[0]["open_time"]
        news = (run for fate, ids in ledger.items() for run in without(ids, mark.ledger.get(fate, ())))
        touched = (self._touched(market, ids) for ids in news)
        cut = [(max(first, mark.begin), min(end, recent)) for first, end in touched]
        for first, last in union((int(first), int(end) - 1) for first, end in cut if first < end):
            yield Span(first, last + 1)
        yield Span(recent, ABOVE)

    def _ledger(self, market: Part) -> Ledger:
        parts = numbered_parts(self.candles.db, market)
        return {fate: union(part[1:] for part in parts if part[0] == fate) for fate in {part[0] for part in parts}}

    def _touched(self, market: Part, ids: Run) -> Span:
        """The intervals in which trades of these ids may lie."""
        by_id, _ = self.candles.db.lanes["trades"]
        before = preceding(self.candles.db, by_id, market, ids[:1])
        behind = following(self.candles.db, by_id, market, ids[1:])
        return Span(
            self.candles.opened(before.moment) if before else -inf,
            self.candles.opened(behind.moment) + self.candles.length if behind else inf,
        )
