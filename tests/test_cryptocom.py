"""What the transcript of Crypto.com cannot say: how much goes on one connection, who asked for what, haste, paging.

And the built-in exchange's side of it: heartbeats, refusals, numbers of books.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import BookPlan, Feed, Fetch, Hole, Missed, Output, Send, Subscription
from trioagg.exchanges.cryptocom import Adapter
from trioagg.model import Book, Channel, Event, Instrument, OpenInterest, Quote, Ticker, Trade
from trioagg.simulator import Hangup, Request, Session
from trioagg.simulator.dialects.cryptocom import Dialect
from trioagg.simulator.market import Market

NOON = 1_772_452_800_000_000_000
SECOND = 1_000_000_000
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


def book(kind: str, number: int, after: int = 0, *, native: str = "BTCUSD-PERP", bid: str = "1") -> bytes:
    """A message of a book with what stands at the bid of 9 and the ask of 11."""
    sides = {"bids": [["9", bid, "1"]], "asks": [["11", "7", "2"]]}
    row = {**sides, "u": number} if kind == "book" else {"update": sides, "u": number, "pu": after}
    named = {"instrument_name": native, "subscription": f"book.{native}.50", "channel": kind, "depth": 50}
    return json.dumps({"code": 0, "result": {**named, "data": [{**row, "t": 5, "tt": 4, "cs": 1}]}}).encode()


def bids(out: Sequence[Output]) -> list[Decimal | None]:
    """What is told of the best bid's size."""
    return [item.bid_size for item in out if isinstance(item, Quote)]


def test_books_count_contracts_too() -> None:
    """Levels are in the base currency, exactly."""
    adapter = Adapter(Feed(instruments=[PERPETUAL]))
    out = adapter.digest([book("book", 1, bid="12345678901234567890123456789.1")], 1)

    assert [str(item.bids[0][1]) for item in out if isinstance(item, Book)] == ["123456789012345678901234567.891"]
    assert bids(adapter.digest([book("book.update", 2, 1, bid="3")], 1)) == [Decimal("0.03")]


@pytest.mark.parametrize(("levels", "depth"), [(1, 10), (10, 10), (11, 50), (400, 50)])
def test_a_book_is_as_deep_as_it_takes(levels: int, depth: int) -> None:
    """There are two depths that tell what changes; only a request that names a book asks for changes."""
    wanted = Subscription("BTC/USDT", Channel.BOOK, "BTC_USDT")
    (sent,) = Adapter(Feed([wanted], book=BookPlan(levels=levels))).opened()
    assert isinstance(sent, Send)
    params = json.loads(sent.text)["params"]
    assert params["channels"] == [f"book.BTC_USDT.{depth}"]
    assert params["book_subscription_type"] == "SNAPSHOT_AND_UPDATE"

    (plain,) = Adapter(Feed(subscribed(Channel.TRADES))).opened()
    assert isinstance(plain, Send) and json.loads(plain.text)["params"].keys() == {"channels"}


@pytest.mark.parametrize("after", [0, 4, 6, 9])
def test_a_change_that_follows_another_begins_its_channel_anew(after: int) -> None:
    """Whatever its own number; it asks once, under numbers of their own, and the other books go on."""
    adapter = Adapter(Feed([*subscribed(Channel.BOOK), *subscribed(Channel.BOOK, symbol="BTC/USDT")]))
    list(adapter.opened())
    adapter.digest([book("book", 5), book("book", 5, native="BTC_USDT")], 1)

    out = adapter.digest([book("book.update", 10, after), book("book.update", 11, 10)], 1)
    other = adapter.digest([book("book.update", 9, 5, native="BTC_USDT", bid="2")], 1)

    assert [type(item) for item in out] == [Missed, Send, Send] and bids(other) == [Decimal(2)]
    asked = [json.loads(item.text) for item in out if isinstance(item, Send)]
    assert [(call["id"], call["method"]) for call in asked] == [(2, "unsubscribe"), (3, "subscribe")]
    assert all(call["params"]["channels"] == ["book.BTCUSD-PERP.50"] for call in asked)


