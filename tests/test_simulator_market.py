"""The made-up market: a function of seed, symbol and number, at every place of its history."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagg.errors import SettingsError
from trioagg.simulator import names, pairs
from trioagg.simulator.market import Market

NOW = 1_772_445_600_000_000_000
SECOND = 10**9


def test_same_seed_same_market() -> None:
    """Two markets of one seed tell the same trades, books and day; another seed tells other prices."""
    first, second, other = (Market(seed=seed, rate=50, symbols=["BTC/USDT"]) for seed in (7, 7, 8))
    number = first.before("BTC/USDT", NOW)
    told = [list(market.prints("BTC/USDT", number, number + 100)) for market in (first, second, other)]
    assert told[0] == told[1] != told[2]
    assert first.book("BTC/USDT", number) == second.book("BTC/USDT", number)
    assert first.span("BTC/USDT", NOW - 3600 * SECOND, NOW) == second.span("BTC/USDT", NOW - 3600 * SECOND, NOW)


@given(st.floats(0.01, 1e6), st.integers(0, 10**18), st.lists(st.integers(1, 10**8), min_size=1, max_size=20))
def test_slices_of_time_join_without_a_seam(rate: float, start: int, steps: list[int]) -> None:
    """However time is cut, every id comes exactly once and within its slice."""
    market, at, seen = Market(rate=rate, symbols=["ETH/USDT", "BTC/USDT"]), NOW + start, list[int]()
    for step in steps:
        first, end = market.before("BTC/USDT", at), market.before("BTC/USDT", at + step)
        shown = list(market.prints("BTC/USDT", first, min(end, first + 50)))
        assert all(at <= time < at + step for _, time, *_ in shown)
        seen += [first, end]
        at += step
    assert all(a == b for a, b in zip(seen[1:-1:2], seen[2::2], strict=True))


def test_rate_is_shared_evenly_half_trades_half_quotes() -> None:
    """A rate of 120 on three symbols is 20 trades and 20 quotes a second of each."""
    market = Market(rate=120, symbols=["BTC/USDT", "ETH/USDT", "FOO/BAR"])
    for symbol in ("BTC/USDT", "ETH/USDT", "FOO/BAR"):
        assert market.before(symbol, NOW + SECOND) - market.before(symbol, NOW) == 20
        assert len(list(market.quotes(symbol, NOW, NOW + SECOND))) == 20


@pytest.mark.parametrize("symbol", ["BTC/USDT", "SHIB/USDT", "XRP/BTC", "NEW/EUR"])
@pytest.mark.parametrize("count", [1, 10, 3000, 9000])
def test_figures_of_a_span_are_those_of_its_trades(symbol: str, count: int) -> None:
    """Open, high, low, close, volumes and ids of a span equal what its trades say, over block borders too."""
    market = Market(rate=2000, symbols=[symbol])
    end = NOW + count * SECOND // 1000
    first, after = market.before(symbol, NOW), market.before(symbol, end)
    trades = list(market.prints(symbol, first, after))
    prices, span = [price for _, _, price, _, _ in trades], market.span(symbol, NOW, end)
    assert (span.first, span.last, span.count) == (first, after - 1, len(trades))
    assert (span.open, span.high, span.low, span.close) == (prices[0], max(prices), min(prices), prices[-1])
    assert span.volume == sum(amount for *_, amount, _ in trades)
    assert span.bought == sum(amount for *_, amount, buy in trades if buy)
    turnover = sum(price * amount for _, _, price, amount, _ in trades) // 10**8
    assert span.quote_volume == pytest.approx(turnover, rel=0.01)


def test_prices_keep_to_steps_and_bids_below_asks() -> None:
    """Every figure is a positive multiple of its step, and no quote is crossed."""
    market = Market(rate=1000)
    for symbol, pair in market.pairs.items():
        number = market.before(symbol, NOW)
        for _, _, price, amount, _ in market.prints(symbol, number, number + 50):
            assert price > 0 < amount and not price % pair.tick and not amount % pair.step
        for _, _, bid, bids, ask, asks in market.quotes(symbol, NOW, NOW + SECOND // 20):
            assert 0 < bid < ask and bids > 0 < asks


def test_walk_is_smooth() -> None:
    """No trade is further than a per mille from the one before, over a whole round of the walk's borders."""
    market = Market(rate=10, symbols=["BTC/USDT"])
    prices = [trade[2] for trade in market.prints("BTC/USDT", 1024 * 1024 - 5000, 1024 * 1024 + 5000)]
    assert max(abs(a - b) / a for a, b in pairwise(prices)) < 0.001


@pytest.mark.parametrize(("rate", "symbol"), [(100, "BTC/USDT"), (20_000, "ETH/USDT"), (700, "XRP/BTC")])
def test_diffs_turn_any_snapshot_into_the_book(rate: float, symbol: str) -> None:
    """A snapshot from anywhere inside the first diff, with the diffs on it, is the book at the last one."""
    market, step = Market(rate=rate, symbols=[symbol]), SECOND // 10
    edges = [market.update(symbol, NOW + turn * step) for turn in range(8)]
    for snapshot in range(edges[0], edges[1] + 1, max(1, (edges[1] - edges[0]) // 7)):
        book = [dict(side) for side in market.book(symbol, snapshot)]
        for before, after in pairwise(edges):
            for side, changes in zip(book, market.changes(symbol, before, after), strict=True):
                side.update(changes)
        expected = market.book(symbol, edges[-1])
        assert [{p: q for p, q in side.items() if q} for side in book] == [dict(side) for side in expected]


def test_best_levels_of_the_book_are_the_quote() -> None:
    """Book and best prices agree at every change."""
    market = Market(rate=500, symbols=["SOL/USDT"])
    for number, _, bid, bids, ask, asks in market.quotes("SOL/USDT", NOW, NOW + SECOND):
        below, above = market.book("SOL/USDT", number)
        assert (below[0], above[0]) == ((bid, bids), (ask, asks))


def test_listing() -> None:
    """About sixty markets are listed, and any other that is asked for; Binance is among the exchanges."""
    assert len(pairs.listed()) >= 60 and set(pairs.ACTIVE) <= pairs.listed().keys()
    assert "FOO/BAR" in Market(symbols=["FOO/BAR"]).pairs
    assert "binance" in names()


def test_impossible_markets_are_refused() -> None:
    """A symbol that is none is a settings error of one line."""
    with pytest.raises(SettingsError, match=r"^[^\n]*'btcusdt'[^\n]*$"):
        Market(symbols=["btcusdt"])
