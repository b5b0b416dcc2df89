"""The completeness ledger: which numbered trades are missing, in step with the rows that are stored.

A ``Ledger`` remembers the ids of each market. What a batch changes is a ``Draft``: reckoned as often as the batch is
offered, inside the transaction that stores the rows, and kept once that is committed. Another writer of the same store
makes what is remembered stale; then the store is asked again, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeVar

from attrs import define, evolve, field, frozen

from trioagg.integrity.continuity import Continuity
from trioagg.model import Channel, ClockCheck, Forgone, Gap, Loss, Nanos, Note, Record, Session, Trade

Market = tuple[str, str]
"""(exchange, symbol)."""

KILLED = "killed"
"""The cause where the process that stored what came before was ended without a word."""
DISCONNECTED = "disconnected"
"""The cause where a connection of the exchange was down meanwhile."""

N = TypeVar("N", bound=Note)


@frozen
class Known:
    """What a store has of one market's numbered trades.

    Attributes:
        lowest, highest: the ids at both ends; None where there are none.
        gaps: those that are not filled yet.
        killed: whether a connection of the exchange was open when an earlier process ended.
    """

    lowest: int | None
    highest: int | None
    gaps: Sequence[Gap]
    killed: bool = False


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


@frozen
class Memory:
    """What a ledger remembers between two batches.

    Attributes:
        markets: the ids of each.
        fresh: of which of them that is sure, since nobody else wrote.
        pending: why trades may be missing before the next new one, where something special happened since the last.
        alive: the connections that are open, as (exchange, connection, opened).
    """

    markets: Mapping[Market, Continuity] = field(factory=dict)
    fresh: Collection[Market] = frozenset()
    pending: Mapping[Market, str] = field(factory=dict)
    alive: Collection[tuple[str, str, Nanos]] = frozenset()


@define(eq=False)
class Ledger:
    """Watches what one store is given.

    Attributes:
        counts: tells whether an exchange counts its trades up by one.
        cause: why a trade may be missing of a market that was there before in this run.
        first_cause: the same between what is stored from earlier and what comes first.
        memory: what is known by now.
    """

    counts: Callable[[str], bool]
    cause: str
    first_cause: str
    memory: Memory = field(factory=Memory, init=False)

    def draft(self, batch: Sequence[Record]) -> Draft:
        """What a batch will change."""
        return Draft(self, batch, self.memory)

    def keep(self, draft: Draft) -> bool:
        """Believe a draft, now that it is durable; whether it told of gaps."""
        self.memory = draft.memory
        return bool(draft.told)

    def unfilled(self, exchange: str) -> list[Gap]:
        """The gaps of an exchange that lack something, of the markets that this run has met."""
        return [gap for (name, _), market in self.memory.markets.items() if name == exchange for gap in market.open]


@define(eq=False)
class Draft:
    """What one batch changes.

    Attributes:
        memory: what is known once it is stored.
        told: the gaps that it opened, filled or changed.
    """

    ledger: Ledger
    batch: Sequence[Record]
    memory: Memory
    told: Sequence[Gap] = ()

    def entries(self, ask: Ask, *, stale: bool) -> Entries:
        """Reckon it: from the beginning each time, since an earlier offer may have failed.

        Args:
            ask: the store, as it is in this transaction.
            stale: whether another writer has written since the last draft.
        """
        book = _Book.of(self.ledger, ask, stale=stale)
        told: dict[tuple[Market, int], Gap] = {}
        at = max((record.received for record in self.batch if not isinstance(record, Session)), default=0)
        for piece in self._pieces():
            if isinstance(piece, Session):
                book.meet(piece)
            else:
                for market, ids in self._numbered(piece).items():
                    told |= {(market, gap.first): gap for gap in book.see(market, ids, at)}
        for note in self._of(Forgone):
            market = (note.exchange, note.symbol)
            told |= {
                (market, gap.first): gap for gap in book.open(market).forgo((note.first, note.last), note.received)
            }
        self.memory, self.told = book.memory, list(told.values())
        return Entries(self.told, self._of(Loss), self._of(Session), self._of(ClockCheck))

    def _of(self, kind: type[N]) -> list[N]:
        return [record for record in self.batch if isinstance(record, kind)]

    def _pieces(self) -> Iterator[Sequence[Record] | Session]:
        """The batch in its order: what a connection's beginning or end comes between is told apart by it."""
        start = 0
        for place, record in enumerate(self.batch) if Session in set(map(type, self.batch)) else ():
            if isinstance(record, Session):
                yield self.batch[start:place]
                yield record
                start = place + 1
        yield self.batch[start:]

    def _numbered(self, piece: Sequence[Record]) -> dict[Market, list[int]]:
        """The trade ids of markets whose exchange counts them up by one."""
        markets: dict[Market, list[int]] = {}
        for record in piece:
            if type(record) is Trade and isinstance(record.trade_id, int) and self.ledger.counts(record.exchange):
                markets.setdefault((record.exchange, record.symbol), []).append(record.trade_id)
        return markets


@define(eq=False)
class _Book:
    """What is known while one batch is reckoned: copies, so that a failed offer changes nothing."""

    ledger: Ledger
    ask: Ask
    markets: dict[Market, Continuity]
    fresh: set[Market]
    pending: dict[Market, str]
    alive: set[tuple[str, str, Nanos]]
    _copied: set[Market] = field(factory=set)

    @classmethod
    def of(cls, ledger: Ledger, ask: Ask, *, stale: bool) -> _Book:
        known = ledger.memory
        fresh = set() if stale else set(known.fresh)
        return cls(ledger, ask, dict(known.markets), fresh, pending=dict(known.pending), alive=set(known.alive))

    @property
    def memory(self) -> Memory:
        return Memory(self.markets, self.fresh, self.pending, self.alive)

    def meet(self, session: Session) -> None:
        """A connection began or ended; its end tears the markets of its exchange, unless the next one is there."""
        link = (session.exchange, session.connection, session.opened)
        if session.closed is None:
            self.alive.add(link)
            return
        self.alive.discard(link)
        if not any(other[:2] == link[:2] for other in self.alive):
            for market in self.markets:
                if market[0] == session.exchange:
                    self.pending.setdefault(market, DISCONNECTED)

    def see(self, market: Market, ids: Sequence[int], at: Nanos) -> list[Gap]:
        """Take ids in the order in which they came; up to the first new one the pending cause holds."""
        now = self.open(market)
        if market not in self.pending:
            return now.see(ids, at, self.ledger.cause)
        new = next((place for place, number in enumerate(ids, 1) if now.highest is None or number > now.highest), 0)
        before = ids[: new or len(ids)]
        gaps = now.see(before, at, self.pending[market])
        if new:
            del self.pending[market]
        return gaps + now.see(ids[len(before) :], at, self.ledger.cause)

    def open(self, market: Market) -> Continuity:
        """What is known of a market, to be changed."""
        begun = market not in self.markets
        if market not in self.fresh:
            known = self.ask(*market)
            self.markets[market] = Continuity(*market, Channel.TRADES, known.lowest, known.highest, list(known.gaps))
            if begun:
                killed = known.killed and any(link[0] == market[0] for link in self.alive)
                self.pending[market] = KILLED if killed else self.ledger.first_cause
        elif market not in self._copied:
            before = self.markets[market]
            self.markets[market] = evolve(before, open=list(before.open))
        self.fresh.add(market)
        self._copied.add(market)
        return self.markets[market]
