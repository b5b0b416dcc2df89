"""What the adapters share about numbers on the wire."""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

from trioagg.errors import WireError

SMALLEST = Decimal("1e-40")
LARGEST = Decimal("1e40")
"""No market quotes outside these; beyond lies only nonsense such as ``1e999999``, whose digits alone fill a disk."""


EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, Overflow])
"""Turns a number of contracts into an amount, and refuses to round."""


def positive(*numbers: Decimal) -> None:
    """Check numbers that must be there and above zero.

    Raises:
        WireError: one of them is zero, negative, absurd or infinite.
        decimal.InvalidOperation: one of them is not a number.
    """
    for number in numbers:
        if not SMALLEST <= number <= LARGEST:
            raise WireError(f"not a positive number: {number}"[:120])


def quantities(*numbers: Decimal | None) -> None:
    """Check numbers that may be zero or absent.

    Raises:
        WireError: one of them is negative, absurd or infinite.
        decimal.InvalidOperation: one of them is not a number.
    """
    for number in numbers:
        if number:
            positive(number)


def nanos(stamp: int) -> int:
    """An exchange's time in milliseconds, or microseconds where it was asked for those, as nanoseconds.

    Raises:
        WireError: it lies outside the years 1970 to 2255.
    """
    if 0 <= stamp < 9_000_000_000_000:
        return stamp * 1_000_000
    if 0 <= stamp < 9_000_000_000_000_000:
        return stamp * 1_000
    raise WireError(f"impossible time: {stamp}")
