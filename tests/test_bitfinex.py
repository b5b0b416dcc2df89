"""Bitfinex where its transcript cannot say it: a recording, limits, many subscriptions, spelling."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trioagg.errors import RateLimited
from trioagg.exchanges import Ack, Feed, Fetch, Retire, Send, Subscription
from trioagg.exchanges.bitfinex import EARLY, Adapter
from trioagg.model import Channel, Ticker, Trade

ALL = tuple(Adapter.streamed)
SUBSCRIBED = b'{"event":"subscribed","channel":"trades","chanId":1,"symbol":"tBTCUSD","pair":"BTCUSD"}'


def wanted(*symbols: str, channels: tuple[Channel, ...] = ALL) -> list[Subscription]:
    """Some channels of some markets."""
    return [Subscription(symbol, channel, Adapter.native(symbol)) for symbol in symbols for channel in channels]


def expected(channels: dict[int, tuple[str, str]], message: Any) -> list[tuple[Any, ...]]:
    """What a recorded frame holds, read without the adapter."""
    if isinstance(message, dict):
        if message["event"] == "subscribed":
            channels[message["chanId"]] = message["channel"], Adapter.unified(message["symbol"])
        return []
    data = message[1]
    if data == "hb":  # one may come before its channel's answer
        return []
    kind, symbol = channels[message[0]]
    if kind == "ticker":
        return [("ticker", symbol, data[0], data[2], data[6], data[7])]
    if kind == "trades":
        return [
            ("trade", symbol, number, abs(price), abs(amount), "sell" if amount < 0 else "buy", ms * 1_000_000)
            for number, ms, amount, price in data
        ]
    return []


def told(item: Trade | Ticker) -> tuple[Any, ...]:
    """An event as ``expected`` writes it."""
    if isinstance(item, Trade):
        return ("trade", item.symbol, item.trade_id, item.price, item.amount, item.side, item.timestamp)
    assert item.bid_size is None and item.ask_size is None
    return ("ticker", item.symbol, item.bid, item.ask, item.last, item.volume)


def test_a_recording_is_read_digit_for_digit(captures: Path) -> None:
    """Each recorded trade and ticker is there with every digit, and nothing is quarantined."""
    adapter, found, real = Adapter(Feed()), [], []
    channels: dict[int, tuple[str, str]] = {}
    with gzip.open(captures / "bitfinex-recording.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            out = adapter.digest([line["payload"].encode()], line["received"])
            assert all(isinstance(item, Trade | Ticker | Ack) for item in out)
            found += [told(item) for item in out if isinstance(item, Trade | Ticker)]
            real += expected(channels, json.loads(line["payload"], parse_float=Decimal))

    assert sorted(map(repr, found)) == sorted(repr(spelled(row)) for row in real)
    assert sum(row[0] == "trade" for row in real) == 210 and len(real) > 210
    assert {row[1] for row in found} >= {"IOTA/ETH", "MANA/BTC", "TESTBTC/TESTUSD"}


def spelled(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Whole numbers come without a point: they are decimals too."""
    numbers = (3, 4) if row[0] == "trade" else (2, 3, 4, 5)
    return tuple(Decimal(value) if place in numbers else value for place, value in enumerate(row))


@pytest.mark.parametrize(
    "body", [b'{"error":"ERR_RATE_LIMIT"}', b'["error",11010,"ratelimit: error"]', b' [ "error", 11010, "ratelimit" ]']
)
def test_a_limit_told_inside_a_good_answer_is_kept(body: bytes) -> None:
    """An address that asked too often is silent for the minute that it is shut out."""
    with pytest.raises(RateLimited) as caught:
        Adapter(Feed()).answered(Fetch("/v2/tickers?symbols=ALL"), body, 1)
    assert caught.value.retry_after == 60
    with pytest.raises(RateLimited):
        Adapter.instruments(Adapter.listing()[0], body)


