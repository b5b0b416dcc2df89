"""Gemini: what its transcript cannot say."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from trioagg.errors import RateLimited
from trioagg.exchanges import Board, Connect, Feed, Fetch, Hole, Missed, Send, Subscription
from trioagg.exchanges.gemini import Adapter
from trioagg.model import Book, Candle, Channel, Funding, Instrument, Ticker, Trade
from trioagg.simulator import Request
from trioagg.simulator.dialects.gemini import Dialect
from trioagg.simulator.market import Market

SECOND = 1_000_000_000
NOON = 1_772_452_800 * SECOND
ALL = tuple(Adapter.channels())


def feed(*symbols: str, channels: tuple[Channel, ...] = ALL, interval: float = 5.0, candle: str = "1m") -> Feed:
    subscriptions = [
        Subscription(symbol, channel, Adapter.native(symbol)) for symbol in symbols for channel in channels
    ]
    return Feed(subscriptions, interval=interval, candle=candle)


@pytest.mark.parametrize(
    ("native", "symbol"),
    [
        ("btcusd", "BTC/USD"),
        ("btcusdt", "BTC/USDT"),
        ("usdtusd", "USDT/USD"),
        ("btcgusd", "BTC/GUSD"),
        ("gusdusd", "GUSD/USD"),
        ("paxgusd", "PAXG/USD"),
        ("moodengusd", "MOODENG/USD"),
        ("2zrlusd", "2Z/RLUSD"),
        ("rlusdusd", "RLUSD/USD"),
        ("ethbtc", "ETH/BTC"),
        ("efilfil", "EFIL/FIL"),
        ("btcgusdperp", "BTC/GUSD:GUSD"),
        ("btcusdcperp", "BTC/USDC:USDC"),
        ("hypegusdperp", "HYPE/GUSD:GUSD"),
    ],
)
def test_symbols_are_spelled_both_ways_without_a_list(native: str, symbol: str) -> None:
    """Though a native symbol has no separator, and the assets are of any length."""
    assert Adapter.unified(native) == Adapter.unified(native.upper()) == symbol
    assert Adapter.native(symbol) == native


@pytest.mark.parametrize("native", ["", "perp", "usd", "nosuch", "é"])
def test_what_is_no_pair_stays_as_it_is(native: str) -> None:
    """Rather than being cut somewhere."""
    assert Adapter.unified(native) == native


def test_the_list_goes_before_the_rule() -> None:
    """A market whose spelling misleads is named as the exchange's list names it."""
    listed = Instrument("gemini", "DO/GUSD", "dogusd", "DO", "GUSD", None, None, Decimal(1), "DO", "trading")
    adapter = Adapter(Feed(instruments=[listed]))
    frame = b'{"E":1772446530123456789,"s":"dogusd","t":1,"p":"1","q":"1","m":false}'
    old = b'{"type":"trade","symbol":"DOGUSD","event_id":1,"timestamp":9,"price":"1","quantity":"1","side":"buy"}'

    assert [item.symbol for item in adapter.digest([frame, old], 0) if isinstance(item, Trade)] == [
        "DO/GUSD",
        "DO/GUSD",
    ]


def test_all_polls_together_are_one_a_second() -> None:
    """As the exchange recommends, however many symbols there are; few are polled as often as the user asks."""
    spot = Adapter(feed("BTC/USD", channels=(Channel.TICKER,)))
    many = Adapter(feed(*(f"C{number}/USD" for number in range(40)), channels=(Channel.TICKER, Channel.CANDLES)))

    assert [fetch.every for fetch in spot.polls()] == [5]
    assert sum(1 / fetch.every for fetch in many.polls() if fetch.every) == pytest.approx(1)


@pytest.mark.parametrize(
    ("candle", "paths"),
    [
        ("1m", ["/v2/candles/btcusd/1m", "/v2/derivatives/candles/btcgusdperp/1m"]),
        ("1h", ["/v2/candles/btcusd/1hr"]),
        ("1d", ["/v2/candles/btcusd/1day"]),
        ("4h", []),
    ],
)
def test_only_the_candles_that_are_offered_are_polled(candle: str, paths: list[str]) -> None:
    """Perpetuals have candles of one minute alone."""
    adapter = Adapter(feed("BTC/USD", "BTC/GUSD:GUSD", channels=(Channel.CANDLES,), candle=candle))

    assert [fetch.path for fetch in adapter.polls()] == paths


def test_spot_markets_are_not_asked_for_what_perpetuals_have() -> None:
    """Neither funding nor open interest."""
    adapter = Adapter(feed("BTC/USD", channels=(Channel.FUNDING, Channel.OPEN_INTEREST)))

    assert [*adapter.opened(), *adapter.polls()] == []
    assert [action for action in adapter.begin() if isinstance(action, Connect)]


