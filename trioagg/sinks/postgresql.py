"""``postgresql://user:password@host:5432/database``: PostgreSQL, with TimescaleDB's hypertables where that is there.

The whole of it is libpq's: what the URL leaves out comes from its environment (``PGUSER``, ``PGPASSWORD``, …), and its
query takes libpq's parameters (``?sslmode=require``). Rows go by COPY into a staging table of the connection's own, and
from there into the table, unless they are there. Decimals are ``numeric`` with every digit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

from attrs import define, field

from trioagg.errors import SettingsError
from trioagg.settings import nearest, redacted
from trioagg.sinks._address import ESCAPED, query
from trioagg.sinks._reading import opened as opened_for_reading
from trioagg.sinks._schema import EVENTS, Dialect, Table, insert, listed
from trioagg.sinks._server import CONNECTING, LOCKED, Server, ServerSink, serving, upgrade
from trioagg.store import Readable
from trioagg.store.cells import Cells
from trioagg.store.order import MOMENT
from trioagg.store.seek import AT_ONCE

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError as error:
    raise SettingsError("PostgreSQL needs psycopg: pip install 'trioagg[postgres]'") from error

KEY = 0x54724167
"""Of the lock that whoever makes the tables holds: ``TrAg``."""
DAY = 86_400 * 10**9
MARK = "CREATE TABLE trioagg (version INTEGER NOT NULL, writes BIGINT NOT NULL)"
LOCK = "UPDATE trioagg SET writes = writes + 1 RETURNING writes"
HYPERTABLE = "SELECT create_hypertable(%s, %s, chunk_time_interval => %s, create_default_indexes => false)"

OPENINGS = ("starting up", "shutting down", "accepting connections", "recovery mode", "too many", "slots are reserved")
"""What a refusal to connect says that will pass; the others (a password, a database that is not there) stay."""


def _views(name: str, place: str) -> Mapping[str, str]:
    return {name: place}


DIALECT = Dialect(
    types={
        "name": 'TEXT COLLATE "C"',
        "text": "TEXT",
        "decimal": "NUMERIC",
        "integer": "BIGINT",
        "truth": "BOOLEAN",
        "bytes": "BYTEA",
        "digest": "BYTEA",
    },
    id="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    schema="current_schema()",
    text="TEXT",
    moment="to_timestamp(({} / 1000) / 1e6::double precision)",
    behind="",
    views=_views,
    indexing=(
        "CREATE INDEX trade_by_number ON trade (instrument, number) WHERE number IS NOT NULL",
        f"CREATE INDEX trade_by_time ON trade (instrument, ({MOMENT}), trade_id) WHERE number IS NULL",
    ),
    outdated="DROP INDEX IF EXISTS trade_by_instrument_number_timestamp_received",
    time=MOMENT,
    reading=("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",),
)


@define(eq=False)
class PostgresLink:
    """See ``Link``."""

    _connection: psycopg.Connection[tuple[Any, ...]]
    _staged: set[str] = field(factory=set, init=False)
    dialect: Dialect = field(default=DIALECT, init=False)

    def transaction(self) -> AbstractContextManager[object]:
        return self._connection.transaction()

    def ask(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(_sql(query), values).fetchall()

    def each(self, query: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        with self._connection.cursor(name="trioagg") as cursor:
            cursor.itersize = AT_ONCE
            yield from cursor.execute(_sql(query), values)

    def tell(self, statement: str, rows: Sequence[Sequence[object]] = ((),)) -> None:
        self._changed(statement, rows)

    def make(self) -> None:
        with self._connection.transaction():
            self.ask("SELECT pg_advisory_xact_lock(%s)", (KEY,))
            if self.ask("SELECT to_regclass('trioagg')") != [(None,)]:
                self._run(upgrade(self))
                return
            self._run((MARK, *DIALECT.script()))
            if self.ask("SELECT to_regproc('create_hypertable')") != [(None,)]:
                for name, moment in HYPERTABLES.items():
                    self.ask(HYPERTABLE, (name, moment, DAY))

    def lock(self) -> int:
        writes: int = self.ask(LOCK)[0][0]
        return writes

    def put(self, table: Table, rows: Sequence[Cells]) -> int:
        if table not in EVENTS.values():
            return self._changed(f"{insert(table)} ON CONFLICT DO NOTHING", rows)
        names, staging = listed(list(table.columns)), f"staging_{table.name}"
        if table.name not in self._staged:
            self._connection.execute(_sql(f"CREATE TEMP TABLE {staging} (LIKE {table.name})"))
            self._staged.add(table.name)
        with self._connection.cursor() as cursor:
            with cursor.copy(_sql(f"COPY {staging} ({names}) FROM STDIN")) as copy:
                for row in map(_sound, rows):
                    copy.write_row(row)
            into = f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {staging} ON CONFLICT DO NOTHING"
            added = cursor.execute(_sql(into)).rowcount
            cursor.execute(_sql(f"TRUNCATE {staging}"))
            return added

    def renew(self, table: Table, rows: Sequence[Cells], names: Sequence[str], judged: Sequence[str] = ()) -> None:
        new = ", ".join(f'"{name}" = excluded."{name}"' for name in names)
        told = f"{insert(table)} ON CONFLICT ({listed(table.key)}) DO UPDATE SET {new}"
        if judged:
            theirs, ours = (", ".join(f'{row}."{name}"' for name in judged) for row in ("excluded", table.name))
            told += f" WHERE ({theirs}) >= ({ours})"
        self._changed(told, rows)

    def close(self) -> None:
        self._connection.close()

    def _run(self, script: Iterable[str]) -> None:
        for statement in script:
            self._connection.execute(_sql(statement))

    def _changed(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        with self._connection.cursor() as cursor:
            cursor.executemany(_sql(statement), [_sound(row) for row in rows])
            return cursor.rowcount


HYPERTABLES = {
    table.name: next(name for name in ("received", "open_time") if name in table.key)
    for table in EVENTS.values()
    if "trade_id" not in table.key
}
"""Tables whose key holds a time. TimescaleDB wants that, so trades are none: their ids alone tell them apart."""


def _sql(text: str) -> bytes:
    """SQL that is not literally in the code: psycopg's types take that as bytes alone."""
    return text.encode()


