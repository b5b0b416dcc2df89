"""``mysql://user:password@host:3306/database``: MariaDB and MySQL.

A password may come from ``MYSQL_PWD`` instead. A decimal is kept as the text that it was sent as, since no number of
these servers holds every digit; the views show it as ``DECIMAL(38,18)`` (rounded to 18 places where it has more, null
where it has more than 20 before the point), and exact as text beside: ``price``, ``price_text``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
import pymysql.cursors
from attrs import define, field

from trioagg.errors import SettingsError, StoreError
from trioagg.settings import nearest, redacted
from trioagg.sinks._address import ESCAPED
from trioagg.sinks._reading import opened as opened_for_reading
from trioagg.sinks._schema import TABLES, VIEWS, Dialect, Table, insert, listed
from trioagg.sinks._server import CONNECTING, LOCKED, Server, ServerSink, serving, upgrade
from trioagg.store import Readable
from trioagg.store.cells import Cells
from trioagg.store.order import MOMENT

SILENT = 60
"""Seconds that an answer may take."""
SORTING = 3600
"""The same for whoever reads: an answer may be sorted first, and may be taken as slowly."""
MODE = "ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"
LATEST = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
"""What another writer committed is seen once it let the lock go, not only from the next transaction on."""
MAKING = "trioagg makes its tables"
OPTIONS = ("ssl_ca", "ssl_cert", "ssl_key", "unix_socket")
"""What the URL's query may say: files."""

LARGEST = 4 * 2**20
"""Bytes: each may take two in a statement, and a server takes 16 MB by default, else it hangs up."""

PASSING = {
    *(1021, 1041, 1114),  # no room on its disk, no memory, a full table
    *(1040, 1203, 1226),  # too many connections
    *(1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184),  # the connection or the server went away
    *(1205, 1213),  # another has the lock
    *(1290, 1836),  # read-only for now
    *(1317, 1927, 3024, 4031),  # ended by a person or a limit
    *(2002, 2003, 2006, 2012, 2013, 2014, 2055),  # not reached, or lost
}
"""Errors that may be gone at the next try."""


def _views(name: str, place: str) -> Mapping[str, str]:
    whole = f"CHAR_LENGTH(SUBSTRING_INDEX(TRIM(LEADING '-' FROM {place}), '.', 1))"
    return {name: f"CASE WHEN {whole} <= 20 THEN CAST({place} AS DECIMAL(38,18)) END", f"{name}_text": place}


DIALECT = Dialect(
    types={
        "name": "VARCHAR(255)",
        "text": "LONGTEXT",
        "decimal": "VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin",
        "integer": "BIGINT",
        "truth": "BOOLEAN",
        "bytes": "LONGBLOB",
        "digest": "BINARY(16)",
    },
    id="BIGINT AUTO_INCREMENT PRIMARY KEY",
    schema="DATABASE()",
    text="CHAR",
    moment="TIMESTAMPADD(MICROSECOND, {} DIV 1000, TIMESTAMP '1970-01-01 00:00:00')",
    behind=" ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    views=_views,
    indexing=(
        f"ALTER TABLE trade ADD COLUMN moment BIGINT AS ({MOMENT}) VIRTUAL",
        "CREATE INDEX trade_by_number ON trade (instrument, number, moment)",
    ),
    outdated="DROP INDEX trade_by_instrument_number_timestamp_received ON trade",
    time="moment",
    reading=(
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        f"SET SESSION net_write_timeout = {SORTING}",
    ),
    largest=LARGEST,
)


