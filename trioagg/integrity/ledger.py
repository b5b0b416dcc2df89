"""The completeness ledger: which trades are missing, in step with the rows that are stored.

Where an exchange counts its trades, the ids tell; where it does not, each time without a connection is a stretch that
nothing proves. A ``Ledger`` remembers the ids, or the newest trade, of each market. What a batch changes is a
``Draft``: reckoned as often as the batch is offered, inside the transaction that stores the rows, and kept once that is
committed. Another writer of the same store makes what is remembered stale; then the store is asked again, in the same
transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from string import ascii_lowercase
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
    Road,
    Session,
    Trade,
)

Market = tuple[str, str]
"""(exchange, symbol)."""

Kept = Continuity | Stretches
"""What is known of a market: where its trades are counted, and where they are not."""

UNPROVABLE = "{}, unprovable"
KILLED = "killed"
"""The cause where the process that stored what came before was ended without a word."""
DISCONNECTED = "disconnected"
"""The cause where a connection of the exchange was down meanwhile."""

N = TypeVar("N", bound=Note)


@frozen
class Known:
    """What a store has of one market's trades.

    Attributes:
        lowest, highest: the ids at both ends of those that are numbered; None where there are none.
        gaps: those that are not filled yet.
        newest: the time and id of the newest; None where there is none.
        killed: whether a connection of the exchange was open when an earlier process ended.
    """

    lowest: int | None
    highest: int | None
    gaps: Sequence[Gap]
    newest: Newest | None = None
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
        markets: what is known of each.
        fresh: of which of them that is sure, since nobody else wrote.
        pending: why trades may be missing before the next new one, where something special happened since the last.
        alive: the connections that are open, as (exchange, connection, opened).
        consulted: exchange → the arrival of the last answer to a question for trades.
    """

    markets: Mapping[Market, Kept] = field(factory=dict)
    fresh: Collection[Market] = frozenset()
    pending: Mapping[Market, str] = field(factory=dict)
    alive: Collection[tuple[str, str, Nanos]] = frozenset()
    consulted: Mapping[str, Nanos] = field(factory=dict)


@define(eq=False)
class Ledger:
    """Watches what one store is given.

    Attributes:
        counts: tells whether an exchange counts its trades up by one.
        cause: why a trade may be missing of a market that was there before in this run.
        first_cause: the same between what is stored from earlier and what comes first.
        road: how trades come that REST was not asked for.
        memory: what is known by now.
    """

    counts: Callable[[str], bool]
    cause: str
    first_cause: str
    road: Road = "stream"
    memory: Memory = field(factory=Memory, init=False)

    def draft(self, batch: Sequence[Record]) -> Draft:
        """What a batch will change."""
        return Draft(self, batch, self.memory)

    def keep(self, draft: Draft) -> bool:
        """Believe a draft, now that it is durable; whether it told of gaps, or met a market that may have some."""
        met = draft.memory.markets.keys() - self.memory.markets.keys()
        self.memory = draft.memory
        return bool(draft.told or met)

    def unfilled(self, exchange: str) -> list[Gap]:
        """The gaps of an exchange that lack something, of the markets that this run has met."""
        return [gap for (name, _), market in self.memory.markets.items() if name == exchange for gap in market.open]


@define(eq=False, slots=False)
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
        for piece in self._pieces():
            if isinstance(piece, Session):
                book.meet(piece)
                continue
            numbered, others = self._sorted(piece)
            asked = self._asked(piece) if self._answers and any(book.counted(one).open for one in numbered) else {}
            for market, ids in numbered.items():
                if told := book.see(market, ids, self._latest, asked=asked.get(market, ())):
                    book.tell(told)
            for record in others:
                book.take(record)
        self.memory, self.told = book.memory, list(book.told.values())
        return Entries(self.told, self._of(Loss), self._of(Session), self._of(ClockCheck))

    @cached_property
    def _kinds(self) -> set[type]:
        return set(map(type, self.batch))

    @cached_property
    def _latest(self) -> Nanos:
        """When the last of the batch arrived."""
        return max(record.received for record in self.batch if type(record) is Trade)

    @cached_property
    def _answers(self) -> set[tuple[str, Nanos]]:
        """When REST told trades, and whose."""
        noted = {(note.exchange, note.received) for note in self._of(Consulted)}
        return noted | self.ledger.memory.consulted.items()

    def _asked(self, piece: Sequence[Record]) -> Mapping[Market, set[int]]:
        """The ids that REST told."""
        told: defaultdict[Market, set[int]] = defaultdict(set)
        for record in piece:
            if type(record) is Trade and (record.exchange, record.received) in self._answers:
                told[record.exchange, record.symbol].add(cast(int, record.trade_id))
        return told

    def _of(self, kind: type[N]) -> list[N]:
        return [cast(N, record) for record in self.batch if type(record) is kind] if kind in self._kinds else []

    def _pieces(self) -> Iterator[Sequence[Record] | Session]:
        """The batch in its order: what a connection's beginning or end comes between is told apart by it."""
        start = 0
        for place, record in enumerate(self.batch) if Session in self._kinds else ():
            if isinstance(record, Session):
                yield self.batch[start:place]
                yield record
                start = place + 1
        yield self.batch[start:]

    def _sorted(self, piece: Sequence[Record]) -> tuple[dict[Market, list[int]], list[Trade | Note]]:
        """The trade ids of markets whose exchange counts them up by one; the other trades and the notes in order."""
        markets: defaultdict[Market, list[int]] = defaultdict(list)
        others: list[Trade | Note] = []
        for record in piece:
            if type(record) is Trade:
                if not self.ledger.counts(record.exchange):
                    others.append(record)
                elif isinstance(record.trade_id, int):
                    markets[record.exchange, record.symbol].append(record.trade_id)
            elif type(record) in NOTES:
                others.append(cast(Note, record))
        return markets, others


