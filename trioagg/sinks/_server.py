"""Sinks that are database servers: one connection in a worker thread, made anew after any trouble.

A file of a server gives a ``Link``, which speaks by the server's driver; what to say is the same for all, and is here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from operator import itemgetter
from typing import Any, Protocol

import structlog
import trio
from attrs import define, field

from trioagg.errors import SinkError, StoreError
from trioagg.integrity.ledger import Draft, Known
from trioagg.model import Event, Instrument
from trioagg.sinks._schema import (
    CLOCK,
    EVENTS,
    GAP,
    INSTRUMENT,
    QUARANTINED,
    SESSION,
    TABLES,
    VERSION,
    VIEWS,
    Dialect,
    Table,
)
from trioagg.store.batches import Batches, Counts, Past
from trioagg.store.cells import Beside, Cells, Instant, Market, gaps_of, instrument_row
from trioagg.store.kinds import Kind

log = structlog.get_logger(__name__)

CONNECTING = 10
"""Seconds that a server may take to take a connection."""
LOCKED = 10
"""Seconds to wait for another writer of the same store."""
CLOSING = 2.0
"""Seconds that a connection may take to be closed, what is being written included."""

OWN_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = {schema}"
OWN_COLUMNS = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = {schema}"
FIND_INSTRUMENT = "SELECT id FROM instrument WHERE exchange = %s AND symbol = %s"
EDGES = "SELECT min(number), max(number) FROM trade WHERE instrument = %s"
NEWEST_NUMBERED = """
SELECT coalesce(timestamp, received), number FROM trade
WHERE instrument = %s AND number IS NOT NULL ORDER BY number DESC LIMIT 1
"""
NEWEST_NAMED = """
SELECT coalesce(timestamp, received), trade_id FROM trade
WHERE instrument = %s AND number IS NULL ORDER BY {time} DESC, trade_id DESC LIMIT 1
"""
OPEN_GAPS = """
SELECT channel, origin, coalesce(first_missing, since), coalesce(last_missing, until),
    cause, status, detected, closed, filled_by, "before", "after"