def test_many_subscriptions_are_split() -> None:
    """No connection carries more than 25 topics, what shares a topic lies together, and nothing is left out."""
    symbols = ["BTC/USDT:USDT", *(f"A{number:02}/USD" for number in range(30))]

    parts = Adapter.connections(wanted(*symbols))
    topics = [[a.text for a in Adapter(Feed(part)).opened() if isinstance(a, Send)][1:] for part in parts]

    assert [len(some) for some in topics] == [25, 25, 25, 20]
    together = [text for some in topics for text in some]
    assert len(set(together)) == len(together)
    assert sum("deriv:tBTCF0:USTF0" in text for text in together) == sum("liq:global" in text for text in together) == 1


def test_what_a_spot_market_lacks_is_not_asked_for() -> None:
    """Funding and open interest of a spot market open no connection, which would be silent for ever."""
    assert Adapter.connections(wanted("BTC/USD", channels=(Channel.FUNDING, Channel.OPEN_INTEREST))) == []


def test_many_tickers_are_polled_together() -> None:
    """A crowd of markets is asked for with everybody's."""
    polls = list(Adapter(Feed(wanted(*(f"A{n:02}/USD" for n in range(51)), channels=(Channel.TICKER,)))).polls())

    assert [fetch.path for fetch in polls] == ["/v2/tickers?symbols=ALL"]


def test_both_tellings_of_a_trade_count_once() -> None:
    """Whichever comes first, and whether or not the other comes."""
    adapter = Adapter(Feed())
    frames = [b'[1,"%s",[%d,1,1,5]]' % (kind, number) for number in (7, 8) for kind in (b"te", b"tu")]

    out = adapter.digest([SUBSCRIBED, *frames, b'[1,"tu",[9,1,1,5]]', b'[1,"te",[10,1,1,5]]'], 1)

    assert [item.trade_id for item in out if isinstance(item, Trade)] == [7, 8, 9, 10]


def test_trades_that_are_never_confirmed_do_not_pile_up() -> None:
    """What is remembered of them is bounded."""
    adapter = Adapter(Feed())
    early = [b'[1,"te",[%d,1,1,5]]' % number for number in range(EARLY + 1)]

    adapter.digest([SUBSCRIBED, *early], 1)
    out = adapter.digest([b'[1,"tu",[0,1,1,5]]', b'[1,"tu",[1,1,1,5]]'], 1)

    assert [item.trade_id for item in out if isinstance(item, Trade)] == [0]


@pytest.mark.parametrize(
    ("numbers", "breaks"), [((1, 2, 3), 0), ((1, 3), 1), ((1, 1), 1), ((5, 6, 9, 10), 1), ((1, None, 7), 0)]
)
def test_only_a_jump_of_the_count_replaces_the_connection(numbers: tuple[int | None, ...], breaks: int) -> None:
    """Frames that are not numbered prove nothing and break nothing."""
    frames = [b'[1,"hb",%d]' % number if number else b'[1,"hb"]' for number in numbers]

    out = Adapter(Feed()).digest(frames, 1)

    assert sum(isinstance(item, Retire) for item in out) == breaks == len(out)


@pytest.mark.parametrize(
    ("symbol", "native"),
    [
        ("BTC/USD", "tBTCUSD"),
        ("BTC/USDT", "tBTCUST"),
        ("USDT/USD", "tUSTUSD"),
        ("DOGE/USD", "tDOGE:USD"),
        ("DASH/BTC", "tDSHBTC"),
        ("LUNA/USDT", "tLUNA2:UST"),
        ("BTC/USDT:USDT", "tBTCF0:USTF0"),
        ("ETH/BTC:BTC", "tETHF0:BTCF0"),
    ],
)
def test_spelling_by_rule(symbol: str, native: str) -> None:
    """Without a list, both spellings follow from each other."""
    assert (Adapter.native(symbol), Adapter.unified(native)) == (native, symbol)


@pytest.mark.parametrize("native", ["", "t", "tBTC", "fUSD", "tBTCUSDX", "tBTC:"])
def test_what_cannot_be_spelled_stays(native: str) -> None:
    """What is no pair keeps its own spelling."""
    assert Adapter.unified(native) == native
