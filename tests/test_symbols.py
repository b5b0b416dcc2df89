"""The markets of an exchange, asked for by themselves."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from trioagg.errors import LinkError
from trioagg.pipeline.symbols import symbols
from trioagg.settings import Run, Settings, Venue
from trioagg.views.symbols import show_symbols

KRAKEN = Settings(run=Run(exchanges=("kraken",)))


async def test_every_market_is_told_by_symbol(capsys: pytest.CaptureFixture[str]) -> None:
    """In canonical spelling, in order, with the columns of ``instruments``."""
    listed = await symbols("kraken", KRAKEN, offline=True)
    show_symbols(listed, "json")

    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["symbol"] for row in told] == sorted(row["symbol"] for row in told)
    assert {"BTC/USD", "DOGE/USDT"} <= {row["symbol"] for row in told}
    assert set(told[0]) >= {"exchange", "native", "base", "quote", "tick_size", "contract_size", "status"}


async def test_an_exchange_that_cannot_be_reached_is_one_line() -> None:
    """It names the exchange."""
    nowhere = evolve(KRAKEN, venues={"kraken": Venue(rest_url="http://127.0.0.1:9")})

    with pytest.raises(LinkError, match="kraken does not tell its symbols"):
        await symbols("kraken", nowhere, offline=False)
