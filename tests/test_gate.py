"""Gate where its transcript cannot say it: its clock, limits, what a replay takes, its books' chain, spelling."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import BookPlan, Connect, Feed, Fetch, Hole, Missed, Send, Subscription
from trioagg.exchanges.gate import Adapter
from trioagg.model import Book, Candle, Channel, Quote, Ticker, Trade
from trioagg.simulator import Request
from trioagg.simulator.dialects.gate import Dialect
from trioagg.simulator.dialects.gate.streams import GateSession
from trioagg.simulator.market import Market

NOON = 1_772_452_800
SECOND = 1_000_000_000
ALL = tuple(Adapter.streamed)


def wanted(*symbols: str, channels: tuple[Channel, ...] = ALL) -> list[Subscription]:
    """Some channels of some markets."""
    return [Subscription(symbol, channel, Adapter.native(symbol)) for symbol in symbols for channel in channels]


def frame(channel: str, **result: object) -> bytes:
    """A message of the socket."""
    return json.dumps({"channel": channel, "event": "update", "time_ms": 1_500, "result": result}).encode()


def trade(pair: str, number: int, stamp: str = "1") -> bytes:
    """A trade of the socket."""
    some = {"amount": "1", "price": "2", "side": "buy", "create_time_ms": stamp}
    return frame("spot.trades", id=number + 900, id_market=number, currency_pair=pair, **some)


def depth(first: int, last: int, bid: str = "1", **more: object) -> bytes:
    """Changes of a book."""
    return frame("spot.order_book_update", t=1, s="BTC_USDT", U=first, u=last, b=[["100", bid]], a=[], **more)


def snapshot(number: int, levels: int = 1) -> bytes:
    """A book of REST."""
    sides = {"bids": [[str(99 - n), "1"] for n in range(levels)], "asks": [[str(101 + n), "1"] for n in range(levels)]}
    return json.dumps({"id": number, "current": 1, "update": 1, **sides}).encode()


BOOK = Fetch("/api/v4/spot/order_book?currency_pair=BTC_USDT&limit=100&with_id=true")


def test_subscriptions_bear_the_exchange_s_time() -> None:
    """It is asked for before the connection is made, and told in whole seconds."""
    adapter = Adapter(Feed(wanted("BTC/USDT")))

    (clock,) = adapter.begin()
    assert isinstance(clock, Fetch)
    (connect,) = adapter.answered(clock, b'{"server_time":1772445600999}', 5)
    sent = [json.loads(action.text) for action in adapter.opened() if isinstance(action, Send)]

    assert isinstance(connect, Connect)
    assert {request["time"] for request in sent} == {1772445600} and len(sent) == len(ALL)


def test_many_subscriptions_are_split() -> None:
    """A connection carries a hundred, one market to a request, so that all are sent while their time is still good."""
    parts = Adapter.connections(wanted(*(f"A{number}/USDT" for number in range(40))))
    sent = [json.loads(a.text) for part in parts for a in Adapter(Feed(part)).opened() if isinstance(a, Send)]

    assert [len(part) for part in parts] == [100, 60]
    assert len({(request["channel"], *request["payload"]) for request in sent}) == 160
    assert Adapter.limits.streams / Adapter.limits.sends < 30


def test_many_tickers_are_polled_together() -> None:
    """A crowd of markets is asked for with everybody's."""
    polls = list(Adapter(Feed(wanted(*(f"A{n}/USDT" for n in range(11)), channels=(Channel.TICKER,)))).polls())

    assert [fetch.path for fetch in polls] == ["/api/v4/spot/tickers"]


@pytest.mark.parametrize("label", ["TOO_MANY_REQUESTS", "TOO_FAST"])
def test_a_limit_told_inside_a_good_answer_is_kept(label: str) -> None:
    """Whatever the status, the exchange is left alone for the window of its limit."""
    body = json.dumps({"label": label, "message": "slow down"}).encode()
    with pytest.raises(RateLimited) as caught:
        Adapter(Feed()).answered(Fetch("/api/v4/spot/tickers"), body, 1)
    assert caught.value.retry_after == 10
    with pytest.raises(RateLimited):
        Adapter.instruments(Adapter.listing()[0], body)


