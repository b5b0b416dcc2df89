"""The order in which rows lie under their keys: the newest are found, and followed, without a scan."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

TEXTS = {name: f"CAST({name} AS TEXT)" for name in ("trade_id", "first_missing", "last_missing")}
MOMENT = "coalesce(timestamp, received)"


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
    def since(self) -> str:
        """The rows of a part from a first value of the order on, oldest first: part values, that value, limit."""
        return f"{self._select()} AND {self.order[0]} >= ? ORDER BY {', '.join(self.order)} LIMIT ?"

    @property
    def arrivals(self) -> str:
        """How many of the newest rows arrived after a time, and when the first did: part values, limit, time."""
        newest = f"SELECT received FROM {self.table} WHERE {self._terms()} ORDER BY {self._backwards()} LIMIT ?"
        return f"SELECT count(*), min(received) FROM ({newest}) WHERE received > ?"

    def _backwards(self) -> str:
        return ", ".join(f"{name} DESC" for name in self.order)

    def _terms(self) -> str:
        return " AND ".join([f"{name} = ?" for name in self.part] + [self.where] * bool(self.where))

    def _select(self) -> str:
        cells = [TEXTS.get(name, quoted(name)) for name in self.columns if name not in self.lifted]
        return f"SELECT {', '.join([*cells, self.moment, *self.order])} FROM {self.table} WHERE {self._terms()}"
