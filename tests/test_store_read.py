"""Rows come back exact, newest found by key, and followed as they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import pytest
from plain_sql import asked, plain, plans

from trioagg.errors import SettingsError, StoreError
from trioagg.exchanges import counts
from trioagg.integrity.ledger import Ledger
from trioagg.model import (
    Book,
    Candle,
    ClockCheck,
    Delta,
    Event,
    Funding,
    Liquidation,
    OpenInterest,
    Quarantined,
    Quote,
    Session,
    Ticker,
    Trade,
    TradeId,
)
from trioagg.store import (
    COLUMNS,
    Look,
    Writer,
    connect,
    database,
    follow,
    gaps,
    latest,
    open_gaps,
    rows,
    summary,
)
from trioagg.store.opening import Database, writable

T0 = 1_723_161_253_000_000_000
SECOND = 10**9


def trade(
    trade_id: TradeId, *, at: int | None = T0, received: int = T0, market: str = "binance BTC/USDT", price: str = "1.50"
) -> Trade:
    exchange, symbol = market.split()
    return Trade(exchange, symbol, trade_id, Decimal(price), Decimal("2.0"), "sell", at, received)


def ticker(
    received: int, *, market: str = "binance BTC/USDT", last: str | None = "100.0", ask: str = "101.50"
) -> Ticker:
    exchange, symbol = market.split()
    price = None if last is None else Decimal(last)
    return Ticker(
        exchange, symbol, Decimal("99.75"), Decimal(1), Decimal(ask), Decimal(2), price, Decimal("12.5"), None, received
    )


def candle(number: int, *, interval: str = "1m", received: int = T0, closed: bool = True) -> Candle:
    one = Decimal("1.0")
    return Candle("binance", "BTC/USDT", interval, T0 + number, one, one, one, one, one, closed, received)


def derived(received: int, market: str = "binance BTC/USDT") -> list[Event]:
    """A book, what comes with it, and one of each kind that only derivatives have."""
    exchange, symbol = market.split()
    one, two = Decimal("1.0"), Decimal("2.50")
    return [
        Book(exchange, symbol, ((one, two),), ((two, one), (Decimal(3), one)), None, received),
        Quote(exchange, symbol, one, two, None, None, None, received),
        Delta(exchange, symbol, ((one, Decimal(0)),), (), whole=False, timestamp=T0, received=received),
        Funding(exchange, symbol, Decimal("-0.00010"), None, two, T0 + 1, None, received),
        OpenInterest(exchange, symbol, two, T0, received),
        Liquidation(exchange, symbol, "sell", one, two, None, received),
    ]


DERIVED = ("book", "quotes", "deltas", "funding", "open_interest", "liquidations")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trioagg.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    with closing(Writer.open(path)) as opened:
        yield opened


@pytest.fixture
def db(writer: Writer, path: Path) -> Iterator[Database]:
    with database(path) as opened:
        yield opened


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [row["trade_id"] for row in found]


def test_a_row_of_each_kind(writer: Writer, db: Database) -> None:
    """Rows have the contract's columns in its order, exact decimals as text, ids as text, absent values None."""
    writer.write([trade(7, at=None), ticker(T0, last=None), candle(0), Quarantined("binance", T0, "torn", b"{")])
    life, check = Session("binance", "ws-1", 2, T0, None, ""), ClockCheck("binance", -5, 2, None, T0)
    writer.write(derived(T0), Ledger(counts, cause="", first_cause="").draft([life, check]))
    assert {kind: tuple(row) for kind in COLUMNS if kind != "gaps" for row in rows(db, kind)} == {
        kind: COLUMNS[kind] for kind in COLUMNS if kind != "gaps"
    }
    assert list(rows(db, "trades")[0].values()) == ["binance", "BTC/USDT", "7", "1.50", "2.0", "sell", None, T0]
    assert list(rows(db, "ticker")[0].values())[2:] == ["99.75", "1", "101.50", "2", None, "12.5", None, T0]
    assert list(rows(db, "candles")[0].values())[2:] == ["1m", T0, "1.0", "1.0", "1.0", "1.0", "1.0", 1, T0]
    assert list(rows(db, "book")[0].values())[2:] == ['[["1.0","2.50"]]', '[["2.50","1.0"],["3","1.0"]]', None, T0]
    assert list(rows(db, "funding")[0].values())[2:] == ["-0.00010", None, "2.50", T0 + 1, None, T0]
    assert list(rows(db, "open_interest")[0].values())[2:] == ["2.50", T0, T0]
    assert list(rows(db, "liquidations")[0].values())[2:] == ["sell", "1.0", "2.50", None, T0]
    assert list(rows(db, "quarantine")[0].values()) == ["binance", T0, "torn", "{"]


