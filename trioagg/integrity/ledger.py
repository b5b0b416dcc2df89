"""The completeness ledger: which trades are missing, in step with the rows that are stored.

Where an exchange counts its trades, the ids tell; where it does not, each time without a connection is a stretch that
nothing proves. A ``Ledger`` remembers the ids, or the newest trade, of each market. What a batch changes is a
``Draft``: reckoned as often as the batch is offered, inside the transaction that stores the rows, and kept once that is
committed. Another writer of the same store makes what is remembered stale; then the store is asked again, in the same
transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar, cast

from attrs import define, evolve, field, frozen

from trioagg.integrity.continuity import Continuity
from trioagg.integrity.stretches import Newest, Stretches
from trioagg.model import (
    NOTES,
    Bridged,
    Broken,
    Carried,
    Channel,
    ClockCheck,
    Consulted,
    Forgone,
    Gap,
    Loss,
    Nanos,
    Note,
    Record,
    Session,
    Trade,
)

Market = tuple[str, str]
"""(exchange, symbol)."""

Kept = Continuity | Stretches
"""What is known of a market: where its trades are counted, and where they are not."""

UNPROVABLE = "{}, unprovable"

N = TypeVar("N", bound=Note)


@frozen
class Known:
    """What a store has of one market's trades.

    Attributes:
        lowest, highest: the ids at both ends of those that are numbered; None where there are none.
        gaps: those that are not filled yet.
        newest: the time and id of the newest; None where there is none.
    """

    lowest: int | None
    highest: int | None
    gaps: Sequence[Gap]
    newest: Newest | None = None


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
    _markets: Mapping[Market, Kept] = field(factory=dict, init=False)
    _fresh: Collection[Market] = field(factory=frozenset, init=False)
    _consulted: Mapping[str, Nanos] = field(factory=dict, init=False)

    def draft(self, batch: Sequence[Record]) -> Draft:
        """What a batch will change."""
        return Draft(self, batch, self._markets, self._fresh, self._consulted)

    @property
    def remembered(self) -> tuple[Mapping[Market, Kept], Collection[Market], Mapping[str, Nanos]]:
        """What is known of the markets, of which of them that is sure, and the arrivals of the last answers."""
        return self._markets, self._fresh, self._consulted

    def keep(self, draft: Draft) -> bool:
        """Believe a draft, now that it is durable; whether it told of gaps, or met a market that may have some."""
        met = draft.markets.keys() - self._markets.keys()
        self._markets, self._fresh, self._consulted = draft.markets, draft.fresh, draft.consulted
        return bool(draft.told or met)

    def unfilled(self, exchange: str) -> list[Gap]:
        """The gaps of an exchange that lack something, of the markets that this run has met."""
        return [gap for (name, _), market in self._markets.items() if name == exchange for gap in market.open]


@define(eq=False, slots=False)
class Draft:
    """What one batch changes.

    Attributes:
        markets: what is known once it is stored.
        fresh: of which of them that is sure, since nobody else wrote.
        consulted: exchange → the arrival of the last answer to a question for trades.
        told: the gaps that it opened, filled or changed.
    """

    ledger: Ledger
    batch: Sequence[Record]
    markets: Mapping[Market, Kept]
    fresh: Collection[Market]
    consulted: Mapping[str, Nanos]
    told: Sequence[Gap] = ()

    def entries(self, ask: Ask, *, stale: bool) -> Entries:
        """Reckon it: from the beginning each time, since an earlier offer may have failed.

        Args:
            ask: the store, as it is in this transaction.
            stale: whether another writer has written since the last draft.
        """
        met, sure, consulted = self.ledger.remembered
        book = _Book(self.ledger, dict(met), set() if stale else set(sure), ask, dict(consulted))
        numbered, others = self._sorted()
        for market, ids in numbered.items():
            now, at = book.counted(market), self._latest
            begun = market not in met
            book.tell(now.see(ids[:1], at, self.ledger.first_cause) if begun else [])
            book.tell(now.see(ids, at, self.ledger.cause))
        for record in others:
            book.take(record)
        self.markets, self.fresh, self.consulted = book.markets, book.fresh, book.consulted
        self.told = list(book.told.values())
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

    def _sorted(self) -> tuple[dict[Market, list[int]], list[Trade | Note]]:
        """The trade ids of markets whose exchange counts them up by one; the other trades and the notes in order."""
        markets: dict[Market, list[int]] = {}
        others: list[Trade | Note] = []
        for record in self.batch:
            if type(record) is Trade:
                if not self.ledger.counts(record.exchange):
                    others.append(record)
                elif isinstance(record.trade_id, int):
                    markets.setdefault((record.exchange, record.symbol), []).append(record.trade_id)
            elif type(record) in NOTES:
                others.append(cast(Note, record))
        return markets, others


@define(eq=False)
class _Book:
    """What is known of the markets while one batch is reckoned: copies, so that a failed offer changes nothing."""

    ledger: Ledger
    markets: dict[Market, Kept]
    fresh: set[Market]
    ask: Ask
    consulted: dict[str, Nanos]
    told: dict[tuple[Market, int], Gap] = field(factory=dict)
    _copied: set[Market] = field(factory=set)

    def tell(self, gaps: Sequence[Gap]) -> None:
        """Remember what was opened or changed."""
        self.told |= {((gap.exchange, gap.symbol), gap.first): gap for gap in gaps}

    def take(self, record: Trade | Note) -> None:
        """A trade that is not counted, or a note, in its turn."""
        match record:
            case Trade():
                self._trade(record)
            case Carried(exchange, symbols) if not self.ledger.counts(exchange):
                self._carried((exchange, symbol) for symbol in symbols)
            case Broken(exchange, symbols, cause) if not self.ledger.counts(exchange):
                for symbol in symbols:
                    self._uncounted((exchange, symbol)).end(UNPROVABLE.format(cause))
            case Consulted(exchange, received):
                self.consulted[exchange] = received
            case Forgone(exchange, symbol, first, last, received):
                self.tell(self.open((exchange, symbol)).forgo((first, last), received))
            case Bridged(exchange, symbol, first, last, received):
                self.tell(self._uncounted((exchange, symbol)).bridge((first, last), received))

    def _trade(self, trade: Trade) -> None:
        market = (trade.exchange, trade.symbol)
        if market in self.markets and trade.received != self.consulted.get(trade.exchange):
            self.tell(self._uncounted(market).see(trade))

    def _carried(self, markets: Iterable[Market]) -> None:
        for market in markets:
            if market not in self.markets:
                self._uncounted(market).end(UNPROVABLE.format(self.ledger.first_cause))

    def counted(self, market: Market) -> Continuity:
        """What is known of a market whose exchange counts its trades."""
        return cast(Continuity, self.open(market))

    def _uncounted(self, market: Market) -> Stretches:
        return cast(Stretches, self.open(market))

    def open(self, market: Market) -> Kept:
        """What is known of a market, to be changed."""
        if market not in self.fresh:
            self.markets[market] = self._asked(market)
        elif market not in self._copied:
            before = self.markets[market]
            self.markets[market] = evolve(before, open=list(before.open))
        self.fresh.add(market)
        self._copied.add(market)
        return self.markets[market]

    def _asked(self, market: Market) -> Kept:
        """What the store tells of it now; where connections stand is remembered by this run alone."""
        known = self.ask(*market)
        if self.ledger.counts(market[0]):
            numbered = [gap for gap in known.gaps if gap.between is None]
            return Continuity(*market, Channel.TRADES, known.lowest, known.highest, numbered)
        stretches = [gap for gap in known.gaps if gap.between and gap.open]
        before = self.markets.get(market) or Stretches(*market, Channel.TRADES, known.newest)
        return evolve(cast(Stretches, before), open=stretches)
