"""Events of every kind, and the rows that the database makes of them, for the tests of the other sinks."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from trioagg.integrity.ledger import Draft, Ledger
from trioagg.model import (
    Book,
    Candle,
    Delta,
    Event,
    Funding,
    Liquidation,
    OpenInterest,
    Quarantined,
    Quote,
    Ticker,
    Trade,
)
from trioagg.pipeline.replay import Choice, replay
from trioagg.pipeline.tally import Outcome
from trioagg.settings import Run, Settings
from trioagg.store import RECORDS, Row, Writer, database, rows

T0 = 1_769_860_800_000_000_000
"""2026-01-31, noon, UTC."""

MARKET = ("binance", "BTC/USDT")
LONG = Decimal("1234567890.1234567890123456789012345678")
"""More digits than ``decimal128(38, 18)`` has behind its point."""

KINDS = [name for name in RECORDS if name not in ("sessions", "clocks", "instruments")]


def trade(number: int, price: str = "60000.10", market: tuple[str, str] = MARKET) -> Trade:
    return Trade(*market, number, Decimal(price), Decimal("0.50000000"), "sell", T0 + number, T0 + number + 5)


def ticker(bid: str, at: int = T0) -> Ticker:
    return Ticker(*MARKET, Decimal(bid), None, Decimal("2E-7"), None, None, None, None, at)


def candle(close: str, at: int, *, closed: bool) -> Candle:
    one = Decimal("1.0")
    return Candle(*MARKET, "1m", T0, one, one, one, Decimal(close), one, closed, at)


def everything() -> list[Event]:
    """Each kind, twins of one instant, a trade twice, two states of a candle, odd numbers, frames that are no text."""
    one, ladder = Decimal("1.0"), ((Decimal("1.10"), Decimal(2)), (Decimal("1.0"), Decimal("3E-9")))
    return [
        *(trade(number) for number in range(5)),
        trade(2),
        trade(7, market=("kraken", "ETH/USD:USD")),
        Trade(*MARKET, "a-1", LONG, Decimal("0.1"), "buy", None, T0),
        *(ticker("1.50"), ticker("1.50"), ticker("1.6")),
        *(candle("2.0", T0 + 1, closed=False), candle("3.0", T0 + 2, closed=True)),
        Book(*MARKET, ladder, (), T0, T0),
        Quote(*MARKET, one, one, None, None, T0, T0),
        Delta(*MARKET, (), ladder, whole=True, timestamp=None, received=T0),
        Funding(*MARKET, Decimal("-0.00012500"), one, None, T0 + 9, T0, T0),
        OpenInterest(*MARKET, Decimal("12345.678"), None, T0),
        Liquidation(*MARKET, "buy", one, one, T0, T0),
        Quarantined("binance", T0, "torn", b"\xff\x00"),
        Quarantined("binance", T0 + 1, "torn", '{"caf\u00e9'.encode()),
    ]


def draft(batch: Sequence[Event]) -> Draft:
    """What a ledger would say beside a batch."""
    return Ledger(lambda exchange: True, cause="lost", first_cause="not running").draft(batch)


def stored(path: Path) -> dict[str, list[Row]]:
    """What a database holds, kind by kind, in an order of its own."""
    with database(path) as db:
        return {kind: ordered(rows(db, kind, limit=sys.maxsize)) for kind in KINDS}


def expected(path: Path, batch: Sequence[Event]) -> dict[str, list[Row]]:
    """What the database makes of a batch."""
    with closing(Writer.open(path)) as writer:
        writer.write(batch)
    return stored(path)


def ordered(found: Sequence[Row]) -> list[Row]:
    """Rows in an order that depends on nothing but them."""
    return sorted(found, key=lambda row: repr(sorted(row.items())))


def newest(states: Sequence[Row]) -> list[Row]:
    """Candles as they are in the end, from all that was told of them."""
    by_age = sorted(states, key=lambda row: (int(row["closed"]), int(row["received"])))
    return ordered(
        [*{(row["exchange"], row["symbol"], row["interval"], row["open_time"]): row for row in by_age}.values()]
    )


def shortened(captures: Path, folder: Path) -> list[Path]:
    """The beginnings of real recordings, and a line that nobody understands."""
    files = []
    for name, count in (("binance-btcusdt-20240808", 1000), ("okx-recording", 205)):
        file = folder / f"{name}.jsonl"
        with gzip.open(captures / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            file.write_text("".join(islice(lines, count)), encoding="utf-8")
        files.append(file)
    torn = folder / "torn.jsonl"
    torn.write_text('{"exchange":"okx","received":5,"source":"wss://ws.okx.com:8443/ws/v5/public","payload":"{\\"a"}\n')
    return [*files, torn]


async def replayed(files: Sequence[Path], path: Path, *sinks: str, options: Mapping[str, Any] | None = None) -> Outcome:
    """Captures, into a database and other sinks."""
    settings = Settings(run=Run(database=str(path), sinks=sinks, **(options or {})))
    return await replay(files, settings, choice=Choice(), progress=lambda count: None)
