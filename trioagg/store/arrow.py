"""Rows as Arrow tables: decimals exact, times as integers, under the database's names.

A column of decimals is ``decimal128(38, 18)`` where that holds every value exactly; who writes text instead where one
does not fit, loses nothing either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, get_args, get_type_hints

import pyarrow as pa

from trioagg.store.candles import BARS, TradeBar
from trioagg.store.kinds import COLUMNS, RECORDS
from trioagg.store.order import Row

EXACT = pa.decimal128(38, 18)
TYPES = {str: pa.string(), Decimal: EXACT, int: pa.int64(), bool: pa.int64(), float: pa.float64(), bytes: pa.binary()}
"""What becomes of a field that may be of this type, the first that fits; the database has truths as 0 and 1."""


class UnfitError(Exception):
    """Columns hold decimals with more digits than ``EXACT`` has."""

    def __init__(self, columns: set[str]) -> None:
        super().__init__(columns)
        self.columns = columns


def types(kind: str) -> dict[str, pa.DataType]:
    """The columns of a kind that has a record, or of ``bars``."""
    hints = get_type_hints({**RECORDS, "bars": TradeBar}[kind])
    return {name: _type(hints[name]) for name in {**COLUMNS, "bars": BARS}[kind]}


def table(columns: Mapping[str, pa.DataType], rows: Sequence[Row]) -> pa.Table:
    """Rows as a table of these columns.

    Raises:
        UnfitError: a decimal does not fit.
    """
    made, unfit = {}, set()
    for name, kind in columns.items():
        try:
            made[name] = _column([row[name] for row in rows], kind)
        except pa.ArrowInvalid:
            if kind != EXACT:
                raise
            unfit.add(name)
    if unfit:
        raise UnfitError(unfit)
    return pa.table(made)


def _type(hint: Any) -> pa.DataType:
    return next((became for part, became in TYPES.items() if part in (hint, *get_args(hint))), pa.string())


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Decimals are cast from their text, which raises rather than rounds."""
    return pa.array(values, pa.string()).cast(kind) if kind == EXACT else pa.array(values, kind)
