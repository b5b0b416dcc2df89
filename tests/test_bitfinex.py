"""Bitfinex where its transcript cannot say it: a recording, limits, many subscriptions, spelling, checksums."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trioagg.errors import RateLimited
from trioagg.exchanges import Ack, BookPlan, Feed, Fetch, Hole, Lost, Missed, Retire, Send, Subscription
from trioagg.exchanges._bitfinex import checksum, spelled
from trioagg.exchanges._books import PATIENCE
from trioagg.exchanges.bitfinex import EARLY, HELD, Adapter
from trioagg.model import Book, Channel, Level, Quote, Ticker, Trade
from trioagg.simulator import Hangup
from trioagg.simulator.dialects.bitfinex import Dialect
from trioagg.simulator.dialects.bitfinex.rows import js
from trioagg.simulator.dialects.bitfinex.stream import BitfinexSession
from trioagg.simulator.market import Market

SECOND = 1_000_000_000
NOON = 1_772_452_800 * SECOND

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
            assert all(isinstance(item, Trade | Ticker | Ack | Book | Quote) for item in out)
            found += [told(item) for item in out if isinstance(item, Trade | Ticker)]
            real += expected(channels, json.loads(line["payload"], parse_float=Decimal))

    assert sorted(map(repr, found)) == sorted(repr(decimals(row)) for row in real)
    assert sum(row[0] == "trade" for row in real) == 210 and len(real) > 210
    assert {row[1] for row in found} >= {"IOTA/ETH", "MANA/BTC", "TESTBTC/TESTUSD"}


def decimals(row: tuple[Any, ...]) -> tuple[Any, ...]:
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

    assert [len(some) for some in topics] == [25, 25, 25, 25, 25, 1]
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

    assert list(map(type, out)) == [Lost, Retire] * breaks


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


def levels(*pairs: str) -> list[Level]:
    """``"3:1"`` as price 3, amount 1."""
    return [(Decimal(price), Decimal(amount)) for price, amount in (pair.split(":") for pair in pairs)]


@pytest.mark.parametrize(
    ("bids", "asks", "found"),
    [
        (levels("6000:1", "5900:2"), levels("6100:3", "6200:4"), 1756193398),
        (levels("7001.5:0.25", "7001:3", "7000:0.0000001"), levels("7002:1.50", "7003.1:0.1"), -661317983),
        ([], [], 0),
    ],
)
def test_a_checksum_takes_turns(bids: list[Level], asks: list[Level], found: int) -> None:
    """Of a bid and an ask, as long as there are any; the documented algorithm's own results."""
    assert checksum(bids, asks) == found


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        ("64210.0", "64210"),
        ("6421E1", "64210"),
        ("-0.10", "-0.1"),
        ("0.000001", "0.000001"),
        ("0.00000123", "0.00000123"),
        ("9.9E-7", "9.9e-7"),
        ("0.00000010", "1e-7"),
        ("-2e-8", "-2e-8"),
        ("1.234e-10", "1.234e-10"),
    ],
)
def test_numbers_are_spelled_as_javascript_does(figure: str, text: str) -> None:
    """No zeros at the end, and an exponent below a millionth only."""
    assert spelled(Decimal(figure)) == text


@pytest.mark.parametrize(("depth", "length"), [(1, "25"), (25, "25"), (26, "100"), (1000, "250")])
def test_a_book_is_as_long_as_it_takes(depth: int, length: str) -> None:
    """The shortest that holds the levels that are wanted, and those of the checksum."""
    feed = Feed(wanted("BTC/USD", channels=(Channel.BOOK,)), book=BookPlan(levels=depth))

    (request,) = [action.text for action in Adapter(feed).opened() if isinstance(action, Send)][1:]

    assert json.loads(request)["len"] == length


def test_a_wrong_book_is_left_once_and_again_when_nothing_came_of_it() -> None:
    """It is told once that it is wrong; until the exchange says that the channel ended, it is asked to in its time."""
    adapter = Adapter(Feed())
    begun = b'{"event":"subscribed","channel":"book","chanId":7,"symbol":"tBTCUSD","prec":"P0"}'
    adapter.digest([begun, b"[7,[[2,1,1],[3,1,-1]]]", b'[7,"cs",0]'], 0)

    out = [item for at in (5, PATIENCE + 2, PATIENCE + 3) for item in adapter.digest([b'[7,"cs",0]'], at)]

    assert out == [Send('{"event":"unsubscribe","chanId":7}')]


def test_a_level_of_a_book_that_is_not_told_is_missed_by_the_checksum() -> None:
    """Where the count of the frames does not show it, the checksum does, and the other books stand."""
    adapter = Adapter(Feed())
    begun = b'{"event":"subscribed","channel":"book","chanId":%d,"symbol":"t%bUSD","prec":"P0"}'
    adapter.digest([begun % (7, b"BTC"), begun % (8, b"ETH"), b"[7,[[2,1,1],[3,1,-1]]]", b"[8,[[2,1,1],[3,1,-1]]]"], 0)
    good = checksum(levels("2:1"), levels("3:1"))

    out = adapter.digest([b'[7,"cs",%d]' % (good + 1), b'[8,"cs",%d]' % good, b"[8,[2,1,5]]"], 1)

    assert [item.symbol for item in out if isinstance(item, Missed)] == ["BTC/USD"]
    assert [item.bid_size for item in out if isinstance(item, Quote)] == [5]


