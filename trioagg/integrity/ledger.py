"""The completeness ledger: which numbered trades are missing, in step with the rows that are stored.

A ``Ledger`` remembers the ids of each market. What a batch changes is a ``Draft``: reckoned as often as the batch is
offered, inside the transaction that stores the rows, and kept once that is committed. Another writer of the same store
makes what is remembered stale; then the store is asked again, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

from attrs import define, evolve, field, frozen

from trioagg.integrity.continuity import Continuity
from trioagg.model import Channel, ClockCheck, Forgone, Gap, Loss, Nanos, Note, Record, Session, Trade

Market = tuple[str, str]
"""(exchange, symbol)."""

N = TypeVar("N", bound=Note)


@frozen
class Known:
    """What a store has of one market's numbered trades.

    Attributes:
        lowest, highest: the ids at both ends; None where there are none.
        gaps: those that are not filled yet.
    """

    lowest: int | None
    highest: int | None
    gaps: Sequence[Gap]


Ask = Callable[[str, str], Known]
"""Asks the store what it has of (exchange, symbol)."""


@frozen
class Entries:
    """What belongs into the store beside a batch's rows.

    Attributes:
        gaps: new or changed, whole: each takes the place of what was known of it.
        losses, sessions, clocks: as they were told.
    """

    gaps: Sequence[Gap] = ()
    losses: Sequence[Loss] = ()
    sessions: Sequence[Session] = ()
    clocks: Sequence[ClockCheck] = ()


@define(eq=False)
class Ledger:
    """Watches what one store is given.

    Attributes:
        counts: tells whether an exchange counts its trades up by one.
        cause: why a trade may be missing of a market that was there before in this run.
        first_cause: the same between what is stored from earlier and what comes first.
    """

    counts: Callable[[str], bool]
    cause: str
    first_cause: str
    _markets: Mapping[Market, Continuity] = field(factory=dict, init=False)
    _fresh: Collection[Market] = field(factory=frozenset, init=False)

    def draft(self, batch: Sequence[Record]) -> Draft:
        """What a batch will change."""
        return Draft(self, batch, self._markets, self._fresh)

    @property
    def remembered(self) -> tuple[Mapping[Market, Continuity], Collection[Market]]:
        """What is known of the markets, and of which of them that is sure."""
        return self._markets, self._fresh

    def keep(self, draft: Draft) -> bool:
        """Believe a draft, now that it is durable; whether it told of gaps."""
        self._markets, self._fresh = draft.markets, draft.fresh
        return bool(draft.told)

    def unfilled(self, exchange: str) -> list[Gap]:
        """The gaps of an exchange that lack something, of the markets that this run has met."""
        return [gap for (name, _), market in self._markets.items() if name == exchange for gap in market.open]


@define(eq=False, slots=False)
class Draft:
    """What one batch changes.

    Attributes:
        markets: what is known once it is stored.
        fresh: of which of them that is sure, since nobody else wrote.
        told: the gaps that it opened, filled or changed.
    """

    ledger: Ledger
    batch: Sequence[Record]
    markets: Mapping[Market, Continuity]
    fresh: Collection[Market]
    told: Sequence[Gap] = ()

    def entries(self, ask: Ask, *, stale: bool) -> Entries:
        """Reckon it: from the beginning each time, since an earlier offer may have failed.

        Args:
            ask: the store, as it is in this transaction.
            stale: whether another writer has written since the last draft.
        """
        met, sure = self.ledger.remembered
        book = _Book(dict(met), set() if stale else set(sure), ask)
        told: dict[tuple[Market, int], Gap] = {}
        for market, ids in self._numbered().items():
            begun = market not in met
            now, at = book.open(market), self._latest
            gaps = now.see(ids[:1], at, self.ledger.first_cause) if begun else []
            gaps += now.see(ids, at, self.ledger.cause)
            told |= {(market, gap.first): gap for gap in gaps}
        for note in self._of(Forgone):
            market = (note.exchange, note.symbol)
            told |= {
                (market, gap.first): gap for gap in book.open(market).forgo((note.first, note.last), note.received)
            }
        self.markets, self.fresh, self.told = book.markets, book.fresh, list(told.values())
        return Entries(self.told, self._of(Loss), self._of(Session), self._of(ClockCheck))

    @cached_property
    def _kinds(self) -> set[type]:
        return set(map(type, self.batch))

    @cached_property
    def _latest(self) -> Nanos:
        """When the last of the batch arrived."""
        return max(record.received for record in self.batch if type(record) is Trade)

    def _of(self, kind: type[N]) -> list[N]:
        return [record for record in self.batch if isinstance(record, kind)] if kind in self._kinds else []

    def _numbered(self) -> dict[Market, list[int]]:
        """The trade ids of markets whose exchange counts them up by one."""
        markets: dict[Market, list[int]] = {}
        for record in self.batch:
            if type(record) is Trade and isinstance(record.trade_id, int) and self.ledger.counts(record.exchange):
                markets.setdefault((record.exchange, record.symbol), []).append(record.trade_id)
        return markets


@define(eq=False)
class _Book:
    """What is known of the markets while one batch is reckoned: copies, so that a failed offer changes nothing."""

    markets: dict[Market, Continuity]
    fresh: set[Market]
    ask: Ask
    _copied: set[Market] = field(factory=set)

    def open(self, market: Market) -> Continuity:
        if market not in self.fresh:
            known = self.ask(*market)
            self.markets[market] = Continuity(*market, Channel.TRADES, known.lowest, known.highest, list(known.gaps))
        elif market not in self._copied:
            before = self.markets[market]
            self.markets[market] = evolve(before, open=list(before.open))
        self.fresh.add(market)
        self._copied.add(market)
        return self.markets[market]
