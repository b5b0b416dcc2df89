"""Database servers as stores to be read: what is asked is the store's own, only the lanes tell where rows lie here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from attrs import define

from trioagg.errors import StoreError
from trioagg.sinks._schema import VERSION
from trioagg.sinks._server import Link, Server, tables
from trioagg.store.order import Found, Lane, Part, Span
from trioagg.store.readable import Lanes
from trioagg.store.seek import found


@define(eq=False)
class ServerReader:
    """See ``Readable``; a session in which nothing can be written."""

    lanes: Lanes
    _server: Server
    _link: Link

    @property
    def shown(self) -> str:
        return self._server.shown

    def ask(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        with _read(self._server):
            return self._link.ask(_spelled(question), values)

    def each(self, question: str, *values: object) -> Iterator[tuple[Any, ...]]:
        with _read(self._server):
            yield from self._link.each(_spelled(question), values)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with _read(self._server), self._link.transaction():
            yield

    def in_time(self, lane: Lane, part: Part, span: Span) -> Iterator[Found]:
        """The server sorts, on its own disk, and holds no writer up; a session can tell one such answer at a time."""
        with closing(opened(self._server)) as apart, apart.snapshot():
            yield from found(lane, part, apart.each(lane.within, *part.key, *span))

    def damage(self) -> list[str]:
        """None: a server looks after its own pages, and answers nothing from those that are broken."""
        return []

    def close(self) -> None:
        self._link.close()


def opened(server: Server) -> ServerReader:
    """A store that is there.

    Raises:
        StoreError: it is not, or it cannot be used; nothing is made.
    """
    with _read(server):
        link = server.open()
        try:
            _demand_ours(server, link)
            for statement in link.dialect.reading:
                link.tell(statement)
        except BaseException:
            link.close()
            raise
    return ServerReader(link.dialect.lanes, server, link)


def _demand_ours(server: Server, link: Link) -> None:
    version = link.ask("SELECT version FROM trioagg") if "trioagg" in tables(link) else []
    if not version or not version[0][0]:
        raise StoreError(f"no tables of trioagg in {server.shown}; run `trioagg run --sink` with it first")
    if version[0][0] > VERSION:
        raise StoreError(f"{server.shown} was made by a newer trioagg: its schema is {version[0][0]}")


@contextmanager
def _read(server: Server) -> Iterator[None]:
    """The driver's errors as ours: whoever reads does not try again."""
    try:
        yield
    except server.troubles as error:
        raise StoreError(str(server.explained(error))) from error


def _spelled(question: str) -> str:
    """A question as both drivers take it."""
    return question.replace("?", "%s")
