"""Rows as text: for people, and exactly for programs."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from attrs import fields

from trioagg.integrity.consolidation import Best
from trioagg.store import BARS, COLUMNS, Look
from trioagg.views.table import SHOWN, TIMES, render, summary_table

T0 = 1_723_161_253_937_085_768
TRADE: dict[str, Any] = dict(
    zip(COLUMNS["trades"], ["binance", "BTC/USDT", "77", "61234.50000000", "0.00100000", "buy", None, T0], strict=True)
)
BAD: dict[str, Any] = {"exchange": "okx", "received": T0, "reason": "torn", "payload": "\x1b[31m" + "x" * 100}


def test_a_table_for_people() -> None:
    """Names on top, times in ISO 8601 UTC, every digit, a dash for what is not known, columns flush right."""
    head, row = render([TRADE], "trades").splitlines()
    assert head.split() == ["exchange", "symbol", "trade", "id", "price", "amount", "side", "timestamp", "received"]
    told = ["binance", "BTC/USDT", "77", "61234.50000000", "0.00100000", "buy", "-", "2024-08-08T23:54:13.937Z"]
    assert row.split() == told
    assert len(head) == len(row)


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_nothing_to_show(kind: str) -> None:
    """No rows: names and a hint for people, names for CSV, nothing for JSON."""
    names = list(COLUMNS[kind])
    assert render([], kind) == "  ".join(name.replace("_", " ") for name in names) + f"\n(no {kind} stored yet)"
    assert render([], kind, "csv") == ",".join(names)
    assert render([], kind, "json") == ""
    assert render([], kind, header=False) == render([], kind, "csv", header=False) == ""


def test_json_lines() -> None:
    """One object a line: the database's names, exact decimals as strings, times as integers, null for absent."""
    lines = render([TRADE, TRADE], "trades", "json").splitlines()
    assert [json.loads(line) for line in lines] == [TRADE, TRADE]
    assert '"price": "61234.50000000"' in lines[0]
    assert f'"received": {T0}' in lines[0]


def test_json_of_bytes() -> None:
    """A frame that is no text is base64 under the name that captures have for it."""
    line = json.loads(render([BAD | {"payload": b"\xff\x00"}], "quarantine", "json"))
    assert list(line) == ["exchange", "received", "reason", "payload_base64"]
    assert line["payload_base64"] == "/wA="


def test_csv() -> None:
    """The database's names, then exact values; absent ones are empty; line ends inside a value are quoted."""
    awkward = BAD | {"payload": 'a,"b"\nc'}
    assert list(csv.reader(render([TRADE], "trades", "csv").splitlines())) == [
        list(COLUMNS["trades"]),
        ["binance", "BTC/USDT", "77", "61234.50000000", "0.00100000", "buy", "", str(T0)],
    ]
    text = render([awkward], "quarantine", "csv", header=False)
    assert list(csv.reader([text.replace("\n", "\\n")])) == [["okx", str(T0), "torn", 'a,"b"\\nc']]


def test_a_table_cannot_be_broken_by_its_cells() -> None:
    """Control signs are spelt out and long cells shortened, so that one row is one line."""
    _, row = render([BAD | {"reason": "a\nb"}], "quarantine").splitlines()
    assert "\\x1b[31mxxx" in row
    assert "a\\nb" in row
    assert row.endswith("x…")
    _, row = render([BAD | {"payload": b"\xff{"}], "quarantine").splitlines()
    assert row.endswith("\\xff{")


def test_times_are_known_columns() -> None:
    """Every column that is shown as a time is one of its kind."""
    assert set(TIMES) == set(SHOWN)
    assert all(set(TIMES[kind]) <= set(SHOWN[kind]) for kind in TIMES)


def test_the_columns_of_what_is_reckoned_are_its_records() -> None:
    """They stand in the table, so that it need not load what reckons."""
    assert [*SHOWN["best"]] == [field.name for field in fields(Best)]
    assert SHOWN["bars"] == BARS


def test_the_summary() -> None:
    """One aligned line per market, without zeros that carry nothing, dashes for what is not known."""
    full = Look(
        exchange="binance",
        symbol="BTC/USDT",
        last=Decimal("61234.50000000"),
        bid=Decimal("61234.00"),
        ask=Decimal("61235.10"),
        spread=Decimal("1.10"),
        volume=Decimal("12345.678"),
        rate=1234.56,
        received=T0,
    )
    bare = Look("okx", "A/B", None, None, Decimal(100), None, None, 0.0, T0 + 5)
    head, *lines = summary_table([full, bare], now=T0 + 1_500_000_000).splitlines()
    assert head.split("  ")[0] == "exchange"
    assert [line.split() for line in lines] == [
        ["binance", "BTC/USDT", "61234.5", "61234", "61235.1", "1.1", "12,345.68", "1.5", "s", "1234.6"],
        ["okx", "A/B", "-", "-", "100", "-", "-", "1.5", "s", "0.0"],
    ]
    assert len({len(line) for line in (head, *lines)}) == 1


def test_an_early_summary() -> None:
    """Before anything came there is a head and a hint."""
    assert summary_table([], now=T0).splitlines()[1] == "(nothing received yet)"


def test_programs_do_not_wait_for_pandas() -> None:
    """JSON, CSV and the summary are written without importing pandas."""
    code = (
        "import sys; from trioagg.views.table import render, summary_table\n"
        "render([], 'trades'); render([], 'trades', 'json'); render([], 'trades', 'csv'); summary_table([], now=0)\n"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=20).returncode == 0
