"""The package from Python: in a script, and where a notebook would call it."""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path

import pytest

import trioagg
from trioagg.errors import SettingsError, StoreError
from trioagg.pipeline.tally import Outcome


def collect(database: Path) -> Outcome:
    """A short run against the built-in exchange."""
    return trioagg.run(
        simulated=True, duration=0.4, database=database, symbols=["BTC/USDT"], channels="trades, ticker", interval=1
    )


def test_a_run_from_python_and_its_rows(tmp_path: Path) -> None:
    """The outcome is the account; rows come with the database's names and exact decimals."""
    outcome = collect(tmp_path / "a.db")

    assert outcome.problems == [] and outcome.tally.stored == outcome.tally.received > 0
    row = trioagg.rows(tmp_path / "a.db", "trades", symbols=["BTC/USDT"], limit=1)[0]
    assert isinstance(row["price"], Decimal) and isinstance(row["received"], int)
    assert row["symbol"] == "BTC/USDT" and row["side"] in ("buy", "sell")


def test_a_run_outside_the_main_thread(tmp_path: Path) -> None:
    """No signals can be received there; everything else is the same."""
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(collect(tmp_path / "a.db")))
    thread.start()
    thread.join(10)

    assert outcomes[0].tally.stored > 0


def test_mistakes_come_out_bare(tmp_path: Path) -> None:
    """Not wrapped into groups, and naming the key."""
    with pytest.raises(SettingsError, match=r"exchanges=: bad value 'binanse'"):
        trioagg.run(exchanges=["binanse"])
    with pytest.raises(SettingsError, match=r"unknown setting 'exchange' in \[run\]; did you mean exchanges"):
        trioagg.run(exchange="binance")
    with pytest.raises(StoreError, match=r"no database at"):
        trioagg.rows(tmp_path / "none.db")