@define(eq=False)
class _Book:
    """What is known of the markets while one batch is reckoned: copies, so that a failed offer changes nothing."""

    ledger: Ledger
    ask: Ask
    markets: dict[Market, Kept]
    fresh: set[Market]
    pending: dict[Market, str]
    alive: set[tuple[str, str, Nanos]]
    consulted: dict[str, Nanos]
    told: dict[tuple[Market, int], Gap] = field(factory=dict)
    _copied: set[Market] = field(factory=set)

    @classmethod
    def of(cls, ledger: Ledger, ask: Ask, *, stale: bool) -> _Book:
        known = ledger.memory
        return cls(
            ledger,
            ask,
            dict(known.markets),
            set() if stale else set(known.fresh),
            pending=dict(known.pending),
            alive=set(known.alive),
            consulted=dict(known.consulted),
        )

    @property
    def memory(self) -> Memory:
        return Memory(self.markets, self.fresh, self.pending, self.alive, self.consulted)

    def meet(self, session: Session) -> None:
        """A connection began or ended; its end tears the markets of its exchange, unless the next one is there."""
        link = (session.exchange, session.connection, session.opened)
        if session.closed is None:
            self.alive.add(link)
            return
        self.alive.discard(link)
        if not any(_place(other) == _place(link) for other in self.alive):
            for market in self.markets:
                if market[0] == session.exchange:
                    self.pending.setdefault(market, DISCONNECTED)

    def see(self, market: Market, ids: Sequence[int], at: Nanos, *, asked: Collection[int]) -> list[Gap]:
        """Take ids in the order in which they came; up to the first new one the pending cause holds."""
        now = self.counted(market)
        if market not in self.pending:
            return now.see(ids, at, self.ledger.cause, road=self.ledger.road, asked=asked)
        see = partial(now.see, road=self.ledger.road, asked=asked)
        new = next((place for place, number in enumerate(ids, 1) if now.highest is None or number > now.highest), 0)
        before = ids[: new or len(ids)]
        gaps = see(before, at, self.pending[market])
        if new:
            del self.pending[market]
        return gaps + see(ids[len(before) :], at, self.ledger.cause)

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
            case Broken(exchange, symbols, cause):
                for symbol in symbols:
                    self._broken((exchange, symbol), cause)
            case Consulted(exchange, received):
                self.consulted[exchange] = received
            case Forgone(exchange, symbol, first, last, received):
                self.tell(self.open((exchange, symbol)).forgo((first, last), received))
            case Bridged(exchange, symbol, first, last, received):
                self.tell(self._uncounted((exchange, symbol)).bridge((first, last), received))

    def _broken(self, market: Market, cause: str) -> None:
        if not self.ledger.counts(market[0]):
            self._uncounted(market).end(UNPROVABLE.format(cause))
        elif market in self.markets:
            self.pending.setdefault(market, cause)

    def _trade(self, trade: Trade) -> None:
        market = (trade.exchange, trade.symbol)
        if market in self.markets and trade.received != self.consulted.get(trade.exchange):
            self.tell(self._uncounted(market).see(trade))

    def _carried(self, markets: Iterable[Market]) -> None:
        for market in markets:
            if market not in self.markets:
                stretches = self._uncounted(market)
                stretches.end(UNPROVABLE.format(self.pending.pop(market)))

    def counted(self, market: Market) -> Continuity:
        """What is known of a market whose exchange counts its trades."""
        return cast(Continuity, self.open(market))

    def _uncounted(self, market: Market) -> Stretches:
        return cast(Stretches, self.open(market))

    def open(self, market: Market) -> Kept:
        """What is known of a market, to be changed."""
        if market not in self._copied or market not in self.fresh:
            self.markets[market] = self.markets[market].copy() if market in self.fresh else self._asked(market)
            self.fresh.add(market)
            self._copied.add(market)
        return self.markets[market]

    def _asked(self, market: Market) -> Kept:
        """What the store tells of it now; where connections stand is remembered by this run alone."""
        known = self.ask(*market)
        if market not in self.markets:
            killed = known.killed and any(link[0] == market[0] for link in self.alive)
            self.pending[market] = KILLED if killed else self.ledger.first_cause
        if self.ledger.counts(market[0]):
            numbered = [gap for gap in known.gaps if gap.between is None]
            return Continuity(*market, Channel.TRADES, known.lowest, known.highest, numbered)
        stretches = [gap for gap in known.gaps if gap.between and gap.open]
        before = self.markets.get(market) or Stretches(*market, Channel.TRADES, known.newest)
        return evolve(cast(Stretches, before), open=stretches)


def _place(link: tuple[str, str, Nanos]) -> tuple[str, str]:
    """What a connection stands for: its successor, and ``ws-1b`` beside ``ws-1``, carry the same."""
    return link[0], link[1].rstrip(ascii_lowercase)