def test_an_error_is_no_instrument_list() -> None:
    """Whatever comes in place of the list is told, and is no empty list."""
    with pytest.raises(WireError, match="SERVER_ERROR"):
        Adapter.instruments(Adapter.listing()[0], b'{"label":"SERVER_ERROR"}')


def test_a_replay_takes_every_market_and_the_stream_of_tickers() -> None:
    """Without subscriptions nothing is unwanted; the day's figures stand beside newer best bids and asks."""
    adapter = Adapter(Feed())
    day = {"last": "5", "lowest_ask": "6", "highest_bid": "4", "base_volume": "9"}
    quote = {"t": 2, "u": 1, "b": "4.1", "B": "1", "a": "5.9", "A": "2"}

    out = adapter.digest(
        [
            trade("BTC_USDT", 1),
            trade("SOL_USDT", 7),
            frame("spot.tickers", currency_pair="SOL_USDT", **day),
            frame("spot.book_ticker", s="SOL_USDT", **quote),
        ],
        1,
    )

    assert [(t.symbol, t.trade_id) for t in out if isinstance(t, Trade)] == [("BTC/USDT", 1), ("SOL/USDT", 7)]
    told = [(t.symbol, t.bid, t.ask, t.last, t.volume, t.timestamp) for t in out if isinstance(t, Ticker)]
    assert told == [
        ("SOL/USDT", Decimal(4), Decimal(6), Decimal(5), Decimal(9), 1_500_000_000),
        ("SOL/USDT", Decimal("4.1"), Decimal("5.9"), Decimal(5), Decimal(9), 2_000_000),
    ]


def test_stale_figures_are_left_out() -> None:
    """After five minutes without an answer of REST, nobody knows the day's volume."""
    adapter = Adapter(Feed())
    day = {"last": "5", "lowest_ask": "6", "highest_bid": "4", "base_volume": "9"}
    quote = frame("spot.book_ticker", s="SOL_USDT", t=2, u=1, b="4.1", B="1", a="5.9", A="2")
    adapter.digest([frame("spot.tickers", currency_pair="SOL_USDT", **day)], 1)

    (ticker,) = adapter.digest([quote], 301 * 1_000_000_000)

    assert isinstance(ticker, Ticker) and (ticker.last, ticker.volume) == (None, None)


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("1772445601213", 1772445601213000000),
        ("1772445601213.4578", 1772445601213457800),
        ("1772445601213.000001", 1772445601213000001),
        ("1772445601213.9999999", 1772445601213999999),
    ],
)
def test_times_are_exact_to_the_nanosecond(stamp: str, expected: int) -> None:
    """Each digit of the fraction counts, and none is rounded up."""
    (told,) = Adapter(Feed()).digest([trade("BTC_USDT", 1, stamp)], 1)

    assert isinstance(told, Trade) and told.timestamp == expected


def test_candles_of_two_markets_do_not_close_each_other() -> None:
    """Only a later one of the same market and interval ends a candle."""
    row = {"o": "1", "h": "1", "l": "1", "c": "1", "v": "1", "a": "1"}
    names = ["1m_BTC_USDT", "1m_ETH_USDT", "5m_BTC_USDT"]

    frames = [frame("spot.candlesticks", t=str(60 * number), n=name, **row) for number, name in enumerate(names)]

    out = Adapter(Feed()).digest(frames, 1)

    assert [item.closed for item in out if isinstance(item, Candle)] == [False] * 3


@pytest.mark.parametrize(
    ("number", "bids"), [(9, []), (10, [99, 100]), (15, [99, 100]), (19, [99, 100]), (20, [99]), (21, [99])]
)
def test_a_snapshot_joins_where_it_touches_what_waits(number: int, bids: list[int]) -> None:
    """The changes that follow it are those that hold the number after its own; it leaves out what it has."""
    adapter = Adapter(Feed())
    assert adapter.digest([depth(11, 20)], 1) == [BOOK]

    out = adapter.answered(BOOK, snapshot(number), 2)

    assert [item.bid for item in out if isinstance(item, Quote)] == bids


