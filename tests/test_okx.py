"""What the transcript of OKX cannot say: recordings, two sockets, contract sizes, chains of books, haste."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import BookPlan, Connect, Feed, Fetch, Hole, Missed, Output, Send, Subscription
from trioagg.exchanges._okx import checksum
from trioagg.exchanges.okx import Adapter
from trioagg.model import Book, Channel, Delta, Instrument, Level, Quarantined, Quote, Ticker, Trade

FACE = {"BTC-USD-220527": Decimal(100), "UNI-USD-SWAP": Decimal(10)}
"""What one contract of those in the recording was worth, USD."""

ETH = Instrument(
    exchange="okx",
    symbol="ETH/USDT:USDT",
    native="ETH-USDT-SWAP",
    base="ETH",
    quote="USDT",
    tick_size=None,
    amount_step=None,
    contract_size=Decimal("0.1"),
    amount_unit="ETH",
    status="trading",
)


def recorded(captures: Path) -> Iterator[tuple[int, bytes]]:
    with gzip.open(captures / "okx-recording.jsonl.gz", "rt") as lines:
        for line in lines:
            frame = json.loads(line)
            yield frame["received"], frame["payload"].encode()


def rows(captures: Path, channel: str) -> list[dict[str, Any]]:
    """The rows of one channel by an independent reading."""
    messages = [json.loads(payload) for _, payload in recorded(captures)]
    ours = [message for message in messages if message["arg"]["channel"] == channel and "data" in message]
    return [row for message in ours for row in message["data"]]


def test_every_book_of_a_recording_stands_to_its_end(captures: Path) -> None:
    """Without numbers, each message's checksum holds; contracts come as what they are worth."""
    adapter = Adapter(Feed())
    out = [item for at, payload in recorded(captures) for item in adapter.digest([payload], at)]
    told = [item for item in out if isinstance(item, Book | Quote)]
    worth = {item.symbol: item.bid_size for item in told if isinstance(item, Quote)}

    assert [item for item in out if isinstance(item, Missed | Send)] == []
    assert worth.keys() == {"BTC/USDT", "UNI/USD:UNI", "BTC/USD:BTC-220527"}
    assert worth["BTC/USD:BTC-220527"] is not None and worth["BTC/USD:BTC-220527"] % 100 == 0
    assert all(item.bids[0][0] < item.asks[0][0] for item in told if isinstance(item, Book))


def subscribed(*channels: Channel, symbols: Sequence[str] = ("BTC/USDT", "ETH/USDT:USDT")) -> list[Subscription]:
    return [Subscription(symbol, channel, Adapter.native(symbol)) for symbol in symbols for channel in channels]


def test_every_trade_and_quote_of_a_recording_is_read(captures: Path) -> None:
    """Ids, prices, amounts, sides and times equal an independent reading; nothing is quarantined."""
    adapter = Adapter(Feed())
    out = [item for at, payload in recorded(captures) for item in adapter.digest([payload], at)]

    assert [item for item in out if isinstance(item, Quarantined)] == []
    assert [
        (str(item.trade_id), item.price, item.amount, item.side, item.timestamp)
        for item in out
        if isinstance(item, Trade)
    ] == [
        (
            row["tradeId"],
            Decimal(row["px"]),
            Decimal(row["sz"]) * FACE.get(row["instId"], 1),
            row["side"],
            int(row["ts"]) * 10**6,
        )
        for row in rows(captures, "trades")
    ]
    assert [
        (item.bid, item.bid_size, item.ask, item.ask_size, item.last) for item in out if isinstance(item, Ticker)
    ] == [
        (
            Decimal(row["bidPx"]),
            Decimal(row["bidSz"]) * FACE.get(row["instId"], 1),
            Decimal(row["askPx"]),
            Decimal(row["askSz"]) * FACE.get(row["instId"], 1),
            Decimal(row["last"]),
        )
        for row in rows(captures, "tickers")
    ]
    assert {item.symbol for item in out if isinstance(item, Trade)} == {"BTC/USDT", "UNI/USD:UNI", "BTC/USD:BTC-220527"}


@pytest.mark.parametrize(
    ("symbol", "native"),
    [
        ("BTC/USDT", "BTC-USDT"),
        ("ETH/USDT:USDT", "ETH-USDT-SWAP"),
        ("BTC/USD:BTC", "BTC-USD-SWAP"),
        ("BTC/USD:BTC-260925", "BTC-USD-260925"),
    ],
)
def test_symbols_are_spelled_by_rule_both_ways(symbol: str, native: str) -> None:
    """Without an instrument list, spot, swaps and futures keep apart."""
    assert Adapter.native(symbol) == native
    assert Adapter.unified(native) == symbol


