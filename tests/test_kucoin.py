"""KuCoin where its transcript cannot say it: the token, the order after it, and many subscriptions."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from trioagg.errors import RateLimited
from trioagg.exchanges import Connect, Feed, Fetch, Send, Subscription
from trioagg.exchanges.kucoin import Adapter
from trioagg.model import Candle, Channel, Ticker

TOKEN = Fetch("/api/v1/bullet-public", weight=10, body="")
SECOND = 1_000_000_000


def wanted(count: int, channel: Channel) -> list[Subscription]:
    """One channel of so many markets."""
    symbols = [f"A{number}/USDT" for number in range(count)]
    return [Subscription(symbol, channel, Adapter.native(symbol)) for symbol in symbols]


def granted(endpoint: str) -> bytes:
    """The answer that grants a token."""
    servers = [{"endpoint": endpoint, "pingInterval": 18000, "pingTimeout": 10000}]
    return json.dumps({"code": "200000", "data": {"token": "a+b/c==", "instanceServers": servers}}).encode()


def test_a_token_is_asked_for_first() -> None:
    """The first step is a POST with an empty body."""
    assert list(Adapter(Feed()).begin()) == [TOKEN]


@pytest.mark.parametrize(
    ("endpoint", "path", "host"),
    [
        ("wss://ws-api-spot.kucoin.com/", "/?", "wss://ws-api-spot.kucoin.com"),
        ("wss://push.kucoin.com/endpoint", "/endpoint?", "wss://push.kucoin.com"),
        ("ws://127.0.0.1:8080", "/?", "ws://127.0.0.1:8080"),
    ],
)
def test_the_token_tells_where_to_connect(endpoint: str, path: str, host: str) -> None:
    """Host and path are told apart, so that a user's own host can replace the named one; the token is escaped."""
    assert Adapter(Feed()).answered(TOKEN, granted(endpoint), 7) == [
        Connect(f"{path}token=a%2Bb%2Fc%3D%3D&connectId=7", host)
    ]


def test_nothing_is_sent_before_the_welcome() -> None:
    """Subscriptions wait for the exchange's welcome, and then all go out."""
    adapter = Adapter(Feed(wanted(3, Channel.TRADES)))

    assert list(adapter.opened()) == []
    sent = adapter.digest([b'{"id":"7","type":"welcome"}'], 1)

    assert [json.loads(item.text)["topic"] for item in sent if isinstance(item, Send)] == [
        "/market/match:A0-USDT,A1-USDT,A2-USDT"
    ]


def test_many_subscriptions_stay_within_the_limits() -> None:
    """A connection holds at most 100 topics, and one message names at most 100 symbols."""
    subscriptions = [*wanted(120, Channel.TRADES), *wanted(120, Channel.CANDLES)]

    parts = Adapter.connections(subscriptions)
    topics = [
        json.loads(item.text)["topic"].partition(":")[2].split(",")
        for part in parts
        for item in Adapter(Feed(part)).digest([b'{"type":"welcome"}'], 1)
        if isinstance(item, Send)
    ]

    assert [len(part) for part in parts] == [100, 100, 40]
    assert max(len(names) for names in topics) == 100
    assert sum(len(names) for names in topics) == 240


def test_too_many_requests_demand_silence() -> None:
    """The limit's code means silence, whatever the status it came with."""
    with pytest.raises(RateLimited) as caught:
        Adapter(Feed()).answered(TOKEN, b'{"code":"429000","msg":"Too many requests"}', 1)

    assert caught.value.retry_after == 30


def test_the_faster_quotes_are_understood() -> None:
    """A capture may hold the faster best bid and ask; a side without offers is empty."""
    adapter = Adapter(Feed())
    head = b'{"type":"message","topic":"/spotMarket/level1:BTC-USDT","subject":"level1","data":'
    both = head + b'{"asks":["121145.9","0.51"],"bids":["121145.8","1.29"],"timestamp":1772445600625}}'
    one = head + b'{"asks":[],"bids":["121145.8","1.29"],"timestamp":1772445600626}}'

    told = [item for item in adapter.digest([both, one], 1) if isinstance(item, Ticker)]

    assert [(t.bid, t.bid_size, t.ask, t.ask_size) for t in told] == [
        (Decimal("121145.8"), Decimal("1.29"), Decimal("121145.9"), Decimal("0.51")),
        (Decimal("121145.8"), Decimal("1.29"), None, None),
    ]


def test_candles_of_rest_are_closed_by_their_time() -> None:
    """A candle whose time is over is closed; they come newest first and leave oldest first."""
    fetch = Fetch("/api/v1/market/candles?symbol=BTC-USDT&type=1min")
    body = b'{"code":"200000","data":[["120","1","2","3","0.5","9","18"],["60","1","2","3","0.5","9","18"]]}'

    candles = [item for item in Adapter(Feed()).answered(fetch, body, 150 * SECOND) if isinstance(item, Candle)]

    assert [(c.open_time // SECOND, c.closed) for c in candles] == [(60, True), (120, False)]
    assert [(c.open, c.close, c.high, c.low) for c in candles[:1]] == [tuple(map(Decimal, ("1", "2", "3", "0.5")))]