def test_the_views_have_the_contracts_columns(writer: Writer, path: Path) -> None:
    """Each of the contract's names answers plain SQL with the columns that ``rows`` gives."""
    with closing(plain(path)) as db:
        for kind, names in COLUMNS.items():
            view = {"ticker": "tickers", "book": "books"}.get(kind, kind)
            assert tuple(column[1] for column in db.execute(f"PRAGMA table_info({view})")) == tuple(names)


def test_the_newest_last(writer: Writer, db: Database) -> None:
    """``rows`` gives the newest of all markets together, oldest first."""
    writer.write([trade(n, at=T0 + n, market=f"binance {'AB'[n % 2]}/USDT") for n in range(40)])
    assert ids(rows(db, "trades", limit=5)) == ["35", "36", "37", "38", "39"]
    assert ids(rows(db, "trades", limit=2, symbols=["A/USDT"])) == ["36", "38"]


def test_numbers_are_ordered_as_numbers(writer: Writer, db: Database) -> None:
    """Trade 10 is newer than trade 9, whatever its text says."""
    writer.write([trade(n) for n in (9, 10, 100, 99)])
    assert ids(rows(db, "trades", limit=3)) == ["10", "99", "100"]


def test_ids_that_are_no_numbers(writer: Writer, db: Database) -> None:
    """Trades with ids of text are ordered by their time, or by ours where the exchange tells none."""
    writer.write(
        [
            trade("ff", at=T0),
            trade("aa", at=T0 + 3),
            trade("cc", at=None, received=T0 + 2),
            trade(5, at=T0 + 4),
            trade(str(2**70), at=T0 + 1),
        ]
    )
    assert ids(rows(db, "trades")) == ["ff", str(2**70), "cc", "aa", "5"]
    assert ids(rows(db, "trades", limit=2)) == ["aa", "5"]


def test_candles_of_every_interval(writer: Writer, db: Database) -> None:
    """Candles are found under each of their intervals."""
    writer.write([candle(n, interval=interval) for n in range(3) for interval in ("1m", "1h", "1d")])
    assert [row["interval"] for row in rows(db, "candles", limit=3)] == ["1d", "1h", "1m"]
    assert len(rows(db, "candles")) == 9


def test_choosing_exchanges(writer: Writer, db: Database) -> None:
    """``exchanges`` and ``symbols`` narrow every kind that has them."""
    for name in ("binance", "kraken"):
        writer.write([trade(1, market=f"{name} BTC/USDT"), Quarantined(name, T0, "torn", b"{")])
    for kind in ("trades", "quarantine", "instruments"):
        assert [row["exchange"] for row in rows(db, kind, exchanges=["kraken"])] == ["kraken"]


def test_the_latest_ticker_of_each_market(writer: Writer, db: Database) -> None:
    """One row per market, the newest received, and of one instant the last."""
    writer.write([ticker(T0 + n // 2, market=market, ask=str(n)) for n in range(4) for market in ("a B/C", "b B/C")])
    assert [(row["exchange"], row["ask"]) for row in latest(db, "ticker")] == [("a", "3"), ("b", "3")]
    assert len(latest(db, "ticker", ["a"], ["B/C"])) == 1


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"exchanges": ["binanse"]}, "no exchange 'binanse' in database .*; nearest: binance$"),
        ({"symbols": ["BTC/USD"]}, "no symbol 'BTC/USD' in database .*; nearest: BTC/USDT$"),
        ({"exchanges": ["kraken"], "symbols": ["BTC/USDT"]}, "no symbol 'BTC/USDT' .*; nearest: XMR/EUR$"),
    ],
)
def test_what_is_not_there_is_named(writer: Writer, db: Database, choice: dict[str, list[str]], reason: str) -> None:
    """An exchange or symbol that the database never saw is answered by the nearest that it did."""
    writer.write([trade(1), trade(1, market="kraken XMR/EUR")])
    for kind in ("ticker", "trades", "gaps"):
        with pytest.raises(SettingsError, match=reason):
            rows(db, kind, **choice)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=reason):
        latest(db, "ticker", **choice)
    with pytest.raises(SettingsError, match=reason):
        next(follow(db, "trades", **choice))  # type: ignore[arg-type]


