"""Coinbase: what its transcript cannot say."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagg.errors import WireError
from trioagg.exchanges import Feed, Fetch, Hole, Missed, Send, Subscription
from trioagg.exchanges._coinbase import moment as reading
from trioagg.exchanges.coinbase import Adapter
from trioagg.model import Book, Candle, Channel, Quarantined, Quote, Ticker, Trade
from trioagg.simulator import Hangup, Request, Session
from trioagg.simulator.dialects.coinbase import Dialect
from trioagg.simulator.market import Market

SECOND = 1_000_000_000
NOON = 1_772_452_800 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def feed(*symbols: str, channels: tuple[Channel, ...] = (Channel.TRADES,), **more: Any) -> Feed:
    subscriptions = [
        Subscription(symbol, channel, Adapter.native(symbol)) for symbol in symbols for channel in channels
    ]
    return Feed(subscriptions, **more)


def recorded(captures: Path) -> Iterator[tuple[int, bytes]]:
    """Each frame of the recording, with the time of its arrival."""
    with gzip.open(captures / "coinbase-recording.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            captured = json.loads(line)
            yield captured["received"], captured["payload"].encode()


def moment(text: str) -> int:
    """A time of at most microseconds, reckoned in whole numbers by the standard library."""
    passed = datetime.fromisoformat(text) - EPOCH
    return (passed.days * 86400 + passed.seconds) * SECOND + passed.microseconds * 1000


def trade_of(told: dict[str, Any], received: int) -> Trade:
    taker = {"buy": "sell", "sell": "buy"}[told["side"]]
    symbol, price, amount = told["product_id"].replace("-", "/"), Decimal(told["price"]), Decimal(told["size"])
    return Trade("coinbase", symbol, told["trade_id"], price, amount, taker, moment(told["time"]), received)  # type: ignore[arg-type]


def ticker_of(told: dict[str, Any], received: int) -> Ticker:
    bid, ask, last, volume = (Decimal(told[key]) for key in ("best_bid", "best_ask", "price", "volume_24h"))
    symbol = told["product_id"].replace("-", "/")
    return Ticker("coinbase", symbol, bid, None, ask, None, last, volume, moment(told["time"]), received)


def test_a_recording_reads_as_another_reader_reads_it(captures: Path) -> None:
    """Every trade and ticker of real traffic of the older feed, digit for digit, and nothing in quarantine."""
    adapter = Adapter(Feed())
    events: list[Trade | Ticker | Quarantined] = []
    expected: list[Trade | Ticker] = []
    for at, payload in recorded(captures):
        events += [item for item in adapter.digest([payload], at) if isinstance(item, Trade | Ticker | Quarantined)]
        told = json.loads(payload)
        if told["type"] in ("match", "last_match"):
            expected.append(trade_of(told, at))
        elif told["type"] == "ticker":
            expected.append(ticker_of(told, at))

    assert len(expected) == 82
    assert events == expected
    assert [str(event.price) for event in events if isinstance(event, Trade)] == [
        str(event.price) for event in expected if isinstance(event, Trade)
    ]


def test_a_recorded_trade_has_the_side_that_the_ticker_of_it_tells(captures: Path) -> None:
    """The maker's side of a match is turned, the taker's of the ticker is the proof."""
    adapter, sides, takers = Adapter(Feed()), {}, {}
    for at, payload in recorded(captures):
        told = json.loads(payload)
        if told["type"] == "ticker":
            takers[told["product_id"].replace("-", "/"), told["trade_id"]] = told["side"]
        for item in adapter.digest([payload], at):
            if isinstance(item, Trade):
                sides[item.symbol, item.trade_id] = item.side

    both = sides.keys() & takers.keys()
    assert len(both) >= 30
    assert {key: sides[key] for key in both} == {key: takers[key] for key in both}


@given(st.datetimes(datetime(1970, 1, 1), datetime(2250, 1, 1)), st.text("0123456789", max_size=9))  # noqa: DTZ001
def test_no_digit_of_a_second_is_lost(whole: datetime, fraction: str) -> None:
    """However many digits the exchange sends, up to nine."""
    whole = whole.replace(microsecond=0, tzinfo=UTC)
    text = whole.isoformat().removesuffix("+00:00") + (f".{fraction}" if fraction else "") + "Z"

    assert reading(text) == moment(whole.isoformat()) + int(Decimal(f"0.{fraction}0") * SECOND)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "now",
        "2026-03-02T10:15:30",
        "2026-03-02T10:15:30+00:00",
        "2026-03-02T10:15:30.1",
        "2026-03-02T10:15:30.Z",
        "2026-03-02T10:15:30.-1Z",
        "2026-03-02T10:15:30.\u0661Z",
        "2026-03-02T10:15:30.1+05:00Z",
        "2026-03-02T25:15:30Z",
        "1969-12-31T23:59:59Z",
        "2255-06-05T23:47:34Z",
        "2300-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ],
)
def test_what_is_no_time_in_utc_is_refused(text: str) -> None:
    """Rather than guessed at."""
    with pytest.raises(WireError, match="impossible time"):
        reading(text)


def test_a_candle_is_closed_once_its_time_is_over() -> None:
    """By our clock; a poll after that tells it again, since it changed, and then no more."""
    adapter = Adapter(feed("BTC/USD", channels=(Channel.CANDLES,), candle="5m"))
    (fetch,) = adapter.polls()
    body = b"[[1500,1.0,2.0,1.5,1.75,10]]"

    told = [adapter.answered(fetch, body, second * SECOND) for second in (1799, 1799, 1800, 1801)]

    assert [[item.closed for item in items if isinstance(item, Candle)] for items in told] == [[False], [], [True], []]


def test_polls_leave_half_of_the_budget_alone() -> None:
    """Many products are polled more slowly, and an interval that the exchange does not offer is not polled."""
    many = feed(*(f"C{number}/USD" for number in range(100)), channels=(Channel.CANDLES,), interval=5.0)
    fetches = list(Adapter(many).polls())

    assert len(fetches) == 100
    assert {fetch.every for fetch in fetches} == {20}
    assert sum(fetch.weight / fetch.every for fetch in fetches if fetch.every) <= Adapter.limits.weight / 2
    assert list(Adapter(feed("BTC/USD", channels=(Channel.CANDLES,), candle="4h")).polls()) == []


def test_each_connection_subscribes_to_what_it_was_given() -> None:
    """No product twice, none left out, and heartbeats only where there are trades to prove."""
    symbols = [f"C{number}/USD" for number in range(150)]
    whole = feed(*symbols, channels=(Channel.TRADES, Channel.TICKER))
    asked = []
    for some in Adapter.connections(whole.subscriptions):
        for action in Adapter(Feed(some)).opened():
            assert isinstance(action, Send)
            request = json.loads(action.text)
            asked += [(product, channel) for product in request["product_ids"] for channel in request["channels"]]

    natives = [Adapter.native(symbol) for symbol in symbols]
    assert sorted(asked) == sorted(
        (native, channel) for native in natives for channel in ("matches", "heartbeat", "ticker")
    )
    (action,) = Adapter(feed("BTC/USD", channels=(Channel.TICKER,))).opened()
    assert isinstance(action, Send) and json.loads(action.text)["channels"] == ["ticker"]


def heartbeat(last: int) -> bytes:
    return b'{"type":"heartbeat","product_id":"BTC-USD","last_trade_id":%d}' % last


def match(trade_id: int) -> bytes:
    text = '"side":"buy","size":"1","price":"1","product_id":"BTC-USD","time":"2026-03-02T10:15:30Z"}'
    return f'{{"type":"match","trade_id":{trade_id},{text}'.encode()


def test_a_match_that_comes_just_after_the_heartbeat_is_not_asked_for() -> None:
    """A heartbeat may overtake the match that it knows of; only silence until the next one counts."""
    adapter = Adapter(feed("BTC/USD"))

    out = adapter.digest([match(1), heartbeat(2), match(2), heartbeat(3), match(3), heartbeat(3)], 0)

    assert [item for item in out if isinstance(item, Fetch)] == []


def test_one_loss_is_asked_for_once() -> None:
    """However long REST takes, and however the answer ends; a later loss is asked for again."""
    adapter = Adapter(feed("BTC/USD"))

    out = adapter.digest([match(1), *[heartbeat(4)] * 5, match(5), *[heartbeat(6)] * 5], 0)

    assert [item.path for item in out if isinstance(item, Fetch)] == [
        "/products/BTC-USD/trades?limit=3&after=5",
        "/products/BTC-USD/trades?limit=1&after=7",
    ]


def test_recorded_books_are_whole(captures: Path) -> None:
    """Ten books of real traffic of the older feed: none breaks, and none is ever crossed."""
    adapter = Adapter(Feed())
    out = [item for at, payload in recorded(captures) for item in adapter.digest([payload], at)]
    quotes = [item for item in out if isinstance(item, Quote)]

    assert [item for item in out if isinstance(item, Missed | Quarantined)] == []
    assert len({item.symbol for item in out if isinstance(item, Book)}) == 10
    assert all(quote.bid and quote.ask and quote.bid < quote.ask for quote in quotes) and len(quotes) > 500


def level2(kind: str, **sides: object) -> bytes:
    """A frame of a book of BTC-USD."""
    return json.dumps({"type": kind, "product_id": "BTC-USD", **sides}).encode()


def test_a_book_that_begins_crossed_is_begun_anew_only_after_it_was_right() -> None:
    """Whatever stays crossed, as in an auction, may not fill the line with subscriptions."""
    adapter = Adapter(feed("BTC/USD", channels=(Channel.BOOK,)))
    crossing, parting = [["buy", "4", "1"]], [["buy", "4", "0"]]
    whole = level2("snapshot", bids=[["3", "1"]], asks=[["4", "1"]])
    auction = level2("snapshot", bids=[["5", "1"], ["3", "1"]], asks=[["4", "1"]])

    def missed(*frames: bytes) -> list[str]:
        return [item.reason for item in adapter.digest(frames, 0) if isinstance(item, Missed)]

    assert len(missed(whole, level2("l2update", changes=crossing))) == 1
    assert missed(auction, *[level2("l2update", changes=crossing)] * 9) == []
    assert missed(level2("l2update", changes=[*parting, ["buy", "5", "0"]])) == []
    assert len(missed(level2("l2update", changes=crossing))) == 1


def test_changes_without_a_beginning_ask_for_it_and_mean_nothing() -> None:
    """Once, and again when it does not come."""
    adapter = Adapter(feed("BTC/USD", channels=(Channel.BOOK,)))
    change = level2("l2update", changes=[["buy", "4", "1"]])

    out = [adapter.digest([change], second * SECOND) for second in range(6)]

    assert [len(items) for items in out] == [2, 0, 0, 0, 0, 2]
    assert {type(item) for items in out for item in items} == {Send}


@pytest.mark.parametrize(
    ("first", "last", "path"),
    [
        (7, 7, "/products/BTC-USD/trades?limit=1&after=8"),
        (7, 1006, "/products/BTC-USD/trades?limit=1000&after=1007"),
        (7, 5000, "/products/BTC-USD/trades?limit=1000&after=5001"),
    ],
)
def test_a_hole_is_asked_for_from_its_newer_end(first: int, last: int, path: str) -> None:
    """As many trades as are missing, or as one answer holds."""
    assert Adapter(Feed()).missing(Hole("BTC/USD", "BTC-USD", first, last, 0, 1)) == Fetch(path)
    assert Adapter(Feed()).missing(Hole("BTC/USD", "BTC-USD", None, None, 0, 1)) is None


def desk() -> Dialect:
    """The built-in Coinbase."""
    return Dialect(Market(symbols=["BTC/USD", "ETH/USD"], lists=Dialect.lists))


def say(session: Session, **message: object) -> list[dict[str, Any]]:
    """What the built-in exchange replies."""
    return [json.loads(frame) for frame in session.received(json.dumps(message), NOON)]


def subscribed(reply: dict[str, Any]) -> dict[str, list[str]]:
    """The channels of an acknowledgement."""
    assert reply["type"] == "subscriptions"
    return {channel["name"]: channel["product_ids"] for channel in reply["channels"]}


def opened() -> Session:
    """A new connection to the built-in exchange."""
    session = desk().session("/")
    assert session is not None
    return session


def test_each_acknowledgement_lists_everything() -> None:
    """Channels have the products of the whole message and their own; what is dropped is not listed any more."""
    session, ticker = opened(), {"name": "ticker", "product_ids": ["ETH-USD"]}

    ack, *first = say(session, type="subscribe", product_ids=["BTC-USD"], channels=["matches", "level2_batch", ticker])
    assert subscribed(ack) == {"matches": ["BTC-USD"], "level2_50": ["BTC-USD"], "ticker": ["BTC-USD", "ETH-USD"]}
    assert [frame["type"] for frame in first] == ["last_match", "snapshot", "ticker", "ticker"]
    (ack,) = say(session, type="unsubscribe", channels=["ticker"])
    assert subscribed(ack) == {"matches": ["BTC-USD"], "level2_50": ["BTC-USD"]}
    (ack,) = say(session, type="unsubscribe", product_ids=["BTC-USD"], channels=["level2_batch"])
    assert subscribed(ack) == {"matches": ["BTC-USD"]}
    assert {json.loads(frame)["type"] for frame in session.frames(NOON, NOON + SECOND)} == {"match"}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            {"type": "subscribe", "product_ids": ["BTC-USD", "FOO-BAR"], "channels": ["ticker"]},
            "FOO-BAR is not a valid",
        ),
        ({"type": "subscribe", "product_ids": [""], "channels": ["ticker"]}, " is not a valid product"),
        ({"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["level2"]}, "now require authentication"),
        ({"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["candles"]}, "candles is not a valid channel"),
        ({"type": "subscribe", "product_ids": ["BTC-USD"]}, "No channels provided"),
        ({"type": "subscribe", "channels": ["heartbeat"]}, "at least one product ID for channel heartbeat"),
    ],
)
def test_a_wrong_subscription_is_refused_whole(message: dict[str, Any], reason: str) -> None:
    """With the reason; nothing of it is subscribed to."""
    session = opened()

    (error,) = say(session, **message)

    assert (error["type"], error["message"]) == ("error", "Failed to subscribe") and reason in error["reason"]
    assert not session.subscribed


def test_what_is_no_request_is_an_error() -> None:
    """Torn JSON, and a type that is none."""
    assert json.loads(opened().received("{", NOON)[0]) == {"type": "error", "message": "Malformed JSON"}
    assert say(opened(), type="hello")[0]["message"] == "Type has to be either subscribe or unsubscribe"


def test_who_does_not_subscribe_is_cut_off() -> None:
    """Five seconds after connecting; who did, stays."""
    idle, busy = opened(), opened()
    say(busy, type="subscribe", product_ids=["BTC-USD"], channels=["heartbeat"])

    assert idle.frames(NOON, NOON + 5 * SECOND) == []
    assert len(busy.frames(NOON, NOON + 6 * SECOND)) == 6
    with pytest.raises(Hangup):
        idle.frames(NOON + 5 * SECOND, NOON + 6 * SECOND)


def test_trades_are_paged_by_their_ids() -> None:
    """Newest first; the headers lead to the pages on both sides."""
    exchange, path = desk(), "/products/BTC-USD/trades"

    page = exchange.answer(Request("GET", path, {"limit": "3"}), NOON)
    ids = [row["trade_id"] for row in json.loads(page.body)]
    older = exchange.answer(Request("GET", path, {"limit": "2", "after": page.headers["CB-AFTER"]}), NOON)
    newer = exchange.answer(Request("GET", path, {"before": str(ids[2])}), NOON)

    assert ids == [ids[0], ids[0] - 1, ids[0] - 2] and page.headers["CB-BEFORE"] == str(ids[0])
    assert [row["trade_id"] for row in json.loads(older.body)] == [ids[2] - 1, ids[2] - 2]
    assert [row["trade_id"] for row in json.loads(newer.body)] == ids[:2]


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/products/FOO-BAR/trades", {}, 404),
        ("/products/BTC-USD/candles", {"granularity": "61"}, 400),
        ("/products/BTC-USD/candles", {"start": "1772366400", "end": "2026-03-02T12:00:00Z"}, 400),
        ("/products/BTC-USD/book", {"level": "4"}, 400),
        ("/orders", {}, 404),
    ],
)
def test_rest_refuses_with_a_message(path: str, query: dict[str, str], status: int) -> None:
    """As JSON, beside the status."""
    answer = desk().answer(Request("GET", path, query), NOON)

    assert answer.status == status and json.loads(answer.body)["message"]


def test_candles_end_with_the_running_one() -> None:
    """Newest first, 300 of them; a stretch that is asked for has both its ends."""
    exchange, path = desk(), "/products/BTC-USD/candles"
    rows = json.loads(exchange.answer(Request("GET", path, {"granularity": "60"}), NOON + 30 * SECOND).body)
    asked = {"granularity": "3600", "start": "2026-03-02T09:00:00Z", "end": "2026-03-02T11:00:00Z"}
    hours = json.loads(exchange.answer(Request("GET", path, asked), NOON).body)

    assert (len(rows), rows[0][0]) == (300, NOON // SECOND)
    assert [row[0] for row in hours] == [NOON // SECOND - back * 3600 for back in (1, 2, 3)]
    assert all(low <= min(opens, closes) <= max(opens, closes) <= high for _, low, high, opens, closes, _ in rows)
