"""The tables of a database server, and the contract's views over them: the same as the file's, in the server's types.

Tables are named as the file's (``trade``, ``ticker``, …) and hold the same rows, so that both are written alike. The
contract's names (``trades``, ``tickers``, …) are views. A column of nanoseconds is there again in the view as the
server's own time, ``received_at`` beside ``received``. No table refers to another by a constraint: the ids are made
here alone, and a check would cost as much as the row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from attrs import evolve, frozen

from trioagg.model import Trade
from trioagg.store.kinds import COLUMNS, KINDS, LANES, Kind
from trioagg.store.order import Lane
from trioagg.store.readable import Lanes

VERSION = 2
"""Of these tables, as a store says that holds them; a column that a later one adds is optional."""

Type = Literal["name", "text", "decimal", "integer", "truth", "bytes", "digest"]
"""What a column holds: ``name`` is a text that may be part of a key."""

PYTHON: Mapping[Any, Type] = {Decimal: "decimal", bool: "truth", int: "integer", str: "name", tuple: "text"}
OURS: Mapping[str, Type] = {"instrument": "integer", "ordinal": "integer", "trade_id": "name"}
MOMENTS = {"timestamp", "received", "open_time", "due", "detected", "opened", "closed"}
"""Columns of nanoseconds since 1970, where they are integers."""

PLURALS = {"ticker": "tickers", "book": "books"}
"""Kinds that the contract's views name otherwise."""


@frozen
class Column:
    """One column of a table."""

    type: Type
    optional: bool = False


@frozen
class Table:
    """One table.

    Attributes:
        columns: in the order in which rows are made.
        key: what tells one row from another; empty where nothing does.
        numbered: whether its rows have a column ``id`` besides, which counts them.
        indexes: further columns to find rows by.
    """

    name: str
    columns: Mapping[str, Column]
    key: Sequence[str]
    numbered: bool = False
    indexes: Sequence[Sequence[str]] = ()


def _column(text: str) -> Column:
    """``decimal?`` is a decimal that may be missing."""
    types: dict[str, Type] = {name: name for name in get_args(Type)}
    return Column(types[text.rstrip("?")], text.endswith("?"))


def _table(
    name: str, columns: str, key: str = "", *, numbered: bool = False, indexes: Sequence[Sequence[str]] = ()
) -> Table:
    """A table in few words: ``native name?, tick_size decimal?``."""
    pairs = (column.split() for column in columns.split(","))
    return Table(name, {name: _column(told) for name, told in pairs}, key.split(), numbered, indexes)


INSTRUMENT = _table(
    "instrument",
    "exchange name, symbol name, native name?, base name?, quote name?, tick_size decimal?, amount_step decimal?,"
    " contract_size decimal?, amount_unit name?, status name?",
    "exchange symbol",
    numbered=True,
)
GAP = _table(
    "gap",
    "instrument integer, channel name, origin integer, first_missing integer?, last_missing integer?,"
    " missing integer?, cause text, status name, detected integer, closed integer?,"
    " since integer?, until integer?, before name?, after name?, filled_by name?",
    numbered=True,
    indexes=[("instrument", "channel", "origin")],
)
QUARANTINED = _table(
    "quarantined",
    "exchange name, received integer, digest digest, reason text, payload bytes",
    "exchange received digest",
)
SESSION = _table(
    "session",
    "exchange name, connection name, subscriptions integer, opened integer, closed integer?, reason text,"
    " missed integer?",
    "exchange connection opened",
    numbered=True,
)
CLOCK = _table(
    "clock",
    "exchange name, offset integer?, uncertainty integer?, lag integer?, received integer",
    "exchange received",
)


def _of_kind(kind: Kind) -> Table:
    """The table of a kind of events; trades have their id a second time, as the number that it may be."""
    hints = get_type_hints(kind.record)
    columns = {name: Column(OURS[name]) if name in OURS else _hinted(hints[name]) for name in kind.stored}
    if kind.record is not Trade:
        return Table(kind.table, columns, kind.key)
    return Table(kind.table, {**columns, "number": Column("integer", optional=True)}, kind.key)


def _hinted(hint: Any) -> Column:
    if get_origin(hint) in (Literal, tuple):
        return Column("name" if get_origin(hint) is Literal else "text")
    parts = get_args(hint) or (hint,)
    return Column(next(PYTHON[part] for part in parts if part in PYTHON), NoneType in parts)


EVENTS: Mapping[Kind, Table] = {kind: _of_kind(kind) for kind in KINDS.values()}
TABLES: Mapping[str, Table] = {
    table.name: table for table in (INSTRUMENT, *EVENTS.values(), GAP, QUARANTINED, SESSION, CLOCK)
}
VIEWS: Mapping[str, str] = {PLURALS.get(kind, kind): kind for kind in COLUMNS}
"""The contract's names, and the kinds that they show."""


