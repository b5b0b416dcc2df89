"""Real database servers on this machine, each test in a place of its own, and a gate that may be shut before them."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager, suppress
from typing import Any, NoReturn, Protocol

import psycopg
import pymysql
import pytest
import trio
from attrs import define, field

from trioagg.sinks._schema import TABLES
from trioagg.store import COLUMNS
from trioagg.store.kinds import LANES

HOST = "127.0.0.1"
PLURALS = {"ticker": "tickers", "book": "books"}
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class Server(Protocol):
    """A place on a server that is the test's alone."""

    scheme: str
    port: int
    name: str

    def url(self, port: int | None = None) -> str:
        """For ``--sink``; through another port, if there is a gate before it."""
        ...

    def ask(self, *queries: str) -> list[tuple[Any, ...]]:
        """What a person's SQL tells, the last of it."""
        ...

    def kill(self) -> int:
        """End the sink's connections, as an administrator would; how many they were."""
        ...

    def exact(self, name: str) -> str:
        """A view's decimal with every digit, as text."""
        ...

    def renew(self) -> None:
        """Take everything away, and make the place anew."""
        ...


def empty(server: Server) -> None:
    """Take every row away, if there are tables."""
    server.kill()
    if server.ask(f"SELECT 1 FROM information_schema.tables WHERE table_schema = '{server.name}'"):
        server.ask(*(f"DELETE FROM {name}" for name in TABLES))


@define
class Postgres:
    """A schema in the database ``test``."""

    name: str
    scheme: str = "postgresql"
    port: int = 5432

    def url(self, port: int | None = None) -> str:
        """The schema is in its options, and the name of the test's connections."""
        place = f"options=-csearch_path%3D{self.name}&application_name={self.name}"
        return f"postgresql://postgres:pa%40ss@{HOST}:{port or self.port}/test?{place}"

    def ask(self, *queries: str) -> list[tuple[Any, ...]]:
        """In a connection of its own, so that it sees what is committed; in one transaction."""
        with psycopg.connect(f"postgresql://postgres@{HOST}/test") as connection, connection.cursor() as cursor:
            for query in (f"SET search_path = {self.name}", *queries):
                cursor.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def kill(self) -> int:
        """By the name of the connections."""
        query = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{self.name}'"
        return len(self.ask(query))

    def exact(self, name: str) -> str:
        """Numbers are exact here."""
        return f'CAST("{name}" AS TEXT)'

    def renew(self) -> None:
        """The schema."""
        self.ask(f"DROP SCHEMA {self.name} CASCADE", f"CREATE SCHEMA {self.name}")


@define
class Mariadb:
    """A database, and one connection to ask it: making one takes the server 50 ms."""

    name: str
    connection: Any
    scheme: str = "mysql"
    port: int = 3306

    def url(self, port: int | None = None) -> str:
        """As root, who needs no password here."""
        return f"mysql://root@{HOST}:{port or self.port}/{self.name}"

    def ask(self, *queries: str) -> list[tuple[Any, ...]]:
        """In one transaction of its own, so that it sees what is committed."""
        self.connection.begin()
        with self.connection.cursor() as cursor:
            for query in queries:
                cursor.execute(query)
            self.connection.commit()
            return list(cursor.fetchall())

    def kill(self) -> int:
        """All connections that are in this database, but this one."""
        query = f"SELECT id FROM information_schema.processlist WHERE db = '{self.name}' AND id <> CONNECTION_ID()"
        there = self.ask(query)
        for (number,) in there:
            with suppress(pymysql.err.OperationalError):  # it may have ended by itself
                self.ask(f"KILL {number}")
        return len(there)

    def exact(self, name: str) -> str:
        """The text that stands beside the number."""
        return f'"{name}_text"'

    def renew(self) -> None:
        """The database."""
        self.ask(f"DROP DATABASE {self.name}", f"CREATE DATABASE {self.name}", f"USE {self.name}")