def test_an_idle_book_stays_at_its_number() -> None:
    """A message that changes nothing names the number of the one before it as its own."""
    adapter = Adapter(Feed())
    out = adapter.digest([book("book", 5), book("book.update", 5, 5), book("book.update", 8, 5, bid="2")], 1)
    assert bids(out) == [Decimal(1), Decimal(2)]


def test_missing_trades_are_asked_for_by_their_times() -> None:
    """Those that share the first or the last time too, and no longer a time than the exchange allows."""
    day = 86_400_000_000_000
    path = "/exchange/v1/public/get-trades?instrument_name=BTC_USDT&count=150&"
    short = Adapter(Feed()).missing(Hole("BTC/USDT", "BTC_USDT", None, None, 20 * day, 20 * day + 5))
    long = Adapter(Feed()).missing(Hole("BTC/USDT", "BTC_USDT", None, None, 5 * day, 20 * day))

    assert short.path == f"{path}start_ts={20 * day}&end_ts={20 * day + 1_000_005}"
    assert long.path == f"{path}start_ts={13 * day + 1_000_000}&end_ts={20 * day + 1_000_000}"


def test_haste_is_told_with_status_200() -> None:
    """It is a demand for silence, and no instrument list."""
    body = b'{"id":-1,"method":"public/get-trades","code":42901,"message":"Too many requests"}'

    with pytest.raises(RateLimited, match="Too many requests") as limited:
        Adapter(Feed()).answered(Fetch("/exchange/v1/public/get-trades?instrument_name=BTC_USDT"), body, 1)
    assert limited.value.retry_after == 1
    with pytest.raises(WireError, match="Too many requests"):
        Adapter.instruments(Adapter.listing()[0], body)


def far_end() -> Dialect:
    """The built-in exchange."""
    return Dialect(Market(symbols=["BTC/USDT", "BTC/USD:USD"], rate=100, lists=Dialect.lists))


def connected() -> Session:
    """A connection to it."""
    session = far_end().session("/exchange/v1/market")
    assert session is not None
    return session


def said(session: Session, method: str, *names: str, **params: object) -> list[dict[str, Any]]:
    """The replies to a request."""
    call = {"id": 7, "method": method, "params": {"channels": names, **params}}
    return [json.loads(frame) for frame in session.received(json.dumps(call), NOON)]


def test_a_client_that_leaves_heartbeats_unanswered_is_hung_up_on() -> None:
    """At the third one; an answer under another number is none."""
    session = connected()
    beats = [frame for at in (30, 60, 90) for frame in session.frames(NOON + (at - 30) * SECOND, NOON + at * SECOND)]
    session.received('{"id":1,"method":"public/respond-heartbeat"}', NOON)
    assert [json.loads(frame)["method"] for frame in beats] == ["public/heartbeat"] * 2
    with pytest.raises(Hangup):
        session.frames(NOON + 90 * SECOND, NOON + 120 * SECOND)


def test_our_answer_settles_a_heartbeat() -> None:
    """Adapter and built-in exchange agree on it."""
    session, adapter = connected(), Adapter(Feed())
    answers = 0
    for at in range(NOON, NOON + 300 * SECOND, 10 * SECOND):
        for action in adapter.digest(session.frames(at, at + 10 * SECOND), at):
            assert isinstance(action, Send)
            session.received(action.text, at)
            answers += 1
    assert answers == 9


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("trade.NOPE", 40003),
        ("weather.BTC_USDT", 40003),
        ("funding.BTC_USDT", 40003),
        ("candlestick.3m.BTC_USDT", 40003),
        ("book.BTC_USDT.20", 40003),
        ("book.BTC_USDT.150", 40003),
        ("book.BTC_USDT.10", 0),
    ],
)
def test_a_bad_channel_is_refused_alone(name: str, code: int) -> None:
    """By its name; the others of the request are subscribed to."""
    replies = said(connected(), "subscribe", name, "mark.BTCUSD-PERP", book_subscription_type="SNAPSHOT_AND_UPDATE")
    assert (replies[0]["code"], replies[0]["channel"]) == (code, name)
    assert replies[-1]["id"] == 7 and replies[-1]["result"]["subscription"] == "mark.BTCUSD-PERP"


