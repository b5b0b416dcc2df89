"""What the adapters share about numbers on the wire."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Annotated

from msgspec import Meta

from trioagg.errors import WireError
from trioagg.model import TradeId

SMALLEST = Decimal("1e-40")
LARGEST = Decimal("1e40")
"""No market quotes outside these; beyond lies only nonsense such as ``1e999999``, whose digits alone fill a disk."""

WIDEST = Decimal("9" * 100).__sizeof__()
"""The memory that the digits of a number may take: a column of a store holds 255 of them, and no market quotes 100."""

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""An id that an exchange counts; what a store's integers do not hold is none."""

EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])
"""Turns a number of contracts into an amount, and refuses to round."""


def positive(number: Decimal, other: Decimal = SMALLEST) -> None:
    """Check numbers that must be there and above zero; most come in pairs, a price and an amount.

    Raises:
        WireError: one of them is zero, negative, absurd or infinite.
        decimal.InvalidOperation: one of them is not a number.
    """
    if not SMALLEST <= number <= LARGEST or number.__sizeof__() > WIDEST:
        raise WireError(f"not a positive number: {number}"[:120])
    if not SMALLEST <= other <= LARGEST or other.__sizeof__() > WIDEST:
        raise WireError(f"not a positive number: {other}"[:120])


def quantities(*numbers: Decimal | None) -> None:
    """Check numbers that may be zero or absent.

    Raises:
        WireError: one of them is negative, absurd or infinite.
        decimal.InvalidOperation: one of them is not a number.
    """
    for number in numbers:
        if number and not (SMALLEST <= number <= LARGEST and number.__sizeof__() <= WIDEST):
            positive(number)


def number(text: str) -> Decimal | None:
    """A number that may be an empty text; one that is there is still to be checked.

    Raises:
        decimal.InvalidOperation: it is neither.
    """
    return Decimal(text) if text else None


def step(decimals: int) -> Decimal | None:
    """The smallest step of a number with so many decimals; None where that is no number of decimals."""
    return Decimal(1).scaleb(-decimals) if 0 <= decimals <= 40 else None


def plain(text: str) -> bool:
    """Whether a text is a whole number of a sane length, written as we would."""
    return text.isascii() and text.isdecimal() and len(text) < 20 and (text[0] != "0" or text == "0")


def trade_id(text: str) -> TradeId:
    """A number where an exchange writes one, digit for digit; else the text.

    Raises:
        WireError: there is none, or it is no id.
    """
    if not 0 < len(text) <= 100:
        raise WireError("a trade without an id, or with an endless one")
    return int(text) if plain(text) and int(text) < 2**63 else text