def test_a_break_costs_one_market_s_book_alone() -> None:
    """It is named, and asked for anew; a whole book from the stream mends it as well."""
    adapter = Adapter(Feed())
    adapter.digest([depth(11, 20)], 1)
    adapter.answered(BOOK, snapshot(20), 2)

    out = adapter.digest([depth(21, 25), depth(27, 30)], 3)
    assert [(item.first, item.last) for item in out if isinstance(item, Missed)] == [(26, 26)]
    assert [item for item in out if isinstance(item, Fetch)] == [BOOK]
    out = adapter.digest([depth(31, 31, full=True), depth(32, 33, bid="7")], 4)
    assert [item.bid_size for item in out if isinstance(item, Quote)] == [Decimal(1), Decimal(7)]
    assert adapter.answered(BOOK, snapshot(31), 5) == []


def test_a_book_is_no_deeper_than_its_changes_tell() -> None:
    """A level that falls out of the hundred best is not told: it is dropped."""
    adapter = Adapter(Feed(book=BookPlan(levels=1000)))
    adapter.digest([depth(11, 20)], 1)

    out = adapter.answered(BOOK, snapshot(10, levels=99), 2_000_000_000)
    out += adapter.digest([depth(n, n, bid=str(n)) for n in range(21, 23)], 3_000_000_000)
    (book,) = [item for item in out if isinstance(item, Book)][-1:]
    assert len(book.bids) == 100 and book.bids[0][0] == 100
    out = adapter.digest([depth(23, 23).replace(b'"100"', b'"100.5"')], 4_000_000_000)
    (book,) = [item for item in out if isinstance(item, Book)]
    assert (book.bids[0][0], len(book.bids)) == (Decimal("100.5"), 100)


def test_a_hole_is_asked_for_by_whole_seconds() -> None:
    """Those of the trades on both sides of it, since others share them."""
    fetch = Adapter(Feed()).missing(Hole("BTC/USDT", "BTC_USDT", 7, 9, since=1_999_999_999, until=3_000_000_001))

    assert fetch == Fetch("/api/v4/spot/trades?currency_pair=BTC_USDT&from=1&to=4&limit=1000")


@pytest.mark.parametrize(("symbol", "native"), [("BTC/USDT", "BTC_USDT"), ("BTC3L/USDT", "BTC3L_USDT")])
def test_spelling_by_rule(symbol: str, native: str) -> None:
    """Both spellings follow from each other."""
    assert (Adapter.native(symbol), Adapter.unified(native)) == (native, symbol)


@pytest.mark.parametrize("native", ["", "_", "USDT", "_USDT"])
def test_what_cannot_be_spelled_stays(native: str) -> None:
    """What is no pair keeps its own spelling."""
    assert Adapter.unified(native) == native


def spoken() -> tuple[Dialect, GateSession]:
    """The built-in exchange with one brisk market, and a connection to it."""
    dialect = Dialect(Market(symbols=["BTC/USDT"], rate=400, lists=Dialect.lists))
    session = dialect.session("/ws/v4/")
    assert session is not None
    return dialect, session


def asked(session: GateSession, channel: str, *payload: str, late: int = 0) -> dict[str, Any]:
    """The reply to a subscription whose time is so many seconds off."""
    call = {"time": NOON - late, "id": 3, "channel": channel, "event": "subscribe", "payload": payload}
    (reply,) = session.received(json.dumps(call), NOON * SECOND)
    told: dict[str, Any] = json.loads(reply)
    return told