def test_a_name_that_is_refused_costs_one_symbol() -> None:
    """Each message names the streams of one symbol, and what is not documented has a message of its own."""
    requests = [json.loads(action.text) for action in Adapter(feed("BTC/USD", "BTC/GUSD:GUSD")).opened()
                if isinstance(action, Send)]  # fmt: skip

    assert len({request["id"] for request in requests}) == len(requests) == 3
    assert [{stream.partition("@")[0] for stream in request["params"]} for request in requests].count({"btcusd"}) == 1
    assert ["btcgusdperp@fundingAmount"] in [request["params"] for request in requests]


def test_a_demand_for_silence_is_heard_in_spite_of_its_status() -> None:
    """It goes to the owner of the request, and not into quarantine."""
    body = b'{"result":"error","reason":"Too Many Requests","message":"Too Many Requests"}'

    with pytest.raises(RateLimited, match="Too Many Requests"):
        Adapter(Feed()).answered(Fetch("/v1/pubticker/btcusd"), body, 0)


def test_the_day_is_merged_across_adapters_until_it_is_stale() -> None:
    """The poller tells the stream's adapter by the board; five minutes later that is no news any more."""
    board: Board = {}
    poller, stream = Adapter(Feed(board=board)), Adapter(Feed(board=board))
    quote = b'{"u":1,"E":1772446530123456789,"s":"btcusd","b":"1","B":"1","a":"2","A":"1"}'
    body = b'{"bid":"1","ask":"2","last":"1.5","volume":{"BTC":"10","USD":"15","timestamp":1772446500000}}'

    poller.answered(Fetch("/v1/pubticker/btcusd"), body, 0)
    fresh, stale = stream.digest([quote], 299 * SECOND) + stream.digest([quote], 300 * SECOND)

    assert isinstance(fresh, Ticker) and (fresh.last, fresh.volume) == (Decimal("1.5"), Decimal(10))
    assert isinstance(stale, Ticker) and (stale.last, stale.volume) == (None, None)


def test_a_candle_is_closed_once_its_time_is_over() -> None:
    """By our clock; a poll after that tells it again, since it changed, and then no more."""
    adapter = Adapter(Feed())
    fetch, body = Fetch("/v2/candles/btcusd/5m"), b"[[1500000,1.0,2.0,0.5,1.75,10]]"

    told = [adapter.answered(fetch, body, second * SECOND) for second in (1799, 1799, 1800, 1801)]

    assert [[item.closed for item in items if isinstance(item, Candle)] for items in told] == [[False], [], [True], []]


def test_funding_is_the_amount_over_the_mark() -> None:
    """To 28 digits, where the rate that the exchange tells has one or two."""
    frame = (
        b'{"e":"fundingAmount","E":1,"s":"btcgusdperp","T":1772449200000000000,"f":"1","r":"0.01","p":"3","R":false}'
    )

    (funding,) = Adapter(Feed()).digest([frame], 0)

    assert isinstance(funding, Funding) and funding.rate == Decimal("0.3333333333333333333333333333")


def depth(first: int, last: int, *, bid: str = "3", amount: str = "1") -> bytes:
    """A message of the book of BTC/USD."""
    told = {"e": "depthUpdate", "E": 1772446530100000000 + last, "s": "btcusd", "U": first, "u": last}
    return json.dumps({**told, "b": [[bid, amount]], "a": []}).encode()


@pytest.mark.parametrize(("first", "whole"), [(9, True), (10, True), (11, True), (12, False), (20, False)])
def test_changes_follow_by_the_number_before_them(first: int, whole: bool) -> None:  # noqa: FBT001
    """``U`` may be the last ``u`` or one more, as the documentation says; beyond is a hole."""
    adapter = Adapter(feed("BTC/USD", channels=(Channel.BOOK,)))

    out = adapter.digest([depth(10, 10), depth(first, 30, bid="4")], 0)

    assert [item for item in out if isinstance(item, Missed)] == (
        [] if whole else [Missed("BTC/USD", Channel.BOOK, "changes of the order book are missing", 11, first - 1)]
    )
    assert len([item for item in out if isinstance(item, Send)]) == (0 if whole else 2)