@define(eq=False)
class MysqlLink:
    """See ``Link``."""

    _connection: Any
    dialect: Dialect = field(default=DIALECT, init=False)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._connection.begin()
        yield  # whatever ends the body early ends the connection, and the transaction with it
        self._connection.commit()

    def ask(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(query, values)
            return list(cursor.fetchall())

    def each(self, query: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        with self._connection.cursor(pymysql.cursors.SSCursor) as cursor:
            cursor.execute(query, values)
            yield from cursor.fetchall_unbuffered()

    def tell(self, statement: str, rows: Sequence[Sequence[object]] = ((),)) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def make(self) -> None:
        """Version 0 says that whoever began did not come to the end: there is no transaction around such statements."""
        if self.ask("SELECT GET_LOCK(%s, %s)", (MAKING, LOCKED)) != [(1,)]:
            raise pymysql.err.OperationalError(1205, "another makes the tables")
        self.tell("CREATE TABLE IF NOT EXISTS trioagg (version INTEGER NOT NULL, writes BIGINT NOT NULL)")
        made = self.ask("SELECT version FROM trioagg WHERE version > 0")
        for statement in upgrade(self) if made else self._anew():
            self.tell(statement)
        self.ask("SELECT RELEASE_LOCK(%s)", (MAKING,))

    def lock(self) -> int:
        with self._connection.cursor() as cursor:
            cursor.execute("UPDATE trioagg SET writes = LAST_INSERT_ID(writes + 1)")
            writes: int = cursor.lastrowid
            return writes

    def put(self, table: Table, rows: Sequence[Cells]) -> int:
        first = next(iter(table.columns))
        with self._connection.cursor() as cursor:
            # IGNORE would pass over much more than a row that is there.
            added: int = cursor.executemany(f'{insert(table)} ON DUPLICATE KEY UPDATE "{first}" = "{first}"', rows)
            return added

    def renew(self, table: Table, rows: Sequence[Cells], names: Sequence[str], judged: Sequence[str] = ()) -> None:
        new = ", ".join(f'"{name}" = %s' for name in names)
        which = " AND ".join(f'"{name}" = %s' for name in table.key)
        if judged:
            which += f" AND ({listed(judged)}) <= ({', '.join(['%s'] * len(judged))})"
        places = [list(table.columns).index(name) for name in (*names, *table.key, *judged)]
        self.tell(f"UPDATE {table.name} SET {new} WHERE {which}", [[row[n] for n in places] for row in rows])

    def close(self) -> None:
        if self._connection.open:
            self._connection.close()

    def _anew(self) -> Iterator[str]:
        yield from (f"DROP VIEW IF EXISTS {name}" for name in VIEWS)
        yield from (f"DROP TABLE IF EXISTS {name}" for name in TABLES)
        yield from DIALECT.script()


def _passing(error: Exception) -> bool:
    return isinstance(error, pymysql.err.InterfaceError) or (bool(error.args) and error.args[0] in PASSING)


def _server(url: str, silent: int) -> Server:
    """Raises SettingsError: the URL is none of ours."""
    options, shown = {**_options(url), "read_timeout": silent}, redacted(url)

    def opened() -> MysqlLink:
        try:
            link = MysqlLink(pymysql.connect(**options))
        except RuntimeError as error:  # MySQL's own way to log in needs a library that PyMySQL does not bring
            raise StoreError(f"{shown} cannot be used: {error}; pip install 'trioagg[mysql]'") from error
        link.tell(f"SET innodb_lock_wait_timeout = {LOCKED}")
        return link

    return Server(shown, opened, (pymysql.err.Error,), _passing, options["password"])


def _options(url: str) -> dict[str, Any]:
    told = urlsplit(url) if url.startswith("mysql://") and url.count("@") <= 1 and _sound(url) else None
    database = unquote(told.path[1:]) if told else ""
    if not told or not told.username or not database or "/" in database:
        good = "mysql://user:password@host:3306/database"
        raise SettingsError(f"bad value {redacted(url)!r}: must look like {good}, {ESCAPED}")
    query = dict(parse_qsl(told.query))
    if strange := query.keys() - set(OPTIONS):
        odd = min(strange)
        raise SettingsError(f"bad value {redacted(url)!r}: unknown option {odd!r}; {nearest(odd, OPTIONS)}")
    return {
        **query,
        **({"ssl_verify_cert": True, "ssl_verify_identity": True} if "ssl_ca" in query else {}),
        "host": told.hostname or "localhost",
        "port": told.port or 3306,
        "user": unquote(told.username),
        "password": os.environ.get("MYSQL_PWD", "") if told.password is None else unquote(told.password),
        "database": database,
        "charset": "utf8mb4",
        "sql_mode": MODE,
        "init_command": LATEST,
        "binary_prefix": True,
        "autocommit": True,
        "connect_timeout": CONNECTING,
        "write_timeout": SILENT,
    }


def _sound(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def readable(url: str) -> Readable:
    """What was stored on a server, for reading only.

    Raises:
        SettingsError: the URL cannot be read.
        StoreError: the server cannot be reached, or there is no such store.
    """
    return opened_for_reading(_server(url, SORTING))


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[ServerSink]:
    """Reach the server, and make the tables if need be; one that is away for now is tried again at each write.

    Raises:
        SettingsError: the URL cannot be read.
        StoreError: the server does not let us in, or there is no such database, or it holds what is not ours.
    """
    async with serving(_server(url, SILENT)) as sink:
        yield sink