FROM gap AS part
WHERE instrument = %s AND channel = 'trades' AND coalesce(first_missing, since) IS NOT NULL AND EXISTS (
    SELECT 1 FROM gap WHERE gap.instrument = part.instrument AND gap.channel = part.channel
    AND gap.origin = part.origin AND gap.status <> 'filled'
)
ORDER BY origin, coalesce(first_missing, since)
"""
FORGET_GAP = "DELETE FROM gap WHERE instrument = %s AND channel = %s AND origin = %s"
UNFINISHED = "SELECT id, opened FROM session WHERE closed IS NULL AND reason = ''"
ENDLESS = "SELECT id FROM session WHERE exchange = %s AND id <= %s AND closed IS NULL"
LAST_SESSION = "SELECT coalesce(max(id), 0) FROM session"
END_UNFINISHED = """
UPDATE session SET reason = 'killed' WHERE exchange = %s AND id = %s AND closed IS NULL AND reason = ''
"""


class Link(Protocol):
    """One connection to a server; its driver's errors come out as they are."""

    dialect: Dialect

    def transaction(self) -> AbstractContextManager[object]:
        """All of the body or none of it."""
        ...

    def ask(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of an answer."""
        ...

    def each(self, query: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of an answer as they come, within a transaction; nothing else is asked meanwhile."""
        ...

    def tell(self, statement: str, rows: Sequence[Sequence[object]] = ((),)) -> None:
        """Do it with each row of values."""
        ...

    def make(self) -> None:
        """Make the tables, or bring older ones up to date; alone, where two do it at a time."""
        ...

    def lock(self) -> int:
        """Keep other writers out until the transaction ends; how many have written before, this one included."""
        ...

    def put(self, table: Table, rows: Sequence[Cells]) -> int:
        """Add rows that are not there, and say how many were not."""
        ...

    def renew(self, table: Table, rows: Sequence[Cells], names: Sequence[str], judged: Sequence[str] = ()) -> None:
        """Put rows, one after the other, in the place of those that are there: the columns named, unless ``judged`` are
        less.
        """
        ...

    def close(self) -> None:
        """End it; whatever is wrong with it, that is no error any more."""
        ...


@define(eq=False)
class Server:
    """Where a store is, and how its driver's errors are told.

    Attributes:
        shown: its URL without credentials.
        open: makes a connection.
        troubles: what the driver raises.
        passing: whether such a trouble may be gone at the next try.
        password: never in a text.
    """

    shown: str
    open: Callable[[], Link]
    troubles: tuple[type[Exception], ...]
    passing: Callable[[Exception], bool]
    password: str | None = field(default=None, repr=False)

    def explained(self, error: Exception) -> SinkError | StoreError:
        """An error of the driver's as ours, in one line."""
        told = " ".join(str(part) for part in error.args) or type(error).__name__
        told = told.replace(self.password, "...") if self.password else told
        passing = self.passing(error)
        line = f"{self.shown} {'does not work now' if passing else 'cannot be used'}: {' '.join(told.split())}"
        return SinkError(line) if passing else StoreError(line)


@define(eq=False)
class Store:
    """The tables of one server, for one thread at a time; see ``Tables``."""

    server: Server
    _batches: Batches = field(init=False)
    _open: Link | None = field(default=None, init=False)
    _writes: int = field(default=-1, init=False)
    _stale: bool = field(default=True, init=False)
    _past: Past | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._batches = Batches(self)

    def write(self, batch: Sequence[Event], draft: Draft) -> Counts:
        """See ``Sink.write``."""
        with self._speaking():
            return self._batches.write(batch, draft)

    def describe(self, instruments: Sequence[Instrument]) -> None:
        """See ``Sink.describe``."""
        told = {(listed.exchange, listed.symbol): instrument_row(listed) for listed in instruments}
        if not told:
            return
        with self._speaking(), self.transaction():
            self._renewed(INSTRUMENT, list(told.values()), list(INSTRUMENT.columns)[2:])

    def reach(self) -> None:
        """Connect now.

        Raises:
            SinkError: the server cannot be reached now.
            StoreError: it will not let us in, or holds what is not ours.
        """
        with self._speaking():
            self._connected()

    def close(self) -> None:
        """End the connection, if there is one; nothing more is written."""
        self._batches.close()
        self._hang_up()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        link = self._connected()
        with link.transaction():
            writes = link.lock()
            self._stale, self._writes = writes != self._writes + 1, writes
            yield

    def stale(self) -> bool:
        return self._stale

    def known(self, exchange: str, symbol: str) -> Known:
        found = self._link.ask(FIND_INSTRUMENT, (exchange, symbol))
        if not found:
            return Known(None, None, [])
        ((lowest, highest),) = self._link.ask(EDGES, found[0])
        gaps = gaps_of(exchange, symbol, self._link.ask(OPEN_GAPS, found[0]))
        named = NEWEST_NAMED.format(time=self._link.dialect.time)
        newest = [row for query in (NEWEST_NUMBERED, named) for row in self._link.ask(query, found[0])]
        told = max(newest, key=itemgetter(0), default=None)
        return Known(lowest, highest, gaps, told, killed=self._killed(exchange))

    def named(self, market: Market) -> int:
        if not self._link.ask(FIND_INSTRUMENT, market):
            self._link.tell("INSERT INTO instrument (exchange, symbol) VALUES (%s, %s)", [market])
        found: int = self._link.ask(FIND_INSTRUMENT, market)[0][0]
        return found

    def arrived(self, kind: Kind, instant: Instant, count: int) -> list[Cells]:
        table, text = EVENTS[kind], self._link.dialect.text
        exact = (
            f'CAST("{name}" AS {text})' if column.type == "decimal" else f'"{name}"'
            for name, column in list(table.columns.items())[:-1]
        )
        within = "instrument = %s AND received = %s AND ordinal < %s"
        query = f"SELECT {', '.join(exact)} FROM {table.name} WHERE {within} ORDER BY ordinal"
        return list(self._link.ask(query, (*instant, count)))

    def added(self, kind: Kind, rows: Sequence[Cells]) -> int:
        table = EVENTS[kind]
        if "number" in table.columns:
            return self._link.put(table, [_numbered(row) for row in rows])
        if not kind.judged:
            return self._link.put(table, rows)
        changing = [name for name in kind.stored if name not in kind.key]
        return self._renewed(table, rows, changing, kind.judged)

    def note(self, rows: Beside) -> None:
        if rows.quarantined:
            most = self._link.dialect.largest
            self._link.put(QUARANTINED, [(*row[:-1], _bytes(row[-1])[:most]) for row in rows.quarantined])
        if rows.forgotten:
            self._link.tell(FORGET_GAP, rows.forgotten)
        if rows.gaps:
            self._link.put(GAP, rows.gaps)
        if killed := self._before.killed(rows.begun):
            self._link.tell(END_UNFINISHED, killed)
        if rows.sessions:
            told = {(row[0], row[1], row[3]): row for row in rows.sessions}
            self._renewed(SESSION, list(told.values()), ("closed", "reason", "missed"))
        if rows.clocks:
            self._link.put(CLOCK, rows.clocks)

    @property
    def _link(self) -> Link:
        assert self._open, "the tables are asked within a transaction"
        return self._open

    @property
    def _before(self) -> Past:
        assert self._past, "the tables are asked within a transaction"
        return self._past

    def _killed(self, exchange: str) -> bool:
        endless = self._link.ask(ENDLESS, (exchange, self._before.last))
        return not self._before.unfinished.isdisjoint(number for (number,) in endless)

    def _renewed(self, table: Table, rows: Sequence[Cells], names: Sequence[str], judged: Sequence[str] = ()) -> int:
        added = self._link.put(table, rows)
        if added < len(rows):
            self._link.renew(table, rows, names, judged)
        return added

    def _connected(self) -> Link:
        if self._open is None:
            self._open = self.server.open()
            self._batches.forget_markets()
            self._prepare(self._open)
        return self._open

    def _prepare(self, link: Link) -> None:
        """Make the tables where there are none, and bring older ones up to date.

        Raises:
            StoreError: tables of another program are in their place, or those of a newer trioagg.
        """
        there = tables(link)
        if "trioagg" not in there and (taken := there & (TABLES.keys() | VIEWS.keys())):
            names = ", ".join(sorted(taken))
            raise StoreError(f"{self.server.shown} holds tables of another program: {names}; name another database")
        version = link.ask("SELECT version FROM trioagg") if "trioagg" in there else []
        if not version or version[0][0] < VERSION:
            link.make()
            self._past = None
        elif version[0][0] > VERSION:
            raise StoreError(f"{self.server.shown} was made by a newer trioagg: its schema is {version[0][0]}")
        if self._past is None:
            endless = [(number, opened) for number, opened in link.ask(UNFINISHED)]
            self._past = Past.of(endless, link.ask(LAST_SESSION)[0][0])

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """The driver's errors as ours; a connection on which anything went wrong is not used again."""
        try:
            yield
        except self.server.troubles as error:
            self._hang_up()
            raise self.server.explained(error) from error
        except BaseException:
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        if self._open:
            self._open.close()
            self._open = None


def upgrade(link: Link) -> Sequence[str]:
    """What brings the tables of an older trioagg up to date; nothing where they are."""
    ((version,),) = link.ask("SELECT version FROM trioagg")
    columns = link.ask(OWN_COLUMNS.format(schema=link.dialect.schema))
    return list(link.dialect.upgrade({(table, name) for table, name in columns})) if version < VERSION else ()


def tables(link: Link) -> set[str]:
    """What the store's place holds."""
    return {name for (name,) in link.ask(OWN_TABLES.format(schema=link.dialect.schema))}


def _numbered(row: Cells) -> Cells:
    """A trade's row with its id as text, and behind it as the number that it may be."""
    key = row[1]
    return (row[0], str(key), *row[2:], key if isinstance(key, int) else None)


def _bytes(payload: Any) -> bytes:
    return payload.encode() if isinstance(payload, str) else bytes(payload)


@define(eq=False)
class ServerSink:
    """The store in a worker thread, one call at a time; a cancelled call is left to itself, and ends nowhere."""

    _store: Store
    _limiter: trio.CapacityLimiter

    async def write(self, batch: Sequence[Event], draft: Draft, /) -> Counts:
        """See ``Sink.write``."""
        return await trio.to_thread.run_sync(
            self._store.write, batch, draft, limiter=self._limiter, abandon_on_cancel=True
        )

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        """See ``Sink.describe``."""
        await trio.to_thread.run_sync(self._store.describe, instruments, limiter=self._limiter, abandon_on_cancel=True)


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[ServerSink]:
    """A sink on a server, which need not be there yet; closes the connection at the end, as far as it can be.

    Raises:
        StoreError: the server is there and will not do.
    """
    store, limiter = Store(server), trio.CapacityLimiter(1)
    try:
        try:
            await trio.to_thread.run_sync(store.reach, limiter=limiter, abandon_on_cancel=True)
        except SinkError as error:
            log.warning("a store is not there yet", reason=str(error))
        yield ServerSink(store, limiter)
    finally:
        with trio.move_on_after(CLOSING, shield=True):
            await trio.to_thread.run_sync(store.close, limiter=limiter, abandon_on_cancel=True)