@frozen
class Dialect:
    """How one server spells it.

    Attributes:
        types: its own, by ours.
        id: the column that counts rows.
        schema: where its tables are, for the information schema.
        text: what a number is cast to, to be text.
        moment: nanoseconds as its own time.
        behind: ends the making of a table.
        views: each decimal of a table, by its name, as columns of a view.
        indexing: makes the indexes of trades, by number and, of those without one, by time.
        outdated: takes away the one that was there before.
        time: what the latter goes by.
        reading: lets a session read only, and each transaction of it see the store as of one moment.
        largest: bytes of a garbled frame that one statement may hold; of a larger one, its beginning is kept.
    """

    types: Mapping[Type, str]
    id: str
    schema: str
    text: str
    moment: str
    behind: str
    views: Callable[[str, str], Mapping[str, str]]
    indexing: Sequence[str]
    outdated: str
    time: str
    reading: Sequence[str]
    largest: int | None = None

    def script(self) -> Iterator[str]:
        """Makes all tables, and the views over them."""
        for table in TABLES.values():
            yield self._made(table)
            for columns in table.indexes:
                name = f"{table.name}_by_{'_'.join(columns)}"
                yield f"CREATE INDEX {name} ON {table.name} ({listed(columns)})"
        yield from self.indexing
        yield from self._shown(VIEWS)
        yield f"INSERT INTO trioagg VALUES ({VERSION}, 0)"

    def upgrade(self, columns: Collection[tuple[str, str]]) -> Iterator[str]:
        """Adds the columns and indexes that an older store lacks, and makes the views over these tables anew.

        Args:
            columns: those that are there, as (table, column).
        """
        lacking = [
            (table, name) for table in TABLES.values() for name in table.columns if (table.name, name) not in columns
        ]
        views = {name: kind for name, kind in VIEWS.items() if any(_table_of(kind) is table for table, _ in lacking)}
        yield from (f"DROP VIEW IF EXISTS {name}" for name in views)
        for table, name in lacking:
            yield f'ALTER TABLE {table.name} ADD COLUMN "{name}" {self.types[table.columns[name].type]}'
        yield from self._shown(views)
        yield self.outdated
        yield from self.indexing
        yield f"UPDATE trioagg SET version = {VERSION}"

    def _shown(self, views: Mapping[str, str]) -> Iterator[str]:
        yield from (f"CREATE VIEW {name} AS {self._query(kind)}" for name, kind in views.items())

    @property
    def lanes(self) -> Lanes:
        """Where rows lie here: as in the file, but for the ids of trades, and told as exactly."""
        found = {kind: [evolve(lane, cells=self._cells(lane)) for lane in lanes] for kind, lanes in LANES.items()}
        by_id, by_time = found["trades"]
        by_number = evolve(by_id, order=("number",), where="number IS NOT NULL", aside="")
        return {**found, "trades": [by_number, evolve(by_time, order=(self.time, "trade_id"), where="number IS NULL")]}

    def _cells(self, lane: Lane) -> Mapping[str, str]:
        """The columns that are told in other words than their names."""
        cells = {name: f'CAST("{name}" AS {self.text})' for name in ("first_missing", "last_missing")}
        for name, column in TABLES[lane.table].columns.items():
            if column.type == "decimal":
                cells[name] = f'CAST("{name}" AS {self.text})'
            elif column.type == "truth":
                cells[name] = f'CASE WHEN "{name}" THEN 1 ELSE 0 END'
        return cells

    def _made(self, table: Table) -> str:
        lines = [f"id {self.id}"] if table.numbered else []
        for name, column in table.columns.items():
            lines.append(f'"{name}" {self.types[column.type]}{"" if column.optional else " NOT NULL"}')
        if table.key:
            lines.append(f"{'UNIQUE' if table.numbered else 'PRIMARY KEY'} ({listed(table.key)})")
        return f"CREATE TABLE {table.name} ({', '.join(lines)}){self.behind}"

    def _query(self, kind: str) -> str:
        table = _table_of(kind)
        shown: dict[str, str] = {}
        besides: dict[str, str] = {}
        for name in COLUMNS[kind]:
            place = f'{table.name if name in table.columns else "instrument"}."{name}"'
            column = table.columns.get(name, Column("name"))
            if column.type == "decimal":
                more = dict(self.views(name, place))
                shown[name] = more.pop(name)
                besides |= more
            else:
                shown[name] = f"CAST({place} AS {self.text})" if name in ("first_missing", "last_missing") else place
                if column.type == "integer" and name in MOMENTS:
                    besides[f"{name}_at"] = self.moment.format(place)
        columns = ", ".join(f'{told} AS "{name}"' for name, told in (shown | besides).items())
        join = f" JOIN instrument ON {table.name}.instrument = instrument.id" if "instrument" in table.columns else ""
        return f"SELECT {columns} FROM {table.name}{join}"


def _table_of(kind: str) -> Table:
    return TABLES[LANES[kind][0].table]


def listed(names: Sequence[str]) -> str:
    """Columns, as SQL takes them whatever else the words mean."""
    return ", ".join(f'"{name}"' for name in names)


def insert(table: Table) -> str:
    """Adds one row, as long as nothing is said of one that is there already."""
    return f"INSERT INTO {table.name} ({listed(list(table.columns))}) VALUES ({', '.join(['%s'] * len(table.columns))})"
