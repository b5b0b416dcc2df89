"""What the transcript of OKX cannot say: recordings, two sockets, contract sizes, haste."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import Connect, Feed, Fetch, Send, Subscription
from trioagg.exchanges.okx import Adapter
from trioagg.model import Channel, Instrument, Quarantined, Ticker, Trade

FACE = {"BTC-USD-220527": Decimal(100), "UNI-USD-SWAP": Decimal(10)}
"""What one contract of those in the recording was worth, USD."""

ETH = Instrument(
    exchange="okx",
    symbol="ETH/USDT:USDT",
    native="ETH-USDT-SWAP",
    base="ETH",
    quote="USDT",
    tick_size=None,
    amount_step=None,
    contract_size=Decimal("0.1"),
    amount_unit="ETH",
    status="trading",
)


def recorded(captures: Path) -> Iterator[tuple[int, bytes]]:
    with gzip.open(captures / "okx-recording.jsonl.gz", "rt") as lines:
        for line in lines:
            frame = json.loads(line)
            yield frame["received"], frame["payload"].encode()


def rows(captures: Path, channel: str) -> list[dict[str, Any]]:
    """The rows of one channel by an independent reading."""
    messages = [json.loads(payload) for _, payload in recorded(captures)]
    ours = [message for message in messages if message["arg"]["channel"] == channel and "data" in message]
    return [row for message in ours for row in message["data"]]


def subscribed(*channels: Channel, symbols: Sequence[str] = ("BTC/USDT", "ETH/USDT:USDT")) -> list[Subscription]:
    return [Subscription(symbol, channel, Adapter.native(symbol)) for symbol in symbols for channel in channels]


def test_every_trade_and_quote_of_a_recording_is_read(captures: Path) -> None:
    """Ids, prices, amounts, sides and times equal an independent reading; nothing is quarantined."""
    adapter = Adapter(Feed())
    out = [item for at, payload in recorded(captures) for item in adapter.digest([payload], at)]

    assert [item for item in out if isinstance(item, Quarantined)] == []
    assert [
        (str(item.trade_id), item.price, item.amount, item.side, item.timestamp)
        for item in out
        if isinstance(item, Trade)
    ] == [
        (
            row["tradeId"],
            Decimal(row["px"]),
            Decimal(row["sz"]) * FACE.get(row["instId"], 1),
            row["side"],
            int(row["ts"]) * 10**6,
        )
        for row in rows(captures, "trades")
    ]
    assert [
        (item.bid, item.bid_size, item.ask, item.ask_size, item.last) for item in out if isinstance(item, Ticker)
    ] == [
        (
            Decimal(row["bidPx"]),
            Decimal(row["bidSz"]) * FACE.get(row["instId"], 1),
            Decimal(row["askPx"]),
            Decimal(row["askSz"]) * FACE.get(row["instId"], 1),
            Decimal(row["last"]),
        )
        for row in rows(captures, "tickers")
    ]
    assert {item.symbol for item in out if isinstance(item, Trade)} == {"BTC/USDT", "UNI/USD:UNI", "BTC/USD:BTC-220527"}


@pytest.mark.parametrize(
    ("symbol", "native"),
    [
        ("BTC/USDT", "BTC-USDT"),
        ("ETH/USDT:USDT", "ETH-USDT-SWAP"),
        ("BTC/USD:BTC", "BTC-USD-SWAP"),
        ("BTC/USD:BTC-260925", "BTC-USD-260925"),
    ],
)
def test_symbols_are_spelled_by_rule_both_ways(symbol: str, native: str) -> None:
    """Without an instrument list, spot, swaps and futures keep apart."""
    assert Adapter.native(symbol) == native
    assert Adapter.unified(native) == symbol


def test_each_socket_gets_its_own_connections() -> None:
    """Trades and candles go to the business socket, the rest to the public one; spot has nothing that swaps have."""
    parts = Adapter.connections(subscribed(*sorted(Adapter.channels())))
    paths = [
        [action.path for action in Adapter(Feed(part, [ETH])).begin() if isinstance(action, Connect)] for part in parts
    ]

    assert paths == [["/ws/v5/business"], ["/ws/v5/public"]]
    assert {item.channel for item in parts[0]} == {Channel.TRADES, Channel.CANDLES}
    assert {item.channel for item in parts[1] if item.symbol == "BTC/USDT"} == {Channel.TICKER}
    assert len(parts[1]) == 5


def test_many_subscriptions_are_spread_over_messages_and_connections() -> None:
    """Each is asked for once, and no message or connection carries more than its share."""
    many = subscribed(Channel.TICKER, symbols=[f"C{number}/USDT" for number in range(650)])
    parts = Adapter.connections(many)
    asked = [
        [json.loads(action.text)["args"] for action in Adapter(Feed(part)).opened() if isinstance(action, Send)]
        for part in parts
    ]

    assert [len(part) for part in parts] == [300, 300, 50]
    assert [[len(args) for args in messages] for messages in asked] == [[100, 100, 100], [100, 100, 100], [50]]
    assert [arg["instId"] for messages in asked for args in messages for arg in args] == [item.native for item in many]


def test_a_swap_of_unknown_size_is_asked_for_before_connecting() -> None:
    """The list comes first, where nobody told the size; then amounts are in the base currency."""
    subscriptions = subscribed(Channel.TRADES, symbols=["ETH/USDT:USDT"])
    adapter = Adapter(Feed(subscriptions))
    ask, connect = adapter.begin()
    listed = {"instId": "ETH-USDT-SWAP", "instType": "SWAP", "state": "live", "uly": "ETH-USDT", "settleCcy": "USDT"}
    body = json.dumps({"code": "0", "data": [{**listed, "ctVal": "0.1", "ctMult": "10"}]}).encode()

    assert isinstance(ask, Fetch) and isinstance(connect, Connect)
    assert adapter.answered(ask, body, 1) == []
    assert [trade.amount for trade in traded(adapter, "trades-all", "ETH-USDT-SWAP")] == [Decimal(3)]
    assert [type(action) for action in Adapter(Feed(subscriptions, [ETH])).begin()] == [Connect]


def traded(adapter: Adapter, channel: str, native: str) -> list[Trade]:
    """What the adapter makes of one trade of three contracts."""
    row = {"instId": native, "tradeId": "7", "px": "2", "sz": "3", "side": "buy", "ts": "1", "count": "2"}
    frame = json.dumps({"arg": {"channel": channel, "instId": native}, "data": [row]}).encode()
    return [item for item in adapter.digest([frame], 1) if isinstance(item, Trade)]


def test_a_replay_takes_the_aggregated_trades_too() -> None:
    """One row each under the last id; a live feed takes only what it asked for."""
    live = Adapter(Feed(subscribed(Channel.TRADES, symbols=["BTC/USDT"])))

    assert [trade.trade_id for trade in traded(Adapter(Feed()), "trades", "BTC-USDT")] == [7]
    assert traded(live, "trades", "BTC-USDT") == []
    assert len(traded(live, "trades-all", "BTC-USDT")) == 1


@pytest.mark.parametrize("code", ["50011", "50040"])
def test_haste_is_told_with_status_200(code: str) -> None:
    """It is a demand for silence, and no instrument list."""
    body = json.dumps({"code": code, "msg": "Too Many Requests", "data": []}).encode()

    with pytest.raises(RateLimited, match="Too Many Requests") as limited:
        Adapter(Feed()).answered(Fetch("/api/v5/market/trades?instId=BTC-USDT"), body, 1)
    assert limited.value.retry_after == 2
    with pytest.raises(WireError, match="Too Many Requests"):
        Adapter.instruments(Adapter.listing()[0], body)