def absent(reason: Exception, name: str) -> NoReturn:
    """Skip where there is no such server, except where there must be one."""
    text = f"no {name} on {HOST}: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A new schema, dropped at the end."""
    server = Postgres(f"trioagg_{uuid.uuid4().hex}")
    try:
        server.ask(f"CREATE SCHEMA {server.name}")
    except psycopg.OperationalError as error:
        absent(error, "PostgreSQL")
    try:
        yield server
    finally:
        server.kill()
        server.ask(f"DROP SCHEMA {server.name} CASCADE")


@contextmanager
def mariadb() -> Iterator[Mariadb]:
    """A new database, dropped at the end."""
    name, mode = f"trioagg_{uuid.uuid4().hex}", "ANSI_QUOTES,STRICT_ALL_TABLES"
    try:
        connection = pymysql.connect(host=HOST, user="root", sql_mode=mode, charset="utf8mb4")
    except pymysql.err.OperationalError as error:
        absent(error, "MariaDB")
    with closing(connection):
        server = Mariadb(name, connection)
        server.ask(f"CREATE DATABASE {name}", f"USE {name}")
        try:
            yield server
        finally:
            server.ask(f"DROP DATABASE {name}")


SERVERS: dict[str, Any] = {"postgresql": postgres, "mysql": mariadb}


def place(scheme: str) -> AbstractContextManager[Server]:
    """A place on a server, by the scheme of its URLs."""
    made: AbstractContextManager[Server] = SERVERS[scheme]()
    return made


def shown(server: Server, kind: str) -> list[tuple[Any, ...]]:
    """All rows of a kind under the contract's columns, exact, in an order of their own."""
    columns = TABLES[LANES[kind][0].table].columns
    decimals = [name for name in COLUMNS[kind] if name in columns and columns[name].type == "decimal"]
    names = [server.exact(name) if name in decimals else f'"{name}"' for name in COLUMNS[kind]]
    return ordered(server.ask(f"SELECT {', '.join(names)} FROM {PLURALS.get(kind, kind)}"))


def ordered(rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Rows whose payloads are bytes, sorted by what they look like."""
    whole = [tuple(int(cell) if isinstance(cell, bool) else cell for cell in row) for row in rows]
    return sorted(whole, key=repr)


@define(eq=False)
class Gate:
    """A port before a server: shut, it refuses, and cuts what went through it."""

    target: int
    nursery: trio.Nursery
    port: int = 0
    _open: trio.CancelScope = field(factory=trio.CancelScope)
    _gone: trio.Event = field(factory=trio.Event)

    async def open(self) -> None:
        """Let connections through, on the same port as before."""
        self._open, self._gone = trio.CancelScope(), trio.Event()
        listeners = await trio.open_tcp_listeners(self.port, host=HOST)
        self.port = listeners[0].socket.getsockname()[1]
        self.nursery.start_soon(self._serve, listeners)

    async def shut(self) -> None:
        """Refuse, and cut."""
        self._open.cancel()
        await self._gone.wait()

    async def _serve(self, listeners: list[trio.SocketListener]) -> None:
        with self._open:
            await trio.serve_listeners(self._pass, listeners)
        self._gone.set()

    async def _pass(self, client: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream(HOST, self.target) as server, client, trio.open_nursery() as nursery:
            nursery.start_soon(pump, client, server, nursery.cancel_scope)
            nursery.start_soon(pump, server, client, nursery.cancel_scope)


async def pump(source: trio.SocketStream, sink: trio.SocketStream, end: trio.CancelScope) -> None:
    """Hand on until either side is gone."""
    try:
        async for data in source:
            await sink.send_all(data)
    except GONE:
        pass
    end.cancel()


@asynccontextmanager
async def gate(server: Server) -> AsyncIterator[Gate]:
    """An open one."""
    async with trio.open_nursery() as nursery:
        made = Gate(server.port, nursery)
        await made.open()
        yield made
        nursery.cancel_scope.cancel()