def test_more_channels_than_fit_are_refused() -> None:
    """The request that is too much, whole."""
    session = connected()
    (reply,) = said(session, "subscribe", *(f"trade.C{number}_USDT" for number in range(401)))
    assert reply["code"] == 40107 and not session.subscribed


@pytest.mark.parametrize("every", [10, 100])
def test_changes_of_a_book_name_the_message_before(every: int) -> None:
    """From the snapshot on; without asking for changes, whole books come instead."""
    session, channel = connected(), "book.BTC_USDT.50"
    asked = {"book_subscription_type": "SNAPSHOT_AND_UPDATE", "book_update_frequency": every}
    _, first = said(session, "subscribe", channel, **asked)
    told = [json.loads(frame)["result"] for frame in session.frames(NOON, NOON + 2 * SECOND)]
    rows = [first["result"]["data"][0], *(result["data"][0] for result in told)]
    assert {result["channel"] for result in told} == {"book.update"} and len(told) > 10
    assert [row["pu"] for row in rows[1:]] == [row["u"] for row in rows[:-1]]

    plain = connected()
    said(plain, "subscribe", channel)
    kinds = [json.loads(frame)["result"]["channel"] for frame in plain.frames(NOON, NOON + 2 * SECOND)]
    assert kinds == ["book"] * 4


def test_an_idle_book_of_the_built_in_exchange_says_so() -> None:
    """Every 5 s, with a number that names itself."""
    session = far_end().session("/exchange/v1/market")
    assert session is not None
    said(session, "subscribe", "book.ETH_USDT.10", book_subscription_type="SNAPSHOT_AND_UPDATE")
    told = [json.loads(frame)["result"]["data"][0] for frame in session.frames(NOON, NOON + 30 * SECOND)]
    idle = [row for row in told if row["u"] == row["pu"]]
    assert idle and all(row["update"] == {"asks": [], "bids": []} for row in idle)


def test_a_hole_is_filled_page_by_page() -> None:
    """From its end: what came is taken off, and the rest asked for again, until everything is there."""
    end, adapter = far_end(), Adapter(Feed())
    first, last = (end.source.before("BTC/USDT", NOON - back * SECOND) for back in (30, 10))
    edges = [next(iter(end.source.prints("BTC/USDT", number, number + 1)))[1] for number in (first - 1, last)]
    found: dict[object, int] = {}
    for _ in range(10):
        fetch = adapter.missing(
            Hole("BTC/USDT", "BTC_USDT", None, None, edges[0], min(found.values(), default=edges[1]))
        )
        path, _, query = fetch.path.partition("?")
        answer = end.answer(Request("GET", path, dict(pair.split("=") for pair in query.split("&"))), NOON)
        trades = [item for item in adapter.answered(fetch, answer.body, NOON) if isinstance(item, Trade)]
        found |= {trade.trade_id: trade.timestamp or 0 for trade in trades}
        if first - 1 in found:
            break
    assert found.keys() >= set(range(first - 1, last + 1)) and last - first > 300


def test_the_built_in_exchange_refuses_as_cryptocom_does() -> None:
    """With a code and HTTP 400, 404 or 429; and finds the trade in a frame."""
    end = far_end()
    for path, query, status in (
        ("get-trades", {}, 400),
        ("get-trades", {"instrument_name": "NOPE"}, 400),
        ("get-book", {"instrument_name": "BTC_USDT", "depth": "200"}, 400),
        ("get-novelty", {}, 404),
    ):
        assert end.answer(Request("GET", f"/exchange/v1/public/{path}", query), NOON).status == status
    assert end.refusal(429, None, NOON).status == 429
    session = connected()
    said(session, "subscribe", "trade.BTCUSD-PERP")
    found = [Dialect.trade(frame) for frame in session.frames(NOON, NOON + SECOND)]
    before = end.source.before("BTC/USD:USD", NOON)
    assert found == [("BTC/USD:USD", before + number) for number in range(len(found))] and len(found) > 10
