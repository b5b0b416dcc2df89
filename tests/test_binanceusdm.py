"""Binance USD-M futures: what the transcript cannot say."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trioagg.exchanges import Connect, Exchange, Feed, Send, Subscription, load
from trioagg.model import Channel, Ticker, Trade

MILLI = 1_000_000
STREAMED = (Channel.TRADES, Channel.TICKER, Channel.CANDLES, Channel.FUNDING, Channel.LIQUIDATIONS)


def adapter(*subscriptions: Subscription, interval: float = 5) -> Exchange:
    return load("binanceusdm")(Feed(subscriptions, interval=interval))


def wanted(symbols: int, *channels: Channel) -> list[Subscription]:
    """Subscriptions to as many markets."""
    return [
        Subscription(f"A{number}/USDT:USDT", channel, f"A{number}USDT")
        for number in range(symbols)
        for channel in channels
    ]


def recorded(file: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each frame of a recording, and an independent reading of its event."""
    with gzip.open(file) as lines:
        for line in lines:
            captured = json.loads(line)
            if captured["source"].startswith("wss"):
                yield captured["payload"].encode(), json.loads(captured["payload"])["data"]


def test_a_recording_is_read_digit_for_digit(captures: Path) -> None:
    """Every trade's id, price, amount, side and time, and every best bid and ask."""
    frames = list(recorded(captures / "binanceusdm-btcusdt-20240808.jsonl.gz"))
    trades = [event for _, event in frames if event["e"] == "trade"]
    quotes = [event for _, event in frames if event["e"] == "bookTicker"]

    out = adapter().digest([frame for frame, _ in frames], at=0)

    assert [
        (item.symbol, item.trade_id, item.price, item.amount, item.side, item.timestamp)
        for item in out
        if isinstance(item, Trade)
    ] == [
        (
            "BTC/USDT:USDT",
            t["t"],
            Decimal(t["p"]),
            Decimal(t["q"]),
            "sell" if t["m"] else "buy",
            t["T"] * MILLI,
        )
        for t in trades
    ]
    assert [
        (item.bid, item.bid_size, item.ask, item.ask_size, item.timestamp) for item in out if isinstance(item, Ticker)
    ] == [(Decimal(q["b"]), Decimal(q["B"]), Decimal(q["a"]), Decimal(q["A"]), q["T"] * MILLI) for q in quotes]
    assert len(out) == len(trades) + len(quotes) > 25_000


@pytest.mark.parametrize("first", ["trade", "aggTrade"])
def test_of_two_kinds_of_trades_a_capture_yields_one(first: str) -> None:
    """Raw and aggregated trades have different ids: those that come first are taken, the others are the same again."""
    rest = '"s":"BTCUSDT","p":"64205.20","q":"0.010","T":1772445600101,"m":false}'
    frames = {"trade": f'{{"e":"trade","t":6500000001,{rest}', "aggTrade": f'{{"e":"aggTrade","a":2900000001,{rest}'}
    order = sorted(frames, key=lambda kind: kind != first)

    out = adapter().digest([frames[kind].encode() for kind in order] * 2, at=0)

    numbers = {item.trade_id for item in out if isinstance(item, Trade)}
    assert numbers == {6500000001 if first == "trade" else 2900000001}
    assert len(out) == 2


def test_a_connection_has_streams_of_one_root() -> None:
    """The wrong root acknowledges and stays silent: quotes are public, all else is market."""
    kind = load("binanceusdm")
    subscriptions = wanted(400, *STREAMED)

    connections = kind.connections(subscriptions)

    assert sorted(map(str, subscriptions)) == sorted(str(item) for some in connections for item in some)
    for some in connections:
        assert len(some) <= 1024
        paths = [action.path for action in kind(Feed(some)).begin() if isinstance(action, Connect)]
        root = "/public/" if some[0].channel is Channel.TICKER else "/market/"
        assert len(paths) == 1 and paths[0].startswith(root)
        assert ("bookTicker" in paths[0]) is (root == "/public/")


def test_streams_beyond_the_url_are_subscribed_to_by_message() -> None:
    """Every stream is named once, in the URL or in a message, and no message names more than 200."""
    one = adapter(*wanted(350, Channel.TRADES))

    paths = [action.path for action in one.begin() if isinstance(action, Connect)]
    messages = [json.loads(action.text)["params"] for action in one.opened() if isinstance(action, Send)]

    named = paths[0].partition("streams=")[2].split("/") + [name for message in messages for name in message]
    assert sorted(named) == sorted(f"a{number}usdt@aggTrade" for number in range(350))
    assert [len(message) for message in messages] == [200, 50]


@pytest.mark.parametrize(("symbols", "requests"), [(1, 2), (15, 30), (16, 2), (500, 2)])
def test_tickers_are_polled_as_cheaply_as_can_be(symbols: int, requests: int) -> None:
    """One by one while that costs no more than all at once, and never a quarter of what a minute allows."""
    polls = list(adapter(*wanted(symbols, Channel.TICKER)).polls())

    assert len(polls) == requests
    assert sum(fetch.weight * 60 / (fetch.every or 1) for fetch in polls) <= 2400 / 4


@pytest.mark.parametrize("symbols", [1, 100, 600])
def test_open_interest_costs_half_of_what_a_minute_allows_at_the_most(symbols: int) -> None:
    """It is asked for one by one: with many markets, less often."""
    polls = list(adapter(*wanted(symbols, Channel.OPEN_INTEREST), interval=1).polls())

    assert len(polls) == symbols
    assert sum(fetch.weight * 60 / (fetch.every or 1) for fetch in polls) <= 2400 / 2


@pytest.mark.parametrize("symbol", ["BTC/USDT:USDT", "ETH/USDC:USDC", "1000PEPE/USDT:USDT", "ETH/BTC:BTC"])
def test_symbols_are_spelled_both_ways(symbol: str) -> None:
    """By rule, where no instrument list could be had."""
    kind = load("binanceusdm")
    assert kind.unified(kind.native(symbol)) == symbol
    assert kind.unified("BTCUSDT_260327") == "BTCUSDT_260327"