def test_asking_an_empty_database(db: Database) -> None:
    """A database without rows has none, and says so when a symbol is asked for."""
    assert [rows(db, kind) for kind in COLUMNS] == [[]] * len(COLUMNS)
    assert (latest(db, "ticker"), summary(db), gaps(db), open_gaps(db)) == ([], [], [], 0)
    with pytest.raises(SettingsError, match="it is empty so far"):
        rows(db, "trades", symbols=["BTC/USDT"])


def test_an_unknown_kind(db: Database) -> None:
    """A kind that there is not is answered by those that there are."""
    with pytest.raises(SettingsError, match=f"known: {', '.join(COLUMNS)}$"):
        rows(db, "trade")


def test_following(writer: Writer, db: Database) -> None:
    """Each step gives what came since the step before, once, from every market, new ones too."""
    writer.write([trade(n) for n in range(10)])
    steps = follow(db, "trades", limit=3)
    assert ids(next(steps)) == ["7", "8", "9"]
    assert next(steps) == []
    writer.write([trade(n) for n in range(12)])
    assert ids(next(steps)) == ["10", "11"]
    writer.write([trade(1, market="kraken XMR/EUR"), trade(12)])
    assert sorted(ids(next(steps))) == ["1", "12"]
    assert next(steps) == []


def test_following_rows_of_one_instant(writer: Writer, db: Database) -> None:
    """Rows that share their moment with the last one shown are shown too, and nothing twice."""
    steps = follow(db, "trades")
    writer.write([trade("m", at=T0)])
    assert ids(next(steps)) == ["m"]
    writer.write([trade("a", at=T0), trade("z", at=T0)])
    assert ids(next(steps)) == ["a", "z"]
    assert next(steps) == []
    quotes = follow(db, "ticker")
    writer.write([ticker(T0, ask="1")])
    assert len(next(quotes)) == 1
    writer.write([ticker(T0, ask="2")])
    assert [row["ask"] for row in next(quotes)] == ["2"]


def test_following_candles(writer: Writer, db: Database) -> None:
    """A candle is shown again in each newer state."""
    steps = follow(db, "candles")
    writer.write([candle(0, received=1, closed=False)])
    assert [row["closed"] for row in next(steps)] == [0]
    writer.write([candle(0, received=2, closed=True), candle(1, received=2, closed=False)])
    assert [row["closed"] for row in next(steps)] == [1, 0]
    assert next(steps) == []


def test_following_from_nothing(writer: Writer, db: Database) -> None:
    """A first step of no rows still leaves out what was there before."""
    writer.write([trade(1)])
    steps = follow(db, "trades", limit=0)
    assert next(steps) == []
    writer.write([trade(2)])
    assert ids(next(steps)) == ["2"]