def test_what_changed_together_is_told_together() -> None:
    """Where checksums come, a book is told when one ends the changes, and not at all when it fails."""
    adapter = Adapter(Feed())
    begun = b'{"event":"subscribed","channel":"book","chanId":7,"symbol":"tBTCUSD","prec":"P0"}'
    adapter.digest([b'{"event":"conf","status":"OK","flags":131072}', begun, b"[7,[[2,1,1],[4,1,-1]]]"], 0)
    good = checksum(levels("3:1"), levels("5:1"))

    assert adapter.digest([b"[7,[4,0,-1]]", b"[7,[3,1,1]]", b"[7,[5,1,-1]]", b"[7,[2,0,1]]"], 1) == []
    (quote,) = adapter.digest([b'[7,"cs",%d]' % good], 5)
    assert isinstance(quote, Quote) and (quote.bid, quote.ask) == (Decimal(3), Decimal(5))
    assert [type(item) for item in adapter.digest([b"[7,[4,1,1]]", b'[7,"cs",%d]' % good], 6)] == [Missed, Send]


def test_changes_without_their_checksum_do_not_pile_up() -> None:
    """So many are told without it."""
    adapter = Adapter(Feed())
    begun = b'{"event":"subscribed","channel":"book","chanId":7,"symbol":"tBTCUSD","prec":"P0"}'
    adapter.digest([b'{"event":"conf","status":"OK","flags":131072}', begun, b"[7,[[2,1,1],[4,1,-1]]]"], 0)

    out = [adapter.digest([b"[7,[3,1,%d]]" % number], number) for number in range(1, HELD + 1)]

    assert [len(some) for some in out] == [0] * (HELD - 1) + [1]


def test_what_is_missing_is_asked_for_with_both_ends() -> None:
    """By whole milliseconds, since trades share one."""
    hole = Hole("DOGE/USD", "tDOGE:USD", None, None, 1_772_445_600_123_000_000, 1_772_445_601_456_000_001)

    fetch = Adapter(Feed()).missing(hole)

    query = "start=1772445600123&end=1772445601457&sort=1&limit=10000"
    assert fetch.path == f"/v2/trades/tDOGE:USD/hist?{query}"


def session(*, rate: float = 0.0001) -> BitfinexSession:
    """A connection to the built-in exchange, where little happens."""
    market = Market(symbols=[f"A{number:02}/USD" for number in range(30)], rate=rate, lists=Dialect.lists)
    found = Dialect(market).session("/ws/2")
    assert found is not None
    return found


def asked(connection: BitfinexSession, **request: object) -> list[Any]:
    """The replies to a request."""
    return [json.loads(frame) for frame in connection.received(json.dumps(request), NOON)]


def test_the_built_in_exchange_counts_every_frame_of_data() -> None:
    """Snapshots and signs of life too, whatever channel they are of, but no answer; the time comes last."""
    connection = session()
    (conf,) = asked(connection, event="conf", flags=65536 + 32768)
    begun = [asked(connection, event="subscribe", channel="trades", symbol=f"tA0{n}USD")[1] for n in (0, 1)]
    greeting, *alive = [json.loads(frame) for frame in connection.frames(NOON, NOON + 15 * SECOND)]

    assert (conf["status"], greeting["event"]) == ("OK", "info")
    assert [frame[2:] for frame in begun] == [[1, NOON // 1_000_000], [2, NOON // 1_000_000]]
    assert [frame[1:3] for frame in alive] == [["hb", 3], ["hb", 4]]
    assert connection.frames(NOON + 15 * SECOND, NOON + 29 * SECOND) == []


@pytest.mark.parametrize(
    ("details", "code"),
    [
        ({"channel": "trades", "symbol": "tNOSUCH"}, 10300),
        ({"channel": "candles", "key": "trade:4h:tA00USD"}, 10300),
        ({"channel": "candles", "key": "trade"}, 10300),
        ({"channel": "status", "key": "deriv:tNOSUCH"}, 10300),
        ({"channel": "book", "symbol": "tA00USD", "len": "26"}, 10300),
        ({"channel": "fog", "symbol": "tA00USD"}, 10302),
        ({"channel": "trades", "symbol": "tA01USD"}, 10301),
        ({"channel": "trades", "symbol": "tA29USD"}, 10305),
    ],
)
def test_the_built_in_exchange_refuses_what_the_exchange_refuses(details: dict[str, str], code: int) -> None:
    """By its numbers: what is not there, what is there already, and one channel too many."""
    connection = session()
    for number in range(25):
        asked(connection, event="subscribe", channel="trades", symbol=f"tA{number:02}USD")

    (answer,) = asked(connection, event="subscribe", **details)

    assert (answer["event"], answer["code"]) == ("error", code)


def test_the_built_in_exchange_closes_what_is_not_used() -> None:
    """A minute after the last channel; one that ends and begins anew is no reason."""
    connection = session()
    connection.frames(NOON, NOON + 59 * SECOND)
    (ack, _) = asked(connection, event="subscribe", channel="trades", symbol="tA00USD")
    connection.frames(NOON + 59 * SECOND, NOON + 100 * SECOND)
    asked(connection, event="unsubscribe", chanId=ack["chanId"])
    connection.frames(NOON + 100 * SECOND, NOON + 160 * SECOND)

    with pytest.raises(Hangup):
        connection.frames(NOON + 160 * SECOND, NOON + 161 * SECOND)


@pytest.mark.parametrize(
    ("figure", "spelled"), [(0, b"0"), (-10_000_000, b"-0.1"), (100, b"0.000001"), (99, b"9.9e-7"), (-2, b"-2e-8")]
)
def test_the_built_in_exchange_writes_javascript_numbers(figure: int, spelled: bytes) -> None:
    """From units of 1e-8."""
    assert bytes(js(figure)) == spelled
