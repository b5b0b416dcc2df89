"""Finding rows by key, part by part: what every question to a store is made of."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, NamedTuple

from trioagg.errors import SettingsError
from trioagg.store.cells import legible
from trioagg.store.order import Found, Lane, Part, Row, Span
from trioagg.store.readable import Readable

OF_EXCHANGES = ("quarantine", "sessions", "clocks")
"""Kinds that are told by exchange, not by market."""

AT_ONCE = 10_000
"""Rows of one part that are taken in one step, at most."""


class Mark(NamedTuple):
    """How far a part was read: the last value of its order, and the positions seen that begin with it."""

    value: int
    seen: frozenset[tuple[Any, ...]]


START = Mark(-(2**63), frozenset())


def newest(db: Readable, lane: Lane, part: Part, limit: int) -> list[Found]:
    """The newest rows of a part, oldest first."""
    return [*found(lane, part, db.ask(lane.newest, *part.key, limit))][::-1]


def since(db: Readable, lane: Lane, part: Part, mark: Mark) -> list[Found]:
    """The rows of a part from the mark on, oldest first, those seen at the mark included."""
    return after(db, lane, part, lane.start(mark.value))


def after(db: Readable, lane: Lane, part: Part, position: Sequence[object]) -> list[Found]:
    """The rows of a part behind a position, oldest first."""
    return [*found(lane, part, db.ask(lane.after, *part.key, *lane.told(position), AT_ONCE))]


def before(db: Readable, lane: Lane, part: Part, position: Sequence[object]) -> list[Found]:
    """The rows of a part before a position, newest first."""
    return [*found(lane, part, db.ask(lane.before, *part.key, *lane.told(position), AT_ONCE))]


def following(db: Readable, lane: Lane, part: Part, position: Sequence[object]) -> Found | None:
    """The first row of a part behind a position."""
    return next(found(lane, part, db.ask(lane.after, *part.key, *lane.told(position), 1)), None)


def preceding(db: Readable, lane: Lane, part: Part, position: Sequence[object]) -> Found | None:
    """The last row of a part before a position."""
    return next(found(lane, part, db.ask(lane.before, *part.key, *lane.told(position), 1)), None)


def stepped(db: Readable, lane: Lane, part: Part, position: Sequence[object]) -> Sequence[object]:
    """Where the last row lies that one step behind a position takes; the end, where that takes all."""
    return next(iter(db.ask(lane.step, *part.key, *lane.told(position), AT_ONCE - 1)), lane.end)


def steps(db: Readable, lane: Lane, part: Part, span: Span) -> Iterator[Found]:
    """The rows of a part in its order, up to the end of the span; each step is a question of its own."""
    position: tuple[Any, ...] = lane.start(span.first)
    while fresh := after(db, lane, part, position):
        position = fresh[-1].position
        yield from fresh if position[0] < span.end else (one for one in fresh if one.position[0] < span.end)
        if position[0] >= span.end:
            return


def found(lane: Lane, part: Part, answers: Iterable[tuple[Any, ...]]) -> Iterator[Found]:
    """What a lane's answers tell."""
    names = lane.columns
    told = [getattr(part, name) for name in names if name in lane.lifted]
    width = len(names) - len(told)
    for cells in answers:
        row = dict(zip(names, (*told, *cells[:width]), strict=True))
        if isinstance(row.get("payload"), bytes):  # servers hold all of them so
            row["payload"] = legible(row["payload"])
        yield Found(cells[width], cells[width + 1 :], row)


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


def parts(db: Readable, kind: str, exchanges: Sequence[str], symbols: Sequence[str]) -> list[tuple[Lane, Part]]:
    """Where the rows of a kind lie, by exchange and symbol."""
    if kind in OF_EXCHANGES:
        names = _named(db, kind)
        chosen = [Part((name,), name, "") for name in names if not exchanges or name in exchanges]
    else:
        chosen = markets(db, exchanges, symbols)
    if kind == "candles":
        chosen = [part._replace(key=(*part.key, length)) for part in chosen for length in _intervals(db, part)]
    return [(lane, part) for lane in db.lanes[kind] for part in chosen]


def markets(db: Readable, exchanges: Sequence[str], symbols: Sequence[str]) -> list[Part]:
    """The chosen markets that the store knows, by exchange and symbol; an empty choice is all."""
    known = db.ask("SELECT exchange, symbol, id FROM instrument")
    return [
        Part((number,), exchange, symbol)
        for exchange, symbol, number in sorted(known)  # each server has an order of texts of its own
        if (not exchanges or exchange in exchanges) and (not symbols or symbol in symbols)
    ]


def _named(db: Readable, kind: str) -> list[str]:
    """The exchanges that have rows of a kind that is told by exchange."""
    return sorted(name for (name,) in db.ask(f"SELECT DISTINCT exchange FROM {db.lanes[kind][0].table}"))


def _intervals(db: Readable, market: Part) -> list[str]:
    """The intervals of a market's candles, each found by one step along the key."""
    intervals = [""]
    following = """SELECT min("interval") FROM candle WHERE instrument = ? AND "interval" > ?"""
    while (interval := db.ask(following, *market.key, intervals[-1])[0][0]) is not None:
        intervals.append(interval)
    return sorted(intervals[1:])


def demand(db: Readable, kind: str, exchanges: Sequence[str], symbols: Sequence[str]) -> None:
    """Check that what was asked for is there to be asked for.

    Raises:
        SettingsError: there is no such kind, or the store knows nothing of an exchange or symbol.
        StoreError: the store cannot be read.
    """
    if kind not in db.lanes:
        raise SettingsError(f"nothing of kind {kind!r} is stored; known: {', '.join(db.lanes)}")
    known = markets(db, (), ())
    names = {part.exchange for part in known} | ({*_named(db, kind)} if kind in OF_EXCHANGES else set())
    _require(db, "exchange", exchanges, names)
    if kind not in OF_EXCHANGES:
        _require(db, "symbol", symbols, {part.symbol for part in known if not exchanges or part.exchange in exchanges})


def _require(db: Readable, what: str, wanted: Sequence[str], present: Collection[str]) -> None:
    for name in wanted:
        if name not in present:
            near = get_close_matches(name, present, n=3, cutoff=0.5) or sorted(present)[:5]
            hint = f"nearest: {', '.join(near)}" if near else "it is empty so far"
            raise SettingsError(f"no {what} {name!r} in {db.shown}; {hint}")
