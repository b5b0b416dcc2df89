"""The order in which rows lie under their keys: the newest are found, and followed, without a scan.

The questions are SQL that SQLite and the servers understand alike; each store's own lanes say where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from attrs import evolve, field, frozen

TEXTS = {name: f"CAST({name} AS TEXT)" for name in ("trade_id", "first_missing", "last_missing")}
MOMENT = "coalesce(timestamp, received)"
BELOW, ABOVE = -1e19, 1e19
"""Of all integers that a store holds."""

LEAST: Mapping[str, object] = {"trade_id": "", "digest": b""}
"""Below all values of a column that holds no integers."""

Row = dict[str, Any]
"""A row under the contract's column names."""


class Part(NamedTuple):
    """One value of a lane's leading key columns, and whose rows those are."""

    key: tuple[int | str, ...]
    exchange: str
    symbol: str


class Found(NamedTuple):
    """A row, where it lies in its part, and the moment to merge it by."""

    moment: int
    position: tuple[Any, ...]
    row: Row


class Span(NamedTuple):
    """A range of times, nanoseconds UTC: the first inclusive, the end exclusive."""

    first: float = BELOW
    end: float = ABOVE


ALWAYS = Span()


def quoted(name: str) -> str:
    """A column's name as SQL takes it, whatever else the word means there."""
    return f'"{name}"'


@frozen
class Lane:
    """Rows of one kind that lie in the order of one index.

    Attributes:
        columns: the contract's, in its order.
        table: where they are.
        part: the columns that the index begins with: one value of them is one lane's part.
        order: those that follow, integers first.
        moment: what rows of several parts are merged by.
        where: a further condition; empty for none.
        aside: the same, said so that SQLite does not take it for the end of what it seeks; empty where it does not.
        cells: how columns are told exactly, where their name alone does not.
    """

    columns: Sequence[str]
    table: str
    part: Sequence[str]
    order: Sequence[str]
    moment: str
    where: str = ""
    aside: str = ""
    cells: Mapping[str, str] = field(default=TEXTS, eq=False)

    @property
    def lifted(self) -> list[str]:
        """The contract's columns that the part tells, not its rows; they come first."""
        return [name for name in self.columns if name in ("exchange", "symbol")]

    @property
    def newest(self) -> str:
        """The newest rows of a part, newest first: part values, limit."""
        return f"{self._select()} ORDER BY {self._backwards()} LIMIT ?"

    @property
    def after(self) -> str:
        """The rows of a part behind a position, oldest first: part values, position as told, limit."""
        return f"{self._select()} AND {self._beyond('>')} ORDER BY {', '.join(self.order)} LIMIT ?"

    @property
    def before(self) -> str:
        """The rows of a part before a position, newest first: part values, position as told, limit."""
        # Of two ends SQLite seeks the first that is told, which must be the position.
        return f"{self._select(self.aside)} AND {self._beyond('<')} ORDER BY {self._backwards()} LIMIT ?"

    @property
    def keys(self) -> str:
        """Where all rows of a part lie, in their order: part values."""
        order = ", ".join(self.order)
        return f"SELECT {order} FROM {self.table} WHERE {self._terms()} ORDER BY {order}"

    @property
    def within(self) -> str:
        """All rows of a range of times, in its order: part values, first time, time behind."""
        order = ", ".join((self.time, *self.order))
        return f"{self._select()} AND {self.time} >= ? AND {self.time} < ? ORDER BY {order}"

    def told(self, position: Sequence[object]) -> Sequence[object]:
        """A position as the statements take it, value for value."""
        return position[0], *position

    def start(self, first: float = BELOW) -> tuple[Any, ...]:
        """The position before all rows whose order begins with this value or a greater one."""
        return first, *(LEAST.get(name, BELOW) for name in self.order[1:])

    @property
    def end(self) -> tuple[Any, ...]:
        """The position behind all rows."""
        return self.start(ABOVE)

    @property
    def time(self) -> str:
        """What a range of times is compared with: the exchange's where it tells one; empty for what has no time."""
        return MOMENT if "timestamp" in self.columns else self.moment if self.moment in self.columns else ""

    @property
    def timely(self) -> bool:
        """Whether its rows lie in the order of their times."""
        return self.order[0] == self.time

    def timed(self, index: str) -> Lane:
        """The same rows in the order of their times, found through an index that was made for it."""
        keys = [f"key{n}" for n in range(len(self.order))]
        meeting = " AND ".join(f"{name} = {key}" for name, key in zip(self.order, keys, strict=True))
        return evolve(self, table=f"{index} CROSS JOIN {self.table} ON {meeting}", order=("time", *keys))

    def indexing(self, index: str) -> str:
        """Makes the index of ``timed``, empty; it lies in a file of its own that goes with the connection."""
        keys = ", ".join(f"key{n}" for n in range(len(self.order)))
        return f"CREATE TEMP TABLE {index} (time, {keys}, PRIMARY KEY (time, {keys})) WITHOUT ROWID"

    def indexed(self, index: str) -> str:
        """Puts rows into that index: part values, position before and last one as told, first time, time behind."""
        return (
            f"INSERT INTO {index} SELECT {self.time}, {', '.join(self.order)} FROM {self.table}"
            f" WHERE {self._terms(self.aside)} AND {self._beyond('>')} AND {self._beyond('<=')}"
            f" AND {self.time} >= ? AND {self.time} < ?"
        )

    @property
    def step(self) -> str:
        """The position so many rows behind another: part values, position as told, how many less one."""
        order = ", ".join(self.order)
        rest = f"{self._terms()} AND {self._beyond('>')} ORDER BY {order}"
        return f"SELECT {order} FROM {self.table} WHERE {rest} LIMIT 1 OFFSET ?"

    @property
    def arrivals(self) -> str:
        """How many of the newest rows arrived after a time, and when the first did: part values, limit, time."""
        newest = f"SELECT received FROM {self.table} WHERE {self._terms()} ORDER BY {self._backwards()} LIMIT ?"
        return f"SELECT count(*), min(received) FROM ({newest}) AS newest WHERE received > ?"

    def _backwards(self) -> str:
        return ", ".join(f"{name} DESC" for name in self.order)

    def _beyond(self, sign: str) -> str:
        """Compares with a position, told as ``told`` says it."""
        # SQLite seeks by no pair with an expression in it, MariaDB by no pair at all, but by the first of it alone.
        whole = f"({', '.join(self.order)}) {sign} ({', '.join('?' * len(self.order))})"
        return f"{self.order[0]} {sign[0]}= ? AND {whole}"

    def _terms(self, aside: str = "") -> str:
        """Whose rows."""
        condition = aside or self.where
        return " AND ".join([f"{quoted(name)} = ?" for name in self.part] + [f"({condition})"] * bool(condition))

    def _select(self, aside: str = "") -> str:
        cells = [self.cells.get(name, quoted(name)) for name in self.columns if name not in self.lifted]
        return f"SELECT {', '.join([*cells, self.moment, *self.order])} FROM {self.table} WHERE {self._terms(aside)}"
