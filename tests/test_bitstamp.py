"""Bitstamp: what its transcript cannot say."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from trioagg.errors import RateLimited
from trioagg.exchanges import Ack, BookPlan, Feed, Fetch, Hole, Send, Subscription
from trioagg.exchanges.bitstamp import Adapter
from trioagg.model import Book, Candle, Channel, Delta, Level, OpenInterest, Quarantined, Quote, Ticker, Trade
from trioagg.simulator import Hangup
from trioagg.simulator.dialects.bitstamp import CHANNELS, BitstampSession, Dialect
from trioagg.simulator.market import Market

SECOND = 1_000_000_000
NOW = 1_772_445_660 * SECOND
EVERYTHING = tuple(sorted(Adapter.channels()))
PERPETUAL = b"""[{"name":"BTC/USD-PERP","market_symbol":"btcusd-perp","base_decimals":4,"counter_decimals":1,
"trading":"Enabled","market_type":"PERPETUAL","payoff_type":"Linear","contract_size":"0.00100000"}]"""


def feed(*symbols: str, channels: tuple[Channel, ...] = EVERYTHING) -> Feed:
    """A feed of some markets, spelled by rule."""
    return Feed([Subscription(symbol, channel, Adapter.native(symbol)) for symbol in symbols for channel in channels])


def ticker(market: str, **more: str) -> dict[str, str]:
    """One market's ticker as REST tells it."""
    figures = {"timestamp": "1772445600", "bid": "1", "ask": "2", "last": "1", "volume": "9"}
    return {**figures, "market": market, **more}


def trade(native: str, amount: str) -> bytes:
    """One trade as the stream tells it."""
    row = {"id": 1, "type": 0, "price_str": "2.5", "amount_str": amount, "microtimestamp": "1772445600123456"}
    return json.dumps({"event": "trade", "channel": f"live_trades_{native}", "data": row}).encode()


def book(native: str, bids: list[list[str]], asks: list[list[str]]) -> bytes:
    """The best levels as the stream tells them."""
    data = {"timestamp": "1772445600", "microtimestamp": "1772445600123456", "bids": bids, "asks": asks}
    return json.dumps({"event": "data", "channel": f"order_book_{native}", "data": data}).encode()


def level(price: str, amount: str) -> Level:
    """One level."""
    return Decimal(price), Decimal(amount)


