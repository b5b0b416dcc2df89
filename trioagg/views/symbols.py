"""``trioagg symbols``: the markets of an exchange."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from attrs import asdict

from trioagg.model import Instrument
from trioagg.signs import visible
from trioagg.views.table import UNKNOWN, aligned

COLUMNS = ("symbol", "native", "tick_size", "amount_step", "contract_size", "amount_unit", "status")


def show_symbols(listed: Iterable[Instrument], form: str) -> None:
    """Print every market: as JSON one object a line with the columns of ``instruments``, else one line each."""
    if form == "json":
        for item in listed:
            print(json.dumps(asdict(item, value_serializer=_plain)))
        return
    rows = [[_cell(getattr(item, name)) for name in COLUMNS] for item in listed]
    print(aligned([COLUMNS, *rows], left=2))


def _plain(_instrument: object, _field: object, value: Any) -> Any:
    return value if value is None or isinstance(value, str) else f"{value:f}"


def _cell(value: Any) -> str:
    return UNKNOWN if value is None else visible(value) if isinstance(value, str) else f"{value:f}"
