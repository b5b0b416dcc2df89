"""What the transcript of Crypto.com cannot say: how much goes on one connection, who asked for what, haste."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import Feed, Fetch, Send, Subscription
from trioagg.exchanges.cryptocom import Adapter
from trioagg.model import Channel, Event, Instrument, OpenInterest, Ticker, Trade

PERPETUAL = Instrument(
    exchange="cryptocom",
    symbol="BTC/USD:USD",
    native="BTCUSD-PERP",
    base="BTC",
    quote="USD",
    tick_size=None,
    amount_step=None,
    contract_size=Decimal("0.01"),
    amount_unit="BTC",
    status="trading",
)


def subscribed(*channels: Channel, symbol: str = "BTC/USD:USD") -> list[Subscription]:
    return [Subscription(symbol, channel, Adapter.native(symbol)) for channel in channels]


def channels(subscriptions: Sequence[Subscription]) -> list[list[str]]:
    """What each message that is sent asks for."""
    actions = Adapter(Feed(subscriptions)).opened()
    return [json.loads(action.text)["params"]["channels"] for action in actions if isinstance(action, Send)]


def pushed(adapter: Adapter, channel: str, row: dict[str, Any]) -> list[Event]:
    """What the adapter makes of one row of a perpetual."""
    result = {"channel": channel, "subscription": f"{channel}.BTCUSD-PERP", "data": [row]}
    frame = json.dumps({"id": -1, "method": "subscribe", "code": 0, "result": result}).encode()
    return [item for item in adapter.digest([frame], 1) if isinstance(item, Ticker | OpenInterest | Trade)]


@pytest.mark.parametrize(
    ("symbol", "native"),
    [
        ("BTC/USDT", "BTC_USDT"),
        ("BTC/USD:USD", "BTCUSD-PERP"),
        ("BTC/USD:USD-261225", "BTCUSD-261225"),
        ("ETH/USDT:USDT", "ETHUSDT-PERP"),
    ],
)
def test_symbols_are_spelled_by_rule_both_ways(symbol: str, native: str) -> None:
    """Without an instrument list, spot, perpetuals and futures keep apart."""
    assert Adapter.native(symbol) == native
    assert Adapter.unified(native) == symbol


def test_many_subscriptions_are_spread_over_messages_and_connections() -> None:
    """400 channels fit on a connection, 100 in a message, and each is asked for once."""
    many = [item for number in range(450) for item in subscribed(Channel.TRADES, symbol=f"C{number}/USDT")]
    parts = Adapter.connections(many)
    sent = [channels(part) for part in parts]

    assert [[len(names) for names in messages] for messages in sent] == [[100, 100, 100, 100], [50]]
    assert [name for messages in sent for names in messages for name in names] == [
        f"trade.C{number}_USDT" for number in range(450)
    ]


def test_spot_has_nothing_that_perpetuals_have() -> None:
    """Funding and open interest of a spot market are asked for by nobody."""
    assert Adapter.connections(subscribed(Channel.FUNDING, Channel.OPEN_INTEREST, symbol="BTC/USDT")) == []
    assert len(Adapter.connections(subscribed(Channel.FUNDING, Channel.OPEN_INTEREST))[0]) == 2


def test_the_ticker_channel_yields_what_was_asked_for() -> None:
    """The open interest, the ticker or both, from one subscription; a replay takes both."""
    row = {"i": "BTCUSD-PERP", "a": "2", "b": "1", "bs": "5", "k": "3", "ks": "7", "v": "9", "oi": "4", "t": 1}
    both = (Channel.TICKER, Channel.OPEN_INTEREST)

    def kinds(feed: Feed) -> list[type[Event]]:
        return [type(event) for event in pushed(Adapter(feed), "ticker", row)]

    assert kinds(Feed(subscribed(Channel.TICKER))) == [Ticker]
    assert kinds(Feed(subscribed(Channel.OPEN_INTEREST))) == [OpenInterest]
    assert kinds(Feed(subscribed(*both))) == kinds(Feed()) == [Ticker, OpenInterest]
    assert channels(subscribed(*both)) == [["ticker.BTCUSD-PERP"]]


def test_amounts_are_contracts_times_the_size_that_the_list_told() -> None:
    """Exactly, to the last digit."""
    row = {"i": "BTCUSD-PERP", "d": "1", "t": 1, "p": "64210.5", "q": "12345678901234567890123456789.1", "s": "BUY"}
    trades = pushed(Adapter(Feed(instruments=[PERPETUAL])), "trade", row)

    assert [str(trade.amount) for trade in trades if isinstance(trade, Trade)] == ["123456789012345678901234567.891"]


def test_haste_is_told_with_status_200() -> None:
    """It is a demand for silence, and no instrument list."""
    body = b'{"id":-1,"method":"public/get-trades","code":42901,"message":"Too many requests"}'

    with pytest.raises(RateLimited, match="Too many requests") as limited:
        Adapter(Feed()).answered(Fetch("/exchange/v1/public/get-trades?instrument_name=BTC_USDT"), body, 1)
    assert limited.value.retry_after == 1
    with pytest.raises(WireError, match="Too many requests"):
        Adapter.instruments(Adapter.listing()[0], body)
