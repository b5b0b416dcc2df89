"""The completeness ledger: which trades are missing, in step with the rows that are stored.

Where an exchange counts its trades, the ids tell; where it does not, each time without a connection is a stretch that
nothing proves. A ``Ledger`` remembers the ids, or the newest trade, of each market. What a batch changes is a
``Draft``: reckoned as often as the batch is offered, inside the transaction that stores the rows, and kept once that is
committed. Another writer of the same store makes what is remembered stale; then the store is asked again, in the same
transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from string import ascii_lowercase
from typing import TypeVar, cast

from attrs import define, field, frozen

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

Kept = Continuity | Stretches
"""What is known of a market: where its trades are counted, and where they are not."""

Link = tuple[str, Nanos]
"""A connection of one exchange: its name, and when it was opened."""

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


@define(eq=False)
class Memory:
    """What a ledger remembers of one exchange between two batches.

    Attributes:
        markets: symbol → what is known of it.
        doubted: those of which another writer may have stored something since.
        pending: why trades may be missing before the next new one, where something special happened since the last.
        alive: the connections that are open, as (connection, opened).
        consulted: the arrival of the last answer to a question for trades; None before the first.
    """

    markets: dict[str, Kept] = field(factory=dict)
    doubted: set[str] = field(factory=set)
    pending: dict[str, str] = field(factory=dict)
    alive: set[Link] = field(factory=set)
    consulted: Nanos | None = None


@define(eq=False)
class Ledger:
    """Watches what one store is given.

    Attributes:
        counts: tells whether an exchange counts its trades up by one.
        cause: why a trade may be missing of a market that was there before in this run.
        first_cause: the same between what is stored from earlier and what comes first.
        road: how trades come that REST was not asked for.
        memory: exchange → what is known by now.
    """

    counts: Callable[[str], bool]
    cause: str
    first_cause: str
    road: Road = "stream"
    memory: dict[str, Memory] = field(factory=dict, init=False)

    def draft(self, batch: Sequence[Record]) -> Draft:
        """What a batch will change."""
        return Draft(self, batch)

    def keep(self, draft: Draft) -> bool:
        """Believe a draft, now that it is durable; whether it told of gaps, or met a market that may have some."""
        self.memory |= {exchange: book.memory for exchange, book in draft.books.items()}
        news = [book.keep() for book in draft.books.values()]
        return any(news)

    def unfilled(self, exchange: str) -> list[Gap]:
        """The gaps of an exchange that lack something, of the markets that this run has met."""
        memory = self.memory.get(exchange, Memory())
        return [gap for market in memory.markets.values() for gap in market.open]


@define(eq=False)
class Draft:
    """What one batch changes.

    Attributes:
        books: exchange → what is known of it once the batch is stored; none before a store has asked for its entries.
    """

    ledger: Ledger
    batch: Sequence[Record]
    books: Mapping[str, _Book] = field(factory=dict, init=False)

    def entries(self, ask: Ask, *, stale: bool) -> Entries:
        """Reckon it: from the beginning each time, since an earlier offer may have failed.

        Args:
            ask: the store, as it is in this transaction.
            stale: whether another writer has written since this was last said, of whatever draft.
        """
        for memory in self.ledger.memory.values() if stale else ():  # even if this offer fails: it is said once
            memory.doubted = set(memory.markets)
        books, notes = _Books(self.ledger, ask), list[Note]()
        for record in self.batch:
            if type(record) is Trade:
                books[record.exchange].waiting[record.symbol].append(record)
            elif type(record) in NOTES:
                note = cast(Note, record)
                books[note.exchange].take(note)
                notes.append(note)
        gaps = [gap for book in books.values() for gap in book.settled()]
        self.books = books
        return Entries(gaps, _of(notes, Loss), _of(notes, Session), _of(notes, ClockCheck))


class _Books(dict[str, "_Book"]):
    """Exchange → its book, opened when it is first needed."""

    def __init__(self, ledger: Ledger, ask: Ask) -> None:
        super().__init__()
        self._ledger, self._ask = ledger, ask

    def __missing__(self, exchange: str) -> _Book:
        book = self[exchange] = _Book.of(self._ledger, exchange, self._ask)
        return book


@define(eq=False)
class _Book:
    """What is known of one exchange while a batch is reckoned: copies, so that a failed offer changes nothing.

    Attributes:
        memory: what is known without the batch.
        markets: those that the batch touched.
        asked: those of them of which the store was asked.
        waiting: symbol → trades that came since the last note.
        told: the gaps that were opened, filled or changed.
    """

    exchange: str
    ledger: Ledger
    counted: bool
    ask: Ask
    memory: Memory
    pending: dict[str, str]
    alive: set[Link]
    consulted: Nanos | None
    markets: dict[str, Kept] = field(factory=dict)
    asked: set[str] = field(factory=set)
    waiting: defaultdict[str, list[Trade]] = field(factory=lambda: defaultdict(list))
    told: dict[tuple[str, int], Gap] = field(factory=dict)

    @classmethod
    def of(cls, ledger: Ledger, exchange: str, ask: Ask) -> _Book:
        known = ledger.memory.get(exchange) or Memory()
        return cls(
            exchange,
            ledger,
            ledger.counts(exchange),
            ask=ask,
            memory=known,
            pending=known.pending.copy(),
            alive=known.alive.copy(),
            consulted=known.consulted,
        )

    def settled(self) -> Iterable[Gap]:
        """The gaps that changed, now that all has come."""
        see = self._numbered if self.counted else self._unnumbered
        for symbol, trades in self.waiting.items():
            see(symbol, trades)
        self.waiting.clear()
        return self.told.values()

    def keep(self) -> bool:
        """Make this what is known; whether it told of gaps, or met a market."""
        memory, met = self.memory, len(self.memory.markets)
        memory.markets |= self.markets
        memory.doubted -= self.asked
        memory.pending, memory.alive, memory.consulted = self.pending, self.alive, self.consulted
        return bool(self.told) or len(memory.markets) > met

    def take(self, note: Note) -> None:
        """Take a note in its turn."""
        self.settled()
        match note:
            case Session():
                self._meet(note)
            case Carried() if not self.counted:
                self._carried(note.symbols)
            case Broken():
                for symbol in note.symbols:
                    self._broken(symbol, note.cause)
            case Consulted():
                self.consulted = note.received
            case Forgone():
                self._tell(self._open(note.symbol).forgo((note.first, note.last), note.received))
            case Bridged():
                self._tell(self._stretches(note.symbol).bridge((note.first, note.last), note.received))

    def _numbered(self, symbol: str, trades: Sequence[Trade]) -> None:
        """Trades that are counted: nearly always the next ones."""
        now = cast(Continuity, self._open(symbol))
        if now.follow(trades):
            self.pending.pop(symbol, None)
            return
        numbers = [(trade.trade_id, trade.received) for trade in trades if isinstance(trade.trade_id, int)]
        asked = {number for number, received in numbers if received == self.consulted} if now.open else ()
        at = max(trade.received for trade in trades)
        ids, see = [number for number, _ in numbers], partial(now.see, at=at, road=self.ledger.road, asked=asked)
        if symbol in self.pending:  # this is the cause up to the first new one
            new = next((place for place, number in enumerate(ids, 1) if now.highest is None or number > now.highest), 0)
            before, ids = ids[: new or len(ids)], ids[new or len(ids) :]
            self._tell(see(before, cause=self.pending[symbol]))
            if new:
                del self.pending[symbol]
        self._tell(see(ids, cause=self.ledger.cause))

    def _unnumbered(self, symbol: str, trades: Sequence[Trade]) -> None:
        """Trades that are not counted; what REST tells comes out of its turn."""
        told = [trade for trade in trades if trade.received != self.consulted]
        if told and self._met(symbol):
            self._tell(self._stretches(symbol).see(told))

    def _tell(self, gaps: Iterable[Gap]) -> None:
        """Remember what was opened or changed."""
        for gap in gaps:
            self.told[gap.symbol, gap.first] = gap

    def _meet(self, session: Session) -> None:
        """A connection began or ended; its end tears the markets, unless the next one is there."""
        link = (session.connection, session.opened)
        if session.closed is None:
            self.alive.add(link)
            return
        self.alive.discard(link)
        if self.counted and not any(_place(other) == _place(link) for other in self.alive):
            for symbol in self.memory.markets | self.markets:
                self.pending.setdefault(symbol, DISCONNECTED)

    def _carried(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            if not self._met(symbol):
                stretches = self._stretches(symbol)
                stretches.end(UNPROVABLE.format(self.pending.pop(symbol)))

    def _broken(self, symbol: str, cause: str) -> None:
        if not self.counted:
            self._stretches(symbol).end(UNPROVABLE.format(cause))
        elif self._met(symbol):
            self.pending.setdefault(symbol, cause)

    def _met(self, symbol: str) -> bool:
        return symbol in self.markets or symbol in self.memory.markets

    def _stretches(self, symbol: str) -> Stretches:
        """What is known of a market whose exchange does not count."""
        return cast(Stretches, self._open(symbol))

    def _open(self, symbol: str) -> Kept:
        """What is known of a market, to be changed."""
        if (mine := self.markets.get(symbol)) is None:
            known = None if symbol in self.memory.doubted else self.memory.markets.get(symbol)
            mine = self.markets[symbol] = self._stored(symbol) if known is None else known.copy()
        return mine

    def _stored(self, symbol: str) -> Kept:
        """What the store tells of it now; where connections stand is remembered by this run alone."""
        known, before = self.ask(self.exchange, symbol), self.memory.markets.get(symbol)
        self.asked.add(symbol)
        if before is None:
            self.pending[symbol] = KILLED if known.killed and self.alive else self.ledger.first_cause
        if self.counted:
            numbered = [gap for gap in known.gaps if gap.between is None]
            return Continuity(self.exchange, symbol, Channel.TRADES, known.lowest, known.highest, numbered)
        stretches = [gap for gap in known.gaps if gap.between and gap.open]
        newest, broken = (before.newest, before.broken) if isinstance(before, Stretches) else (known.newest, "")
        return Stretches(self.exchange, symbol, Channel.TRADES, newest, broken, stretches)


def _of(notes: Iterable[Note], kind: type[N]) -> list[N]:
    return [note for note in notes if isinstance(note, kind)]


def _place(link: Link) -> str:
    """What a connection stands for: its successor, and ``ws-1b`` beside ``ws-1``, carry the same."""
    return link[0].rstrip(ascii_lowercase)
