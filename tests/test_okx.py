"""What the transcript of OKX cannot say: recordings, sockets, contract sizes, chains of books, haste; and its twin."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from trioagg import simulator
from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import BookPlan, Connect, Feed, Fetch, Hole, Missed, Output, Send, Subscription
from trioagg.exchanges._okx import checksum
from trioagg.exchanges.okx import Adapter
from trioagg.model import Book, Channel, Delta, Instrument, Level, Quarantined, Quote, Ticker, Trade
from trioagg.simulator import Request
from trioagg.simulator.market import Market

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
    fetch = Adapter(Feed()).missing(Hole("BTC/USDT", "BTC-USDT", 5, 900, 0, 1))
    assert fetch is not None
    assert fetch.path == "/api/v5/market/history-trades?instId=BTC-USDT&type=1&after=901&limit=100"


NOON = 1_772_452_800 * 10**9


class Client:
    """Somebody's own client of the built-in exchange."""

    def __init__(self, path: str = "/ws/v5/public", rate: float = 20.0) -> None:
        kind = simulator.load("okx")
        self.source = Market(symbols=["BTC/USDT", "BTC/USD:BTC"], rate=rate, lists=kind.lists)
        self.dialect = kind(self.source)
        session = self.dialect.session(path)
        assert session is not None
        self.session = session

    def get(self, path: str, *, now: int = NOON, **query: str) -> Any:
        """The JSON of an answer."""
        return json.loads(self.dialect.answer(Request("GET", f"/api/v5/{path}", query), now).body)

    def say(self, op: str, *args: dict[str, str], now: int = NOON) -> list[Any]:
        """The replies to a request."""
        replies = self.session.received(json.dumps({"id": "7", "op": op, "args": args}), now)
        return [json.loads(reply) for reply in replies]


def books(**more: str) -> dict[str, str]:
    """The argument of a subscription."""
    return {"channel": "books", "instId": "BTC-USDT", **more}


def test_the_built_in_exchange_answers_a_bare_ping() -> None:
    """It is a word, no JSON."""
    assert Client().session.received("ping", NOON) == [b"pong"]


def test_the_built_in_exchange_ends_a_connection_that_hears_nothing() -> None:
    """Thirty seconds after the last word to it; a pong is one."""
    client, second = Client(), 10**9
    assert client.session.frames(NOON, NOON + 29 * second) == []
    client.session.received("ping", NOON + 29 * second)
    assert client.session.frames(NOON + 29 * second, NOON + 58 * second) == []
    with pytest.raises(simulator.Hangup, match="No data received in 30s"):
        client.session.frames(NOON + 58 * second, NOON + 60 * second)


@pytest.mark.parametrize(
    ("op", "args", "code"),
    [
        ("subscribe", [{"channel": "trades-all", "instId": "BTC-USDT"}], "64001"),
        ("subscribe", [{"channel": "candle1m", "instId": "BTC-USDT"}], "64001"),
        ("subscribe", [{"channel": "books50-l2-tbt", "instId": "BTC-USDT"}], "64003"),
        ("subscribe", [{"channel": "tickers", "instId": "NOPE-USDT"}], "60018"),
        ("subscribe", [{"channel": "funding-rate", "instId": "BTC-USDT"}], "60018"),
        ("subscribe", [{"channel": "novelty", "instId": "BTC-USDT"}], "60018"),
        ("subscribe", [], "60013"),
        ("novelty", [books()], "60019"),
    ],
)
def test_the_built_in_exchange_refuses_as_okx_does(op: str, args: list[dict[str, str]], code: str) -> None:
    """Naming the request, not the argument."""
    (reply,) = Client().say(op, *args)
    assert (reply["event"], reply["code"], reply["id"]) == ("error", code, "7") and "arg" not in reply


def test_the_built_in_exchange_acknowledges_each_argument_as_it_was_said() -> None:
    """A book begins with a snapshot, once; after an unsubscription it begins anew."""
    client = Client()
    ack, whole = client.say("subscribe", books())
    assert (ack["event"], ack["arg"], ack["id"]) == ("subscribe", books(), "7")
    assert (whole["action"], whole["data"][0]["prevSeqId"], whole["data"][0]["checksum"]) == ("snapshot", -1, 0)
    assert [reply["event"] for reply in client.say("subscribe", books())] == ["subscribe"]
    assert [reply["event"] for reply in client.say("unsubscribe", books())] == ["unsubscribe"]
    assert not client.session.subscribed
    assert len(client.say("subscribe", books())) == 2


def test_the_built_in_exchange_tells_that_nothing_happened() -> None:
    """Once a minute, in the chain."""
    client = Client(rate=0.001)
    held = client.say("subscribe", books())[1]["data"][0]["seqId"]
    frames = client.session.frames(NOON, NOON + 61 * 10**9)
    rows = [json.loads(frame)["data"][0] for frame in frames]
    assert [(row["asks"], row["bids"], row["prevSeqId"], row["seqId"]) for row in rows] == [([], [], held, held)] * 2


def test_the_built_in_exchange_has_quotas() -> None:
    """Twenty requests of most paths in two seconds."""
    client = Client()
    codes = [client.get("market/ticker", instId="BTC-USDT")["code"] for _ in range(21)]
    assert codes == ["0"] * 20 + ["50011"]
    assert client.get("market/ticker", now=NOON + 2 * 10**9, instId="BTC-USDT")["code"] == "0"


def test_the_built_in_exchange_pages_its_trades() -> None:
    """Newest first, by id or by time, the cursor's own trade left out."""
    client = Client()
    newest = [int(row["tradeId"]) for row in client.get("market/trades", instId="BTC-USDT", limit="5")["data"]]
    page = partial(client.get, "market/history-trades", instId="BTC-USDT", limit="3")
    by_id = page(after=str(newest[1]))["data"]
    by_time = page(type="2", after=by_id[0]["ts"])["data"]
    newer = page(before=str(newest[2]))["data"]
    assert [int(row["tradeId"]) for row in by_id] == [newest[1] - 1, newest[1] - 2, newest[1] - 3]
    assert int(by_time[0]["tradeId"]) == newest[1] - 2
    assert [int(row["tradeId"]) for row in newer] == newest[:2]


@pytest.mark.parametrize(
    ("bar", "opens"),
    [("1m", 1_772_452_740), ("1D", 1_772_380_800), ("1Dutc", 1_772_409_600), ("1Wutc", 1_772_409_600)],
)
def test_candles_of_the_built_in_exchange_open_when_okx_s_do(bar: str, opens: int) -> None:
    """Days at UTC+8 unless they say ``utc``; weeks on Mondays; the newest first."""
    rows = Client().get("market/candles", instId="BTC-USDT", bar=bar, limit="2")["data"]
    assert rows[0][0] == f"{opens}000" and int(rows[1][0]) < int(rows[0][0]) and rows[1][8] == "1"


def test_the_built_in_exchange_counts_swaps_in_contracts() -> None:
    """An inverse one is a whole number of 100 dollars."""
    rows = Client().get("market/trades", instId="BTC-USD-SWAP")["data"]
    assert all(row["sz"].isdecimal() and int(row["sz"]) >= 1 for row in rows)