@pytest.mark.parametrize(
    ("channel", "payload", "late", "message"),
    [
        ("spot.trades", ("GT_USD",), 0, "unknown currency pair: GT_USD"),
        ("spot.trades", ("BTC_USDT", "GT_USD"), 0, "unknown currency pair: GT_USD"),
        ("spot.trades", ("BTC_USDT",), 61, "invalid argument: time"),
        ("spot.candlesticks", ("BTC_USDT",), 0, "invalid argument: payload"),
        ("spot.order_book_update", ("BTC_USDT", "1000ms"), 0, "invalid interval: 1000ms"),
        ("spot.novelty", ("BTC_USDT",), 0, "unknown channel: spot.novelty"),
    ],
)
def test_the_built_in_exchange_refuses(channel: str, payload: tuple[str, ...], late: int, message: str) -> None:
    """With a code and a reason; then nothing of the request is subscribed to."""
    _, session = spoken()
    reply = asked(session, channel, *payload, late=late)

    assert reply["error"] == {"code": 2, "message": message} and reply["result"] == {"status": "fail"}
    assert reply["id"] == 3 and not session.subscribed


@pytest.mark.parametrize(
    ("channel", "payload"), [("spot.order_book_update", ("BTC_USDT", "20ms")), ("spot.obu", ("ob.BTC_USDT.50",))]
)
def test_the_built_in_exchange_counts_its_changes(channel: str, payload: tuple[str, ...]) -> None:
    """Each begins after the one before; the newer channel begins with a whole book, and is subscribed to once."""
    _, session = spoken()
    assert asked(session, channel, *payload)["result"] == {"status": "success"}
    frames = [json.loads(frame)["result"] for frame in session.frames(NOON * SECOND, (NOON + 2) * SECOND)]

    assert len(frames) > 20 and all(one["u"] + 1 == other["U"] for one, other in pairwise(frames))
    assert [frame.get("full", False) for frame in frames[:2]] == [channel == "spot.obu", False]
    assert ("error" in asked(session, channel, *payload)) is (channel == "spot.obu")


def test_the_built_in_exchange_is_silent_about_unknown_books() -> None:
    """The newer channel accepts what it does not have."""
    _, session = spoken()

    assert asked(session, "spot.obu", "ob.XX_YY.50")["result"] == {"status": "success"}
    assert session.frames(NOON * SECOND, (NOON + 2) * SECOND) == []


@pytest.mark.parametrize(
    ("path", "query", "label"),
    [
        ("trades", {"currency_pair": "XX_YY"}, "INVALID_CURRENCY_PAIR"),
        ("trades", {"currency_pair": "BTC_USDT", "limit": "1001"}, "TOO_BIG"),
        ("trades", {"currency_pair": "BTC_USDT", "limit": "1000", "page": "101"}, "INVALID_PARAM_VALUE"),
        ("candlesticks", {"currency_pair": "BTC_USDT", "limit": "5", "from": "1"}, "INVALID_PARAM_VALUE"),
        ("order_book", {}, "MISSING_REQUIRED_PARAM"),
    ],
)
def test_the_built_in_exchange_labels_its_errors(path: str, query: dict[str, str], label: str) -> None:
    """With a status of its own, and the adapter understands them as errors."""
    dialect, _ = spoken()
    answer = dialect.answer(Request("GET", f"/api/v4/spot/{path}", query), NOON * SECOND)

    assert answer.status == 400 and json.loads(answer.body)["label"] == label
    with pytest.raises(WireError):
        Adapter.instruments(Adapter.listing()[0], answer.body)


def test_the_built_in_exchange_tells_trades_newest_first() -> None:
    """By whole seconds, both inclusive; the pages of it are all of it, each once."""
    dialect, _ = spoken()

    def page(number: int) -> list[int]:
        query = {"currency_pair": "BTC_USDT", "from": str(NOON - 3), "to": str(NOON - 2), "limit": "150"}
        request = Request("GET", "/api/v4/spot/trades", {**query, "page": str(number)})
        return [int(row["sequence_id"]) for row in json.loads(dialect.answer(request, NOON * SECOND).body)]

    told = [*page(1), *page(2), *page(3)]
    first, end = (dialect.source.before("BTC/USDT", at * SECOND) for at in (NOON - 3, NOON - 1))
    assert told == list(range(first, end))[::-1] and len(told) > 300 and page(4) == []
