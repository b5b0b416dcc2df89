"""Rows in statements: each cell as the server reads it, and no statement larger than it takes."""

from __future__ import annotations

import pytest

from trioagg.sinks._literals import LENGTH, inserts
from trioagg.sinks._schema import EVENTS, QUARANTINED, TABLES
from trioagg.store.kinds import KINDS

SESSION = TABLES["session"]
BOOK = next(EVENTS[kind] for kind in KINDS.values() if kind.name == "book")


def test_each_cell_is_what_its_column_says() -> None:
    """Whatever signs are in it; nothing ends a text early, and a percent sign is one."""
    rows = [("it's \\ %s", "\0\n", 1, -(2**63), None, "", None), ("\u2603", "b", 0, 2**63 - 1, 5, '"', 7)]
    (told,) = inserts(SESSION, rows, "END")
    names = '"exchange", "connection", "subscriptions", "opened", "closed", "reason", "missed"'
    least, most = (
        "'it''s \\\\ %s','\0\n',1,-9223372036854775808,NULL,'',NULL",
        "'\u2603','b',0,9223372036854775807,5,'\"',7",
    )
    assert told == f"INSERT INTO session ({names}) VALUES ({least}),({most}) END"
    (told,) = inserts(QUARANTINED, [("a", 1, b"\x00'", "torn", b"\xff")], "END")
    assert told.endswith("""VALUES ('a',1,X'0027','torn',X'ff') END""")


def test_a_number_is_a_number() -> None:
    """A text in its place is a bug, and never a part of the statement."""
    with pytest.raises(ValueError, match="format code 'd'"):
        list(inserts(SESSION, [("a", "b", "1), (2", 1, None, "", None)], ""))


def test_statements_are_cut_before_they_are_too_long() -> None:
    """Between rows, each of which is there once; one that is too long by itself is alone."""
    levels = [LENGTH // 3, LENGTH // 3, LENGTH // 2, LENGTH * 2, 1]
    rows = [(1, number, "x" * length, "", None, 0) for number, length in enumerate(levels)]
    told = list(inserts(BOOK, rows, ""))
    assert [statement.count("(1,") for statement in told] == [2, 1, 1, 1]
    assert [f"(1,{number}," in "".join(told) for number in range(5)] == [True] * 5