def test_each_socket_gets_its_own_connections() -> None:
    """Trades and candles go to the business socket, the rest to the public one; spot has nothing that swaps have."""
    parts = Adapter.connections(subscribed(*sorted(Adapter.channels())))
    paths = [
        [action.path for action in Adapter(Feed(part, [ETH])).begin() if isinstance(action, Connect)] for part in parts
    ]

    assert paths == [["/ws/v5/business"], ["/ws/v5/public"], ["/ws/v5/public"]]
    assert {item.channel for item in parts[0]} == {Channel.TRADES, Channel.CANDLES}
    assert {item.channel for item in parts[1] if item.symbol == "BTC/USDT"} == {Channel.TICKER}
    assert len(parts[1]) == 5
    assert {item.channel for item in parts[2]} == {Channel.BOOK} and len(parts[2]) == 2


def test_books_are_spread_thinly() -> None:
    """OKX recommends fewer than thirty on one connection."""
    parts = Adapter.connections(subscribed(Channel.BOOK, symbols=[f"C{number}/USDT" for number in range(60)]))
    assert [len(part) for part in parts] == [29, 29, 2]


def test_many_subscriptions_are_spread_over_messages_and_connections() -> None:
    """Each is asked for once, and no message or connection carries more than its share."""
    many = subscribed(Channel.TICKER, symbols=[f"C{number}/USDT" for number in range(650)])
    parts = Adapter.connections(many)
    asked = [
        [json.loads(action.text)["args"] for action in Adapter(Feed(part)).opened() if isinstance(action, Send)]
        for part in parts
    ]

    assert [len(part) for part in parts] == [300, 300, 50]
    assert [[len(args) for args in messages] for messages in asked] == [[100, 100, 100], [100, 100, 100], [50]]
    assert [arg["instId"] for messages in asked for args in messages for arg in args] == [item.native for item in many]


def test_a_swap_of_unknown_size_is_asked_for_before_connecting() -> None:
    """The list comes first, where nobody told the size; then amounts are in the base currency."""
    subscriptions = subscribed(Channel.TRADES, symbols=["ETH/USDT:USDT"])
    adapter = Adapter(Feed(subscriptions))
    ask, connect = adapter.begin()
    listed = {"instId": "ETH-USDT-SWAP", "instType": "SWAP", "state": "live", "uly": "ETH-USDT", "settleCcy": "USDT"}
    body = json.dumps({"code": "0", "data": [{**listed, "ctVal": "0.1", "ctMult": "10"}]}).encode()

    assert isinstance(ask, Fetch) and isinstance(connect, Connect)
    assert adapter.answered(ask, body, 1) == []
    assert [trade.amount for trade in traded(adapter, "trades-all", "ETH-USDT-SWAP")] == [Decimal(3)]
    assert [type(action) for action in Adapter(Feed(subscriptions, [ETH])).begin()] == [Connect]


def traded(adapter: Adapter, channel: str, native: str) -> list[Trade]:
    """What the adapter makes of one trade of three contracts."""
    row = {"instId": native, "tradeId": "7", "px": "2", "sz": "3", "side": "buy", "ts": "1", "count": "2"}
    frame = json.dumps({"arg": {"channel": channel, "instId": native}, "data": [row]}).encode()
    return [item for item in adapter.digest([frame], 1) if isinstance(item, Trade)]


def test_a_replay_takes_the_aggregated_trades_too() -> None:
    """One row each under the last id; a live feed takes only what it asked for."""
    live = Adapter(Feed(subscribed(Channel.TRADES, symbols=["BTC/USDT"])))

    assert [trade.trade_id for trade in traded(Adapter(Feed()), "trades", "BTC-USDT")] == [7]
    assert traded(live, "trades", "BTC-USDT") == []
    assert len(traded(live, "trades-all", "BTC-USDT")) == 1


@pytest.mark.parametrize("code", ["50011", "50040"])
def test_haste_is_told_with_status_200(code: str) -> None:
    """It is a demand for silence, and no instrument list."""
    body = json.dumps({"code": code, "msg": "Too Many Requests", "data": []}).encode()

    with pytest.raises(RateLimited, match="Too Many Requests") as limited:
        Adapter(Feed()).answered(Fetch("/api/v5/market/trades?instId=BTC-USDT"), body, 1)
    assert limited.value.retry_after == 2
    with pytest.raises(WireError, match="Too Many Requests"):
        Adapter.instruments(Adapter.listing()[0], body)


