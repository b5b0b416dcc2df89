"""The order in which rows lie under their keys: the newest are found, and followed, without a scan."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve, frozen

TEXTS = {name: f"CAST({name} AS TEXT)" for name in ("trade_id", "first_missing", "last_missing")}
MOMENT = "coalesce(timestamp, received)"
BELOW, ABOVE = -1e19, 1e19
"""Of all integers that SQLite holds."""


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
    """

    columns: Sequence[str]
    table: str
    part: Sequence[str]
    order: Sequence[str]
    moment: str
    where: str = ""

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
        sign = "+" if self.where.startswith(self.order[0]) else ""
        return f"{self._select(sign)} AND {self._beyond('<')} ORDER BY {self._backwards()} LIMIT ?"

    def told(self, position: Sequence[object]) -> Sequence[object]:
        """A position as the statements take it, value for value."""
        return (position[0], *position) if self.order[0] == MOMENT else position

    def start(self, first: float = BELOW) -> tuple[float, ...]:
        """The position before all rows whose order begins with this value or a greater one."""
        return (first, *[BELOW] * (len(self.order) - 1))

    @property
    def end(self) -> tuple[float, ...]:
        """The position behind all rows."""
        return (ABOVE,) * len(self.order)

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
            f" WHERE {self._terms('+')} AND {self._beyond('>')} AND {self._beyond('<=')}"
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
        return f"SELECT count(*), min(received) FROM ({newest}) WHERE received > ?"

    def _backwards(self) -> str:
        return ", ".join(f"{name} DESC" for name in self.order)

    def _beyond(self, sign: str) -> str:
        """Compares with a position, told as ``told`` says it."""
        whole = f"({', '.join(self.order)}) {sign} ({', '.join('?' * len(self.order))})"
        # SQLite seeks by no pair with an expression in it, but by the expression alone.
        return f"{MOMENT} {sign[0]}= ? AND {whole}" if self.order[0] == MOMENT else whole

    def _terms(self, sign: str = "") -> str:
        """Whose rows; under a plus SQLite does not take the condition for the end of what it seeks."""
        return " AND ".join([f"{name} = ?" for name in self.part] + [f"{sign}({self.where})"] * bool(self.where))

    def _select(self, sign: str = "") -> str:
        cells = [TEXTS.get(name, quoted(name)) for name in self.columns if name not in self.lifted]
        return f"SELECT {', '.join([*cells, self.moment, *self.order])} FROM {self.table} WHERE {self._terms(sign)}"