def test_a_broken_book_waits_for_its_beginning_and_asks_again() -> None:
    """What came too early follows the new beginning; others go on meanwhile; five seconds without one are enough."""
    adapter = Adapter(feed("BTC/USD", channels=(Channel.BOOK,)))
    adapter.digest([depth(10, 10), depth(20, 30)], 0)

    assert adapter.digest([depth(30, 40, bid="5")], SECOND) == []
    assert [type(item) for item in adapter.digest([depth(40, 41)], 6 * SECOND)] == [Send, Send]
    out = adapter.digest([depth(35, 35, bid="2")], 7 * SECOND)
    assert [item.bids for item in out if isinstance(item, Book)] == [((Decimal(2), Decimal(1)),)]
    assert isinstance(late := adapter.digest([depth(41, 50, bid="6")], 8 * SECOND)[-1], Book)
    assert [price for price, _ in late.bids] == [6, 5, 3, 2]


def test_a_hole_is_asked_for_from_its_own_millisecond_on() -> None:
    """Whether the exchange includes the time that it is asked for or not."""
    hole = Hole("BTC/USD", "btcusd", None, None, 1772446530123456789, 1772446531000000000)

    assert Adapter(Feed()).missing(hole) == Fetch("/v1/trades/btcusd?timestamp=1772446530122&limit_trades=500")


def desk() -> Dialect:
    """The built-in Gemini."""
    return Dialect(Market(symbols=["BTC/USD", "BTC/GUSD:GUSD"], lists=Dialect.lists))


def say(target: str, **message: object) -> list[dict[str, Any]]:
    """What the built-in exchange replies to the first message of a connection."""
    session = desk().session(target)
    assert session is not None
    return [json.loads(frame) for frame in session.received(json.dumps(message), NOON)]


@pytest.mark.parametrize(
    ("target", "levels"), [("/?snapshot=-1", 101), ("/?snapshot=3", 3), ("/?snapshot=0", 0), ("/", 0)]
)
def test_a_book_begins_with_what_the_connection_asked_for(target: str, levels: int) -> None:
    """All of it, some levels or nothing; the answer comes after it."""
    *first, ack = say(target, id=7, method="subscribe", params=["btcusd@depth@100ms"])

    assert ack == {"id": 7, "status": 200}
    assert [len(frame["b"]) for frame in first] == ([levels] if levels else [])
    assert all(frame["U"] == frame["u"] for frame in first)


@pytest.mark.parametrize("bad", ["foo", "nosuch@trade", "btcusd@depth7", "btcusd@fundingAmount", "BTCUSD@trade"])
def test_one_bad_stream_refuses_the_whole_message(bad: str) -> None:
    """With its name; perpetuals alone have funding."""
    (refusal,) = say("/", id="4", method="subscribe", params=["btcusd@trade", bad])

    assert refusal == {"id": "4", "status": 400, "error": {"code": -1013, "msg": f"Invalid stream name: {bad}"}}


def test_requests_are_answered() -> None:
    """In whatever case their method is written; unknown ones are refused."""
    assert say("/", id="5", method="PING") == [{"id": "5", "status": 200}]
    assert say("/", id=6, method="time")[0]["result"] == {"serverTime": NOON // 1_000_000}
    assert say("/", id=6, method="list_subscriptions")[0]["result"] == []
    assert len(say("/", id=6, method="depth", params={"symbol": "btcusd", "limit": 2})[0]["result"]["bids"]) == 2
    assert [say("/", id=1, method=word)[0]["status"] for word in ("conninfo", "dance")] == [200, 400]


def test_pages_of_trades_lead_from_one_to_the_next() -> None:
    """The oldest after an id or a time, newest first; ids rise and leave holes."""
    exchange = desk()

    def page(**query: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(exchange.answer(Request("GET", "/v1/trades/btcusd", query), NOON).body)
        return rows

    newest = page(limit_trades="10")
    ids = [row["tid"] for row in reversed(newest)]
    assert ids == sorted(ids) and all(after - before > 1 for before, after in pairwise(ids))
    assert page(since_tid=str(ids[3]), limit_trades="2") == newest[4:6]
    assert page(timestamp=str(newest[2]["timestampms"])) == newest[:2]
    assert len(page(since_tid="0", limit_trades="1000")) == 500


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/v1/trades/nosuch", 400, "InvalidSymbol"),
        ("/v1/pubticker/BTCUSD", 200, ""),
        ("/v2/candles/btcusd/2m", 400, "InvalidTimeFrame"),
        ("/v1/fundingamount/btcusd", 404, ""),
        ("/v1/fundingamount/btcgusdperp", 200, ""),
    ],
)
def test_rest_refuses_with_a_reason(path: str, status: int, reason: str) -> None:
    """But for funding of what is no perpetual, where it says nothing at all."""
    answer = desk().answer(Request("GET", path), NOON)

    assert answer.status == status and reason in answer.body.decode()
    assert (answer.body == b"") == (status == 404)