def recorded(captures: Path) -> Iterator[tuple[int, bytes]]:
    """The recording's frames with their times."""
    with gzip.open(captures / "bitstamp-recording.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            yield entry["received"], entry["payload"].encode()


def read_otherwise(frame: dict[str, Any], received: int) -> Trade:
    """A recorded trade, read without the adapter."""
    data = frame["data"]
    pair = frame["channel"].rpartition("_")[2].upper()
    return Trade(
        "bitstamp",
        f"{pair[:-3]}/{pair[-3:]}",
        data["id"],
        Decimal(data["price_str"]),
        Decimal(data["amount_str"]),
        ("buy", "sell")[data["type"]],
        int(data["microtimestamp"]) * 1000,
        received,
    )


def test_a_recording_is_read_as_another_reader_reads_it(captures: Path) -> None:
    """Every trade equals an independent reading, every subscription is acknowledged, nothing is quarantined."""
    adapter = Adapter(Feed())
    frames = list(recorded(captures))

    out = [item for received, frame in frames for item in adapter.digest([frame], received)]

    parsed = [(received, json.loads(frame)) for received, frame in frames]
    expected = [read_otherwise(frame, received) for received, frame in parsed if frame["event"] == "trade"]
    assert expected
    assert [item for item in out if isinstance(item, Trade)] == expected
    heard = [frame["channel"] for _, frame in parsed if frame["event"] == "bts:subscription_succeeded"]
    assert [item.what for item in out if isinstance(item, Ack)] == heard
    assert not [item for item in out if isinstance(item, Quarantined)]


@pytest.mark.parametrize("code", ["400.002", "400.067", "400.068"])
def test_a_rate_limit_is_kept(code: str) -> None:
    """Each of the limits' codes closes REST."""
    with pytest.raises(RateLimited) as limited:
        Adapter(Feed()).answered(Fetch("/api/v2/ticker/"), json.dumps({"response_code": code}).encode(), NOW)

    assert limited.value.retry_after > 0


@pytest.mark.parametrize(
    ("symbol", "native"),
    [
        ("BTC/USD", "btcusd"),
        ("USDT/USD", "usdtusd"),
        ("BTC/USDT", "btcusdt"),
        ("XRP/RLUSD", "xrprlusd"),
        ("PERL/USD", "perlusd"),
        ("BTC/USD:USD", "btcusd-perp"),
    ],
)
def test_spelling_by_rule_goes_both_ways(symbol: str, native: str) -> None:
    """Without an instrument list, spot and perpetuals are still spelled right."""
    assert Adapter.native(symbol) == native
    assert Adapter.unified(native) == symbol


def test_contracts_become_base_amounts() -> None:
    """Amounts of a perpetual are multiplied by its contract size, exactly; those of spot keep every digit."""
    listed = Adapter.instruments(Adapter.listing()[0], PERPETUAL)
    adapter = Adapter(Feed(instruments=listed))

    perpetual, spot = adapter.digest([trade("btcusd-perp", "3.0000"), trade("btcusd", "3.0000")], NOW)
    answer = adapter.answered(
        Fetch("/api/v2/ticker/btcusd-perp/"), json.dumps(ticker("BTC/USD-PERP", open_interest="7")).encode(), NOW
    )

    assert isinstance(perpetual, Trade) and (perpetual.symbol, perpetual.amount) == ("BTC/USD:USD", Decimal("0.003"))
    assert isinstance(spot, Trade) and str(spot.amount) == "3.0000"
    assert [item.amount for item in answer if isinstance(item, OpenInterest)] == [Decimal("0.007")]


def test_contracts_in_a_book_become_base_amounts() -> None:
    """As those of trades, exactly, in the first book and in what changes after it."""
    adapter = Adapter(Feed(instruments=Adapter.instruments(Adapter.listing()[0], PERPETUAL)))
    frames = [
        book("btcusd-perp", [["1", "3.0000"]], [["2", "5"]]),
        book("btcusd-perp", [["1", "4.0000"]], [["2", "5"]]),
    ]

    quotes = [item for item in adapter.digest(frames, NOW) if isinstance(item, Quote)]

    assert [(item.symbol, item.bid_size, item.ask_size) for item in quotes] == [
        ("BTC/USD:USD", Decimal("0.003"), Decimal("0.005")),
        ("BTC/USD:USD", Decimal("0.004"), Decimal("0.005")),
    ]


def test_a_book_that_comes_whole_each_time_is_told_by_what_changed() -> None:
    """The levels that are others, that came and that went; the best levels once a period."""
    plan = BookPlan(period=60 * SECOND, kept=frozenset({"snapshots", "best", "deltas"}))
    adapter = Adapter(evolve(feed("BTC/USD", channels=(Channel.BOOK,)), book=plan))
    first = book("btcusd", [["3", "1"], ["2", "1"], ["1", "1"]], [["4", "1"]])
    second = book("btcusd", [["2.5", "7"], ["2", "9"], ["1", "1.00"]], [["4", "1"]])

    out = [adapter.digest([frame], NOW) for frame in (first, second)]

    assert [[type(item) for item in some] for some in out] == [[Delta, Quote, Book], [Delta, Quote]]
    (delta,) = [item for item in out[1] if isinstance(item, Delta)]
    assert not delta.whole and delta.asks == ()
    assert sorted(delta.bids) == [level("2", "9"), level("2.5", "7"), level("3", "0")]


@pytest.mark.parametrize(("length", "window"), [(1, "hour"), (2_999, "hour"), (3_000, "day"), (80_000, "day")])
def test_what_is_missing_is_asked_for_by_window(length: int, window: str) -> None:
    """The hour for what is short, with room for the time until it is asked; else the day."""
    hole = Hole("BTC/USD", "btcusd", None, None, NOW - length * SECOND, NOW)

    assert Adapter(Feed()).missing(hole).path == f"/api/v2/transactions/btcusd/?time={window}"


def test_many_tickers_come_in_one_request() -> None:
    """Beyond a few markets all are asked for at once, and only those that were asked for are taken."""
    few, many = feed("BTC/USD", "ETH/USD"), feed(*[f"A{number}/USD" for number in range(11)])

    assert [fetch.path for fetch in Adapter(few).polls() if "ticker" in fetch.path] == [
        "/api/v2/ticker/btcusd/",
        "/api/v2/ticker/ethusd/",
    ]
    (fetch,) = [fetch for fetch in Adapter(many).polls() if "ticker" in fetch.path]
    answer = json.dumps([ticker("A3/USD"), ticker("BTC/USD"), ticker("A5/USD")]).encode()
    taken = Adapter(many).answered(fetch, answer, NOW)
    assert [item.symbol for item in taken if isinstance(item, Ticker)] == ["A3/USD", "A5/USD"]
    assert len(Adapter(Feed()).answered(fetch, answer, NOW)) == 3


def test_a_late_poll_of_candles_misses_none() -> None:
    """The rows asked for cover the time between two polls."""
    slow = evolve(feed("BTC/USD", channels=(Channel.CANDLES,)), interval=600.0)

    assert [fetch.path for fetch in Adapter(slow).polls()] == ["/api/v2/ohlc/btcusd/?step=60&limit=13"]


@pytest.mark.parametrize(("late", "closed"), [(119, False), (120, True)])
def test_the_last_candle_of_a_page_is_closed_by_time(late: int, closed: bool) -> None:  # noqa: FBT001
    """A candle that nothing follows is running, unless a whole further one has passed: clocks may differ."""
    row = {"timestamp": "1772445540", "open": "1", "high": "1", "low": "1", "close": "1", "volume": "1"}
    page = json.dumps({"data": {"pair": "BTC/USD", "ohlc": [row]}}).encode()
    at = (1_772_445_540 + late) * SECOND

    (candle,) = Adapter(Feed()).answered(Fetch("/api/v2/ohlc/btcusd/?step=60&limit=1"), page, at)

    assert isinstance(candle, Candle) and candle.closed is closed


def test_connections_hold_what_a_stream_can_bring() -> None:
    """Connections stay within the limit, and no market without funding is subscribed to it."""
    symbols = [f"A{number}/USD" for number in range(600)]
    subscriptions = feed(*symbols, "BTC/USD:USD", channels=(Channel.TRADES, Channel.FUNDING)).subscriptions

    connections = Adapter.connections(subscriptions)

    assert [len(some) for some in connections] == [500, 102]
    sent = [
        json.loads(action.text)["data"]["channel"]
        for some in connections
        for action in Adapter(Feed(some)).opened()
        if isinstance(action, Send)
    ]
    assert sent == [
        *[f"live_trades_{Adapter.native(symbol)}" for symbol in symbols],
        "live_trades_btcusd-perp",
        "funding_rate_btcusd-perp",
    ]
    assert Adapter.connections(feed("BTC/USD", channels=(Channel.FUNDING,)).subscriptions) == []


def session() -> BitstampSession:
    """A connection to the built-in exchange."""
    found = Dialect(Market(symbols=["BTC/USD"], lists=Dialect.lists)).session("/")
    assert found is not None
    return found


def asked(connection: BitstampSession, channel: str, event: str = "bts:subscribe") -> list[Any]:
    """The replies to a request."""
    request = json.dumps({"event": event, "data": {"channel": channel}})
    return [json.loads(frame) for frame in connection.received(request, NOW)]


@pytest.mark.parametrize("channel", ["live_trades_nosuch", "order_book_nosuch", "funding_rate_btcusd"])
def test_the_built_in_exchange_acknowledges_what_is_not_there(channel: str) -> None:
    """And says nothing more, as the exchange does."""
    connection = session()

    assert asked(connection, channel) == [{"event": "bts:subscription_succeeded", "channel": channel, "data": {}}]
    assert connection.subscribed and connection.frames(NOW, NOW + 5 * SECOND) == []


@pytest.mark.parametrize("channel", ["live_trades_BTCUSD", "fog_btcusd", ""])
def test_the_built_in_exchange_refuses_what_is_no_channel(channel: str) -> None:
    """Capitals too."""
    (answer,) = asked(session(), channel)

    assert answer["event"] == "bts:error" and answer["data"]["code"] is None


def test_the_built_in_exchange_closes_at_one_channel_too_many_or_a_long_message() -> None:
    """Without a word, and with the code for what is too big."""
    connection = session()
    for number in range(CHANNELS):
        asked(connection, f"live_trades_a{number}")

    with pytest.raises(Hangup):
        asked(connection, "live_trades_btcusd")
    with pytest.raises(Hangup) as closed:
        asked(session(), "a" * 512)
    assert closed.value.code == 1009