def levels(*pairs: str) -> list[Level]:
    """``"3:1"`` as price 3, amount 1."""
    return [(Decimal(price), Decimal(amount)) for price, amount in (pair.split(":") for pair in pairs)]


@pytest.mark.parametrize(
    ("bids", "asks", "digits"),
    [
        (("3366.1:7", "3366:6"), ("3366.8:9", "3368:8"), 2413953002),  # the documentation's
        (("1.10:2.00", "1.0:1e-8"), (), 1016557305),  # 1.10:2.00:1.0:0.00000001
        ((), (), 0),
    ],
)
def test_a_checksum_is_over_the_digits_that_were_sent(bids: Sequence[str], asks: Sequence[str], digits: int) -> None:
    """Bid and ask by turns; zeros at the end count."""
    assert checksum(levels(*bids), levels(*asks)) == digits


def told(action: str, prev: int, seq: int, *bids: list[str], native: str = "BTC-USDT", **more: object) -> bytes:
    """A message of a book whose only ask is 9."""
    row = {"asks": [["9", "1", "0", "1"]], "bids": bids, "ts": "1", "prevSeqId": prev, "seqId": seq, **more}
    return json.dumps({"arg": {"channel": "books", "instId": native}, "action": action, "data": [row]}).encode()


def after_snapshot(*frames: bytes) -> list[Output]:
    """What frames mean to a book that holds everything up to 1000."""
    adapter = Adapter(Feed(book=BookPlan(kept=frozenset({"best"}))))
    adapter.digest([told("snapshot", -1, 1000, ["3", "1"])], 0)
    return [item for frame in frames for item in adapter.digest([frame], 1)]


def test_a_message_that_comes_twice_breaks_no_chain() -> None:
    """It changes nothing the second time."""
    once = told("update", 1000, 1010, ["4", "1"])
    assert [type(item) for item in after_snapshot(once, once, told("update", 1010, 1011, ["5", "1"]))] == [Quote, Quote]


@pytest.mark.parametrize("prev", [15, 999, 1001])
def test_any_other_predecessor_breaks_the_chain(prev: int) -> None:
    """One smaller than what is held too: the message that began the count anew did not come."""
    kinds = [type(item) for item in after_snapshot(told("update", prev, prev + 5, ["4", "1"]))]
    assert kinds == [Missed, Send, Send]


def test_a_checksum_of_either_sign_is_checked_and_nought_is_none() -> None:
    """The same 32 bits."""
    want = checksum(levels("4:1", "3:1"), levels("9:1"))
    for number, kinds in ((want, [Quote]), (want - 2**32, [Quote]), (0, [Quote]), (want ^ 1, [Missed, Send, Send])):
        out = after_snapshot(told("update", 1000, 1001, ["4", "1"], checksum=number))
        assert [type(item) for item in out] == kinds


def test_one_book_that_breaks_leaves_the_others() -> None:
    """The new start is asked for of one market."""
    adapter = Adapter(Feed(subscribed(Channel.BOOK), [ETH]))
    adapter.digest([told("snapshot", -1, 5, native=native) for native in ("BTC-USDT", "ETH-USDT-SWAP")], 0)
    broken = adapter.digest([told("update", 6, 7)], 1)
    well = adapter.digest([told("update", 5, 6, ["4", "1"], native="ETH-USDT-SWAP")], 2)

    assert [json.loads(item.text)["args"] for item in broken if isinstance(item, Send)] == [
        [{"channel": "books", "instId": "BTC-USDT"}]
    ] * 2
    assert [(item.symbol, item.bid_size) for item in well if isinstance(item, Quote)] == [
        ("ETH/USDT:USDT", Decimal("0.1"))
    ]


def test_raw_changes_are_worth_what_their_contracts_are() -> None:
    """A level that goes stays nought."""
    adapter, native = Adapter(Feed(instruments=[ETH], book=BookPlan(kept=frozenset({"deltas"})))), "ETH-USDT-SWAP"
    frames = [told("snapshot", -1, 5, ["3", "7"], native=native), told("update", 5, 6, ["3", "0"], native=native)]
    bids = [item.bids for item in adapter.digest(frames, 0) if isinstance(item, Delta)]
    assert bids == [((Decimal(3), Decimal("0.7")),), ((Decimal(3), Decimal(0)),)]


def test_what_is_missing_is_asked_for_from_its_newer_end() -> None:
    """``after`` leaves its own id out."""
    fetch = Adapter(Feed()).missing(Hole("BTC-USDT", 5, 900, 0, 1))
    assert fetch is not None
    assert fetch.path == "/api/v5/market/history-trades?instId=BTC-USDT&type=1&after=901&limit=100"
