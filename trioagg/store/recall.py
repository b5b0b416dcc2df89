"""Rows of text as events again: the inverse of ``texts``, for those who read what a sink was told.

An event comes back as it was, to the digit, with the ordinal that it had; so whoever stores it makes the same row of
it, however often it comes and however it is batched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from attrs import frozen

from trioagg import exchanges
from trioagg.errors import WireError
from trioagg.model import Event, Instrument, Level, Quarantined, TradeId
from trioagg.store.cells import WORD
from trioagg.store.kinds import COLUMNS, KINDS, RECORDS

DIGITS = 100
"""Places of a number before its point, twice that in all; more is nonsense: the digits of ``1e999999`` fill a disk."""

LENGTH = 255
"""Signs of a name; no store need take longer ones."""

WIRE: Mapping[Any, Any] = {bool: Literal[0, 1], TradeId: str, tuple[Level, ...]: str}
"""What a row holds in place of an event's type; all other types are told as they are."""

LEVELS: msgspec.json.Decoder[tuple[Level, ...]] = msgspec.json.Decoder(tuple[Level, ...])

ARRIVING = {kind.name for kind in KINDS.values() if kind.arriving}
"""Kinds whose id ends with the ordinal."""


class Frame(msgspec.Struct):
    """A row of ``quarantine``; of text and base64 one is there."""

    exchange: str
    received: int
    reason: str
    payload: str | None = None
    payload_base64: bytes | None = None


@frozen
class Shape:
    """How the row of one kind becomes its record.

    Attributes:
        decode: a row.
        changes: place and reader of each cell that is no event's yet, or that must be looked at.
    """

    record: type[Any]
    decode: Callable[[bytes], Any]
    changes: Sequence[tuple[int, Callable[[Any], Any]]]

    def made(self, body: bytes) -> list[Any]:
        """The fields of a record."""
        cells = list(msgspec.structs.astuple(self.decode(body)))
        for place, read in self.changes:
            cells[place] = read(cells[place])
        return cells


def recalled(kind: str, ident: str, body: bytes) -> Event | Instrument:
    """What a sink was told.

    Args:
        kind: as users name it: ``trades``, …, ``quarantine``, ``instruments``.
        ident: what tells it from all others of its kind and market.
        body: the row as JSON; fields that nobody knows are passed over.

    Raises:
        WireError: it means nothing, or is of an exchange that nobody knows.
    """
    try:
        record = _frame(body) if kind == "quarantine" else _made(kind, ident, body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise WireError(" ".join(str(error).split())) from None
    if record.exchange not in exchanges.names():
        raise WireError(f"unknown exchange {record.exchange!r}")
    return record


def _made(kind: str, ident: str, body: bytes) -> Any:
    shape = SHAPES[kind]
    cells = shape.made(body)
    if kind == "trades":
        cells[2] = _trade_id(cells[0], cells[2])
    return shape.record(*cells, _ordinal(ident)) if kind in ARRIVING else shape.record(*cells)


def _frame(body: bytes) -> Quarantined:
    frame = msgspec.json.decode(body, type=Frame)
    _whole(frame.received)
    payload = frame.payload_base64 if frame.payload is None else frame.payload.encode()
    if payload is None:
        raise WireError("a quarantined frame without its payload")
    return Quarantined(frame.exchange, frame.received, frame.reason, payload)


def _trade_id(exchange: str, text: str) -> TradeId:
    return exchanges.trade_id(exchange, text) if exchange in exchanges.names() else text


def _ordinal(ident: str) -> int:
    number = ident.rpartition("|")[2]
    if not (number.isascii() and number.isdecimal()):
        raise WireError(f"an id without an ordinal: {ident[:100]!r}")
    return int(_whole(int(number)) or 0)


def _whole(number: int | None) -> int | None:
    if number is not None and not -WORD <= number < WORD:
        raise WireError(f"not a time or a count: {number}"[:120])
    return number


def _name(text: str) -> str:
    if len(text) > LENGTH or not text.isprintable():
        raise WireError(f"not a name: {text[:100]!r}")
    return text


def _number(number: Decimal | None) -> Decimal | None:
    if number is not None and not (
        number.is_finite() and abs(number.adjusted()) < DIGITS and len(f"{number:f}") <= 2 * DIGITS
    ):
        raise WireError(f"not a number of a market: {number}"[:120])
    return number


def _levels(text: str) -> tuple[Level, ...]:
    levels = LEVELS.decode(text)
    for number in chain.from_iterable(levels):
        _number(number)
    return levels


def _shape(kind: str, record: type[Any]) -> Shape:
    hints = get_type_hints(record)
    told = [(name, hints[name]) for name in COLUMNS[kind]]
    wire = msgspec.defstruct(record.__name__, [(name, WIRE.get(hint, hint)) for name, hint in told])
    changes = [(place, read) for place, (_, hint) in enumerate(told) if (read := _reader(hint))]
    return Shape(record, msgspec.json.Decoder(wire).decode, changes)


def _reader(hint: Any) -> Callable[[Any], Any] | None:
    """What a cell of a type goes through; None where it is good as it is."""
    if hint == tuple[Level, ...]:
        return _levels
    if hint is bool:
        return bool
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return next((read for kind, read in READERS if kind in parts), None)


READERS: Sequence[tuple[type, Callable[[Any], Any]]] = ((Decimal, _number), (str, _name), (int, _whole))

SHAPES: Mapping[str, Shape] = {
    kind: _shape(kind, record) for kind, record in RECORDS.items() if kind not in ("quarantine", "sessions", "clocks")
}
