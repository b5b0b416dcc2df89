"""Finding rows by key, part by part: what every question to a file is made of."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, NamedTuple

from trioagg.errors import SettingsError
from trioagg.store.kinds import LANES
from trioagg.store.opening import Database
from trioagg.store.order import Lane
from trioagg.store.trouble import reading

Row = dict[str, Any]
"""A row under the contract's column names."""

OF_EXCHANGES = ("quarantine", "sessions", "clocks")
"""Kinds that are told by exchange, not by market."""

AT_ONCE = 10_000
"""Rows of one part that are taken in one step, at most."""


class Part(NamedTuple):
    """One value of a lane's leading key columns, and whose rows those are."""

    key: tuple[int | str, ...]
    exchange: str
    symbol: str


class Mark(NamedTuple):
    """How far a part was read: the last value of its order, and the positions seen that begin with it."""

    value: int
    seen: frozenset[tuple[Any, ...]]


class Found(NamedTuple):
    """A row, where it lies in its part, and the moment to merge it by."""

    moment: int
    position: tuple[Any, ...]
    row: Row


START = Mark(-(2**63), frozenset())


def newest(db: Database, lane: Lane, part: Part, limit: int) -> list[Found]:
    """The newest rows of a part, oldest first."""
    return _found(lane, part, query(db, lane.newest, *part.key, limit))[::-1]


def since(db: Database, lane: Lane, part: Part, mark: Mark) -> list[Found]:
    """The rows of a part from the mark on, oldest first, those seen at the mark included."""
    return after(db, lane, part, lane.start(mark.value))


def after(db: Database, lane: Lane, part: Part, position: Sequence[object]) -> list[Found]:
    """The rows of a part behind a position, oldest first."""
    return _found(lane, part, query(db, lane.after, *part.key, *lane.told(position), AT_ONCE))


def before(db: Database, lane: Lane, part: Part, position: Sequence[object]) -> list[Found]:
    """The rows of a part before a position, newest first."""
    return _found(lane, part, query(db, lane.before, *part.key, *lane.told(position), AT_ONCE))


def following(db: Database, lane: Lane, part: Part, position: Sequence[object]) -> Found | None:
    """The first row of a part behind a position."""
    return next(iter(_found(lane, part, query(db, lane.after, *part.key, *lane.told(position), 1))), None)


def preceding(db: Database, lane: Lane, part: Part, position: Sequence[object]) -> Found | None:
    """The last row of a part before a position."""
    return next(iter(_found(lane, part, query(db, lane.before, *part.key, *lane.told(position), 1))), None)


def stepped(db: Database, lane: Lane, part: Part, position: Sequence[object]) -> Sequence[object]:
    """Where the last row lies that one step behind a position takes; the end, where that takes all."""
    return next(iter(query(db, lane.step, *part.key, *lane.told(position), AT_ONCE - 1)), lane.end)


def _found(lane: Lane, part: Part, answers: Iterable[tuple[Any, ...]]) -> list[Found]:
    names = lane.columns
    told = [getattr(part, name) for name in names if name in lane.lifted]
    width = len(names) - len(told)
    return [
        Found(cells[width], cells[width + 1 :], dict(zip(names, (*told, *cells[:width]), strict=True)))
        for cells in answers
    ]


def marked(mark: Mark, fresh: Sequence[Found]) -> Mark:
    """How far a part is read after these."""
    if not fresh:
        return mark
    value = fresh[-1].position[0]
    return Mark(value, frozenset(one.position for one in fresh if one.position[0] == value))


def merged(found: Iterable[Found], limit: int = sys.maxsize) -> list[Row]:
    """The newest rows of several parts, oldest first; those of one moment stay in their part's order."""
    ordered = [one.row for one in sorted(found, key=attrgetter("moment"))]
    return ordered[max(len(ordered) - limit, 0) :]


def parts(db: Database, kind: str, exchanges: Sequence[str], symbols: Sequence[str]) -> list[tuple[Lane, Part]]:
    """Where the rows of a kind lie, by exchange and symbol."""
    if kind in OF_EXCHANGES:
        names = _named(db, kind)
        found = [Part((name,), name, "") for name in names if not exchanges or name in exchanges]
    else:
        found = markets(db, exchanges, symbols)
    if kind == "candles":
        found = [part._replace(key=(*part.key, interval)) for part in found for interval in _intervals(db, part)]
    return [(lane, part) for lane in LANES[kind] for part in found]


def markets(db: Database, exchanges: Sequence[str], symbols: Sequence[str]) -> list[Part]:
    """The chosen markets that the file knows, by exchange and symbol; an empty choice is all."""
    known = query(db, "SELECT id, exchange, symbol FROM instrument ORDER BY exchange, symbol")
    return [
        Part((number,), exchange, symbol)
        for number, exchange, symbol in known
        if (not exchanges or exchange in exchanges) and (not symbols or symbol in symbols)
    ]


def _named(db: Database, kind: str) -> list[str]:
    """The exchanges that have rows of a kind that is told by exchange."""
    table = LANES[kind][0].table
    return [name for (name,) in query(db, f"SELECT DISTINCT exchange FROM {table} ORDER BY exchange")]


def _intervals(db: Database, market: Part) -> Iterator[str]:
    """The intervals of a market's candles, each found by one step along the key."""
    interval: str | None = ""
    while interval is not None:
        if interval:
            yield interval
        after = "SELECT min(interval) FROM candle WHERE instrument = ? AND interval > ?"
        interval = query(db, after, *market.key, interval)[0][0]


def demand(db: Database, kind: str, exchanges: Sequence[str], symbols: Sequence[str]) -> None:
    """Check that what was asked for is there to be asked for.

    Raises:
        SettingsError: there is no such kind, or the file knows nothing of an exchange or symbol.
        StoreError: the file cannot be read.
    """
    if kind not in LANES:
        raise SettingsError(f"nothing of kind {kind!r} is stored; known: {', '.join(LANES)}")
    known = markets(db, (), ())
    names = {part.exchange for part in known} | ({*_named(db, kind)} if kind in OF_EXCHANGES else set())
    _require(db, "exchange", exchanges, names)
    if kind not in OF_EXCHANGES:
        _require(db, "symbol", symbols, {part.symbol for part in known if not exchanges or part.exchange in exchanges})


def _require(db: Database, what: str, wanted: Sequence[str], present: Collection[str]) -> None:
    for name in wanted:
        if name not in present:
            near = get_close_matches(name, present, n=3, cutoff=0.5) or sorted(present)[:5]
            hint = f"nearest: {', '.join(near)}" if near else "it is empty so far"
            raise SettingsError(f"no {what} {name!r} in database {db.path}; {hint}")


def query(db: Database, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """All answers to one statement.

    Raises:
        StoreError: the file cannot be read.
    """
    with reading(db.path):
        return db.execute(statement, values).fetchall()