def _sound(row: Sequence[object]) -> Sequence[object]:
    """A row without the one sign that PostgreSQL's texts cannot hold."""
    if any(type(cell) is str and "\0" in cell for cell in row):
        return tuple(cell.replace("\0", "\ufffd") if isinstance(cell, str) else cell for cell in row)
    return row


def _passing(error: Exception) -> bool:
    if not isinstance(error, psycopg.OperationalError):
        return False
    if error.sqlstate is None:  # while connecting, libpq tells a text alone
        return "FATAL" not in str(error) or any(told in str(error) for told in OPENINGS)
    return not error.sqlstate.startswith("28")


def _known(url: str) -> None:
    """Check the names of the parameters: libpq, which does so too, knows no nearest one."""
    good = [option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()]
    for name, _ in parse_qsl(query(url), keep_blank_values=True):
        if name not in good:
            raise SettingsError(f"bad value {redacted(url)!r}: unknown option {name!r}; {nearest(name, good)}")


def _server(url: str) -> Server:
    """Raises SettingsError: libpq cannot read the URL."""
    shown = redacted(url)
    try:
        _known(url)
        told = conninfo_to_dict(url)
        port = str(told.get("port") or 5432)
        if "@" in str(told.get("host") or "") or not port.isdecimal():
            raise psycopg.ProgrammingError
    except psycopg.Error:
        good = "postgresql://user:password@host:5432/database"
        raise SettingsError(f"bad value {shown!r}: must look like {good}, {ESCAPED}") from None
    usual = {"connect_timeout": str(CONNECTING), "application_name": "trioagg", "client_encoding": "UTF8"}
    whole = make_conninfo("", **{**usual, **told})

    def opened() -> PostgresLink:
        link = PostgresLink(psycopg.connect(whole, autocommit=True, prepare_threshold=None))
        link.tell(f"SET lock_timeout = '{LOCKED}s'")
        return link

    password = told.get("password")
    return Server(shown, opened, (psycopg.Error,), _passing, None if password is None else str(password))


def readable(url: str) -> Readable:
    """What was stored on a server, for reading only.

    Raises:
        SettingsError: the URL cannot be read.
        StoreError: the server cannot be reached, or there is no such store.
    """
    return opened_for_reading(_server(url))


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[ServerSink]:
    """Reach the server, and make the tables if need be; one that is away for now is tried again at each write.

    Raises:
        SettingsError: the URL cannot be read.
        StoreError: the server does not let us in, or there is no such database, or it holds what is not ours.
    """
    async with serving(_server(url)) as sink:
        yield sink
