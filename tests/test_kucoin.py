"""KuCoin where its transcript cannot say it: the token, the order after it, and many subscriptions."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from trioagg.errors import RateLimited
from trioagg.exchanges import BookPlan, Connect, Feed, Fetch, Hole, Missed, Send, Subscription
from trioagg.exchanges.kucoin import Adapter
from trioagg.model import Candle, Channel, Quote, Ticker
from trioagg.simulator import Hangup, Request, load
from trioagg.simulator.market import Market

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


SNAPSHOT = Fetch("/api/v1/market/orderbook/level2_100?symbol=A0-USDT", weight=2)


def book_of(levels: int) -> Adapter:
    """An adapter that collects one book."""
    return Adapter(Feed(wanted(1, Channel.BOOK), book=BookPlan(levels=levels, period=1)))


def update(number: int, *bids: tuple[int, int]) -> bytes:
    """One change of the book's bids."""
    changes = {"asks": [], "bids": [[str(price), str(size), str(number)] for price, size in bids]}
    data = {"changes": changes, "sequenceStart": number, "sequenceEnd": number, "symbol": "A0-USDT", "time": 1}
    return json.dumps({"type": "message", "topic": "/market/level2:A0-USDT", "data": data}).encode()


def snapshot(number: int, best: int, count: int = 100) -> bytes:
    """An answer with so many bids from the best one down, and one ask."""
    bids = [[str(best - down), "1"] for down in range(count)]
    data = {"time": 1, "sequence": str(number), "bids": bids, "asks": [["5000", "1"]]}
    return json.dumps({"code": "200000", "data": data}).encode()


def test_a_worn_book_is_begun_anew_before_it_tells_anything_wrong() -> None:
    """When levels that are wanted lie beyond what the snapshot told, changes wait for another one; none is missed."""
    adapter = book_of(levels=3)
    adapter.digest([update(1, (999, 1))], 1)
    adapter.answered(SNAPSHOT, snapshot(1, 999), 2)

    gone = adapter.digest([update(2 + n, (999 - n, 0)) for n in range(97)], 3)
    worn = adapter.digest([update(99, (902, 0))], 200)
    stale = adapter.answered(SNAPSHOT, snapshot(98, 902), 201)
    waiting = adapter.digest([update(100, (903, 7))], 202)
    fresh = adapter.answered(SNAPSHOT, snapshot(99, 901), 203)

    assert not [item for item in (*gone, *worn, *fresh) if isinstance(item, Missed)]
    assert not [item for item in gone if isinstance(item, Fetch)]
    assert (worn, stale, waiting) == ([SNAPSHOT], [], [])
    assert [int(item.bid or 0) for item in fresh if isinstance(item, Quote)] == [901, 903]


def test_a_side_that_a_snapshot_does_not_fill_is_whole() -> None:
    """A quiet market's book may be as thin as it likes."""
    adapter = book_of(levels=20)
    adapter.digest([update(1, (999, 1))], 1)
    adapter.answered(SNAPSHOT, snapshot(1, 999, count=2), 2)

    out = adapter.digest([update(2, (999, 0)), update(3, (998, 0))], 3)

    assert out and not [item for item in out if isinstance(item, Fetch | Missed)]


def test_more_levels_than_a_snapshot_bears_do_not_ask_for_ever() -> None:
    """Of however many wanted levels, half of a snapshot's must be there."""
    adapter = book_of(levels=1000)
    adapter.digest([update(1, (999, 1))], 1)
    adapter.answered(SNAPSHOT, snapshot(1, 999), 2)

    out = adapter.digest([update(2 + n, (999 - n, 0)) for n in range(50)], 3)
    worn = adapter.digest([update(52, (949, 0))], 200)

    assert SNAPSHOT not in out and SNAPSHOT in worn


def test_what_is_missing_is_asked_for_by_market() -> None:
    """REST tells the last hundred trades, whatever is asked for."""
    assert Adapter(Feed()).missing(Hole("BTC/USDT", "BTC-USDT", None, None, 1, 2)) == Fetch(
        "/api/v1/market/histories?symbol=BTC-USDT", weight=3
    )


def test_the_time_is_told_in_milliseconds() -> None:
    """And understood to the nanosecond."""
    assert Adapter.time(b'{"code":"200000","data":1772445600123}') == 1_772_445_600_123_000_000


def test_the_built_in_exchange_names_itself_as_it_was_called() -> None:
    """Its token is good for one kind of connection only: one that brings it."""
    exchange = load("kucoin")(Market())
    answer = exchange.answer(Request("POST", TOKEN.path, headers={"host": "[::1]:8080"}), 1)
    (connect,) = Adapter(Feed()).answered(TOKEN, answer.body, 7)

    assert isinstance(connect, Connect) and connect.host == "ws://[::1]:8080"
    assert exchange.session(connect.path) is not None
    assert exchange.session("/?token=another") is None and exchange.session("/") is None
    assert exchange.answer(Request("GET", TOKEN.path), 1).status == 404


@pytest.mark.parametrize(("told", "every"), [(18_000, 15), (12_000, 10), (0, 1000 / 1200), (10**30, 500)])
def test_it_pings_a_little_more_often_than_it_is_told_to(told: int, every: float) -> None:
    """By the answer that grants the token, within reason."""
    adapter = Adapter(Feed())
    adapter.answered(TOKEN, granted("wss://x").replace(b"18000", str(told).encode()), 7)

    assert adapter.heartbeat is not None and adapter.heartbeat.every == pytest.approx(every)


def test_the_built_in_exchange_hangs_up_on_the_silent() -> None:
    """Pings keep a connection, as often as the token's answer says; nothing is heard before the welcome."""
    exchange = load("kucoin")(Market())
    adapter = Adapter(Feed())
    (connect,) = adapter.answered(TOKEN, exchange.answer(Request("POST", TOKEN.path), 1).body, 7)
    assert isinstance(connect, Connect)
    session = exchange.session(connect.path)
    assert session is not None and adapter.heartbeat is not None

    assert session.received(adapter.heartbeat.text, SECOND) == []
    assert session.frames(SECOND, 2 * SECOND) == [b'{"id":"7","type":"welcome"}']
    for at in (16, 31, 46):
        (pong,) = session.received(adapter.heartbeat.text, at * SECOND)
        assert json.loads(pong)["type"] == "pong" and session.frames(at * SECOND, (at + 15) * SECOND) == []
    with pytest.raises(Hangup):
        session.frames(74 * SECOND, 75 * SECOND)