def test_a_summary(writer: Writer, db: Database) -> None:
    """A market's look: last price, best bid and ask, exact spread, volume, newest arrival and rate."""
    tickers = [ticker(T0 + n * SECOND // 10, last="100.0") for n in range(20)]
    writer.write([*tickers, trade(1, price="100.25", received=T0 + SECOND), ticker(T0, market="okx A/B", last=None)])
    one, other = summary(db, now=T0 + 2 * SECOND)
    assert one == Look(
        exchange="binance",
        symbol="BTC/USDT",
        last=Decimal("100.25"),
        bid=Decimal("99.75"),
        ask=Decimal("101.50"),
        spread=Decimal("1.75"),
        volume=Decimal("12.5"),
        rate=2.1,
        received=T0 + 19 * SECOND // 10,
    )
    assert (other.last, other.rate) == (None, 0.1)
    assert summary(db, ["okx"], now=T0) == [other]
    assert summary(db, ["nowhere"]) == []


def test_a_spread_of_many_digits(writer: Writer, db: Database) -> None:
    """A spread is exact beyond the 28 digits of the usual context."""
    writer.write([ticker(T0, ask="123456789012345678901234567890.12")])
    assert summary(db)[0].spread == Decimal("123456789012345678901234567790.37")


@pytest.mark.parametrize(("later", "last"), [(0, "1.50"), (30, "1.50"), (31, "100.0")])
def test_the_last_price(writer: Writer, db: Database, later: int, last: str) -> None:
    """The last trade's price counts, until tickers have gone on for half a minute without a trade."""
    writer.write([trade(1), ticker(T0 + later * SECOND)])
    assert summary(db)[0].last == Decimal(last)


def test_the_rate_of_a_busy_market(writer: Writer, db: Database) -> None:
    """The rate of a market with thousands of rows a second is right, and falls to nothing once it is still."""
    writer.write([trade(n, received=T0 + n * SECOND // 2000) for n in range(4000)])
    assert summary(db, now=T0 + 2 * SECOND)[0].rate == pytest.approx(2000, rel=0.01)
    assert summary(db, now=T0 + 20 * SECOND)[0].rate == 0


FEW = (
    "SCAN instrument",
    "SCAN quarantined USING COVERING",
    "SCAN session USING COVERING",
    "SCAN clock",
    "SCAN newest",
)
"""Scans of what is small, or of an index that holds the answer."""


def test_no_question_scans_a_table(writer: Writer, path: Path) -> None:
    """Every query over rows goes by key, and in its order: none reads or sorts a table."""
    writer.write([trade(1), trade("a"), ticker(T0), candle(0), Quarantined("binance", T0, "torn", b"{"), *derived(T0)])
    with closing(connect(path)) as db:
        with asked(db) as questions:
            for kind in COLUMNS:
                rows(db, kind)
                steps = follow(db, kind)
                next(steps)
                next(steps)
            latest(db, "ticker")
            summary(db)
            open_gaps(db)
        found = plans(questions, db)
    assert any("SEARCH ticker" in step for step in found)
    scans = [step for step in found if step.startswith("SCAN") and not step.startswith(FEW)]
    assert scans == []
    assert not [step for step in found if "TEMP B-TREE" in step]


@pytest.mark.parametrize("view", ["trades", "tickers", "candles", "books", *DERIVED[1:]])
@pytest.mark.parametrize("where", ["exchange = 'binance' AND symbol = 'BTC/USDT'", "symbol = 'BTC/USDT'", "true"])
def test_plain_sql_goes_by_key(writer: Writer, path: Path, view: str, where: str) -> None:
    """A person's query on the views goes from the few instruments to their rows by key."""
    with closing(plain(path)) as db:
        plan = [step[3] for step in db.execute(f"EXPLAIN QUERY PLAN SELECT count(*) FROM {view} WHERE {where}")]
    assert [step for step in plan if step.startswith("SEARCH") and "USING PRIMARY KEY (instrument=?)" in step]


def test_the_ledger(writer: Writer, path: Path) -> None:
    """Gaps come back with ids as text, in the order of detection, and the open ones are counted."""
    writer.write([trade(1)])
    entry = (
        "INSERT INTO gap (instrument, channel, origin, first_missing, last_missing, missing, cause, status, detected) "
        "VALUES"
    )
    with closing(writable(path)) as db:
        db.execute(
            f"{entry} (1, 'trades', 5, 5, 9, 5, 'reconnect', 'open', 1),"
            " (1, 'trades', 'a', 'a', NULL, NULL, 'x', 'filled', 2)"
        )
        with pytest.raises(apsw.ConstraintError):
            db.execute(f"{entry} (1, 'trades', 5, 5, 9, 5, 'reconnect', 'lost', 1)")
    with database(path) as db:
        assert [list(row.values()) for row in gaps(db)] == [
            ["binance", "BTC/USDT", "trades", "5", "9", 5, "reconnect", "open", 1, None, None],
            ["binance", "BTC/USDT", "trades", "a", None, None, "x", "filled", 2, None, None],
        ]
        assert open_gaps(db) == 1


def test_a_table_that_is_gone(writer: Writer, path: Path) -> None:
    """A file that someone broke while it is read is one line, not SQLite's own exception."""
    with closing(writable(path)) as other:
        other.execute("DROP TABLE gap")
    with database(path) as db, pytest.raises(StoreError, match=r"cannot be used: no such table: gap"):
        open_gaps(db)


def test_events_of_every_kind_share_one_instrument(writer: Writer, db: Database) -> None:
    """A market is one instrument, however many kinds of events it has."""
    batch: list[Event] = [trade(1), ticker(T0), candle(0), *derived(T0)]
    for event in batch:
        writer.write([event])
    assert len(rows(db, "instruments")) == 1
