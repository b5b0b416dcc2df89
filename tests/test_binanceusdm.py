"""Binance USD-M futures: what the transcript cannot say."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from trioagg.exchanges import Connect, Exchange, Feed, Fetch, Hole, Missed, Output, Send, Subscription, load
from trioagg.model import Book, Channel, Quarantined, Quote, Ticker, Trade
from trioagg.simulator import Dialect, Request
from trioagg.simulator import load as load_dialect
from trioagg.simulator.market import Market

MILLI = 1_000_000
NOON = 1_772_452_800 * 1_000_000_000
STREAMED = sorted(load("binanceusdm").streamed)


def adapter(*subscriptions: Subscription, interval: float = 5) -> Exchange:
    return load("binanceusdm")(Feed(subscriptions, interval=interval))


def wanted(symbols: int, *channels: Channel) -> list[Subscription]:
    """Subscriptions to as many markets."""
    return [
        Subscription(f"A{number}/USDT:USDT", channel, f"A{number}USDT")
        for number in range(symbols)
        for channel in channels
    ]


def lines(file: Path) -> Iterator[tuple[str, bytes]]:
    """Where each line of a recording came from, and what it says."""
    with gzip.open(file) as told:
        for line in told:
            captured = json.loads(line)
            yield captured["source"], captured["payload"].encode()


def recorded(file: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each frame of a recording, and an independent reading of its event."""
    for source, payload in lines(file):
        if source.startswith("wss"):
            yield payload, json.loads(payload)["data"]


def depth(after: int, number: int, stream: str = "btcusdt@depth@100ms", bid: str = "1") -> bytes:
    """A change of the book's best bid."""
    told = {"e": "depthUpdate", "E": 2, "T": 1, "s": "BTCUSDT", "U": after + 3, "u": number, "pu": after}
    return json.dumps({"stream": stream, "data": {**told, "b": [["100", bid]], "a": []}}).encode()


def snapshot(number: int) -> bytes:
    """A book of REST."""
    return json.dumps({"lastUpdateId": number, "E": 2, "T": 1, "bids": [["99", "1"]], "asks": [["101", "1"]]}).encode()


def test_a_recording_is_read_digit_for_digit(captures: Path) -> None:
    """Every trade's id, price, amount, side and time, and every best bid and ask."""
    frames = list(recorded(captures / "binanceusdm-btcusdt-20240808.jsonl.gz"))
    trades = [event for _, event in frames if event["e"] == "trade"]
    quotes = [event for _, event in frames if event["e"] == "bookTicker"]

    out = adapter().digest([frame for frame, _ in frames], at=0)

    assert [
        (item.symbol, item.trade_id, item.price, item.amount, item.side, item.timestamp)
        for item in out
        if isinstance(item, Trade)
    ] == [
        (
            "BTC/USDT:USDT",
            t["t"],
            Decimal(t["p"]),
            Decimal(t["q"]),
            "sell" if t["m"] else "buy",
            t["T"] * MILLI,
        )
        for t in trades
    ]
    assert [
        (item.bid, item.bid_size, item.ask, item.ask_size, item.timestamp) for item in out if isinstance(item, Ticker)
    ] == [(Decimal(q["b"]), Decimal(q["B"]), Decimal(q["a"]), Decimal(q["A"]), q["T"] * MILLI) for q in quotes]
    assert len([item for item in out if not isinstance(item, Fetch)]) == len(trades) + len(quotes) > 25_000


def test_a_recorded_book_joins_its_snapshot(captures: Path) -> None:
    """Nothing is missed, and in the end it holds what a plain dictionary holds."""
    one, out, model = adapter(), list[Output](), dict[str, dict[Decimal, Decimal]]()
    number, waiting = 0, list[dict[str, Any]]()
    for source, payload in lines(captures / "binanceusdm-btcusdt-20240808.jsonl.gz"):
        told = json.loads(payload)
        if source.startswith("https"):
            out += one.answered(Fetch(source.removeprefix("https://fapi.binance.com")), payload, 0)
            number = told["lastUpdateId"]
            model = {side: {Decimal(p): Decimal(q) for p, q in told[side]} for side in ("bids", "asks")}
        elif told["data"]["e"] == "depthUpdate":
            out += one.digest([payload], 0)
            waiting.append(told["data"])
    for change in waiting:
        for side, levels in (("bids", change["b"]), ("asks", change["a"])) if change["u"] > number else ():
            model[side].update({Decimal(p): Decimal(q) for p, q in levels})

    best = [max(p for p, q in model["bids"].items() if q), min(p for p, q in model["asks"].items() if q)]
    last = [item for item in out if isinstance(item, Quote)][-1]
    assert [last.bid, last.ask] == best
    assert (last.bid_size, last.ask_size) == (model["bids"][best[0]], model["asks"][best[1]])
    assert not [item for item in out if isinstance(item, Missed | Quarantined)] and len(waiting) > 2000


@pytest.mark.parametrize(
    ("number", "bids"), [(9, []), (10, [99, 100]), (12, [99, 100]), (19, [99, 100]), (20, [99]), (21, [99])]
)
def test_a_snapshot_joins_where_it_touches_what_waits(number: int, bids: list[int]) -> None:
    """One that ends before the first change began is too old; one that holds all of it leaves it out."""
    one = adapter()
    one.digest([depth(10, 20)], at=0)

    out = one.answered(Fetch("/fapi/v1/depth?symbol=BTCUSDT"), snapshot(number), 1)

    assert [item.bid for item in out if isinstance(item, Quote)] == bids


@pytest.mark.parametrize(("source", "books"), [("wss://x/public/stream", 1), ("wss://x/market/stream", 0), ("", 1)])
def test_in_a_replay_a_snapshot_is_told_once(source: str, books: int) -> None:
    """It is offered to the connections of both roots, and belongs to the one that has books."""
    one = load("binanceusdm")(Feed(source=source))

    out = one.answered(Fetch("/fapi/v1/depth?symbol=BTCUSDT"), snapshot(12), 1)

    assert len([item for item in out if isinstance(item, Book)]) == books


def test_numbers_need_not_be_contiguous() -> None:
    """The chain is ``pu``: numbers between two changes belong to other markets, and are not missing."""
    one = adapter()
    one.digest([depth(10, 20)], at=0)
    one.answered(Fetch("/fapi/v1/depth?symbol=BTCUSDT"), snapshot(12), 1)

    out = one.digest([depth(20, 35, bid="2"), depth(36, 50, bid="3")], at=2)

    assert [item.bid_size for item in out if isinstance(item, Quote)] == [Decimal(2)]
    assert [(item.first, item.last) for item in out if isinstance(item, Missed)] == [(36, 36)]
    assert [item.path for item in out if isinstance(item, Fetch)] == ["/fapi/v1/depth?symbol=BTCUSDT&limit=1000"]


@pytest.mark.parametrize("stream", ["btcusdt@depth5@100ms", "btcusdt@depth20", "btcusdt@rpiDepth@500ms"])
def test_the_best_levels_alone_are_no_changes(stream: str) -> None:
    """A capture may hold them: only the name of their stream, or the address of their connection, tells."""
    bare = json.dumps(json.loads(depth(10, 20))["data"]).encode()

    assert adapter().digest([depth(10, 20, stream)], at=0) == []
    assert load("binanceusdm")(Feed(source=f"wss://x/public/ws/{stream}")).digest([bare], at=0) == []
    assert load("binanceusdm")(Feed(source="wss://x/public/ws/btcusdt@depth")).digest([bare], at=0)


@pytest.mark.parametrize("first", ["trade", "aggTrade"])
def test_of_two_kinds_of_trades_a_capture_yields_one(first: str) -> None:
    """Raw and aggregated trades have different ids: those that come first are taken, the others are the same again."""
    rest = '"s":"BTCUSDT","p":"64205.20","q":"0.010","T":1772445600101,"m":false}'
    frames = {"trade": f'{{"e":"trade","t":6500000001,{rest}', "aggTrade": f'{{"e":"aggTrade","a":2900000001,{rest}'}
    order = sorted(frames, key=lambda kind: kind != first)

    out = adapter().digest([frames[kind].encode() for kind in order] * 2, at=0)

    numbers = {item.trade_id for item in out if isinstance(item, Trade)}
    assert numbers == {6500000001 if first == "trade" else 2900000001}
    assert len(out) == 2


def test_a_connection_has_streams_of_one_root() -> None:
    """The wrong root acknowledges and stays silent: quotes and books are public, all else is market."""
    kind = load("binanceusdm")
    subscriptions = wanted(400, *STREAMED)

    connections = kind.connections(subscriptions)

    assert sorted(map(str, subscriptions)) == sorted(str(item) for some in connections for item in some)
    for some in connections:
        assert len(some) <= 1024
        paths = [action.path for action in kind(Feed(some)).begin() if isinstance(action, Connect)]
        root = "/public/" if some[0].channel in (Channel.TICKER, Channel.BOOK) else "/market/"
        assert len(paths) == 1 and paths[0].startswith(root)
        assert ("bookTicker" in paths[0]) is (root == "/public/")


def test_streams_beyond_the_url_are_subscribed_to_by_message() -> None:
    """Every stream is named once, in the URL or in a message, and no message names more than 200."""
    one = adapter(*wanted(350, Channel.TRADES))

    paths = [action.path for action in one.begin() if isinstance(action, Connect)]
    messages = [json.loads(action.text)["params"] for action in one.opened() if isinstance(action, Send)]

    named = paths[0].partition("streams=")[2].split("/") + [name for message in messages for name in message]
    assert sorted(named) == sorted(f"a{number}usdt@aggTrade" for number in range(350))
    assert [len(message) for message in messages] == [200, 50]


@pytest.mark.parametrize(("symbols", "requests"), [(1, 2), (15, 30), (16, 2), (500, 2)])
def test_tickers_are_polled_as_cheaply_as_can_be(symbols: int, requests: int) -> None:
    """One by one while that costs no more than all at once, and never a quarter of what a minute allows."""
    polls = list(adapter(*wanted(symbols, Channel.TICKER)).polls())

    assert len(polls) == requests
    assert sum(fetch.weight * 60 / (fetch.every or 1) for fetch in polls) <= 2400 / 4


@pytest.mark.parametrize("symbols", [1, 100, 600])
def test_open_interest_costs_half_of_what_a_minute_allows_at_the_most(symbols: int) -> None:
    """It is asked for one by one: with many markets, less often."""
    polls = list(adapter(*wanted(symbols, Channel.OPEN_INTEREST), interval=1).polls())

    assert len(polls) == symbols
    assert sum(fetch.weight * 60 / (fetch.every or 1) for fetch in polls) <= 2400 / 2


@pytest.mark.parametrize("symbol", ["BTC/USDT:USDT", "ETH/USDC:USDC", "1000PEPE/USDT:USDT", "ETH/BTC:BTC"])
def test_symbols_are_spelled_both_ways(symbol: str) -> None:
    """By rule, where no instrument list could be had."""
    kind = load("binanceusdm")
    assert kind.unified(kind.native(symbol)) == symbol
    assert kind.unified("BTCUSDT_260327") == "BTCUSDT_260327"


def test_a_hole_is_asked_for_from_its_first_id() -> None:
    """A thousand at the most, by the id alone: it may not be joined with times."""
    fetch = adapter().missing(Hole("BTC/USDT:USDT", "BTCUSDT", 7, 9, since=1, until=2))

    assert fetch == Fetch("/fapi/v1/aggTrades?symbol=BTCUSDT&fromId=7&limit=1000", weight=20)


def spoken(rate: float = 400) -> Dialect:
    """The built-in exchange with one brisk market."""
    dialect = load_dialect("binanceusdm")
    return dialect(Market(symbols=["BTC/USDT:USDT"], rate=rate, lists=dialect.lists))


def told(root: str, stream: str, seconds: int = 3) -> list[dict[str, Any]]:
    """What a stream says below a root."""
    session = spoken().session(f"{root}/ws/{stream}")
    assert session is not None and session.subscribed
    return [json.loads(frame) for frame in session.frames(NOON, NOON + seconds * 1_000_000_000)]


@pytest.mark.parametrize(
    ("stream", "root"),
    [
        ("btcusdt@depth@100ms", "/public"),
        ("btcusdt@depth20@500ms", "/public"),
        ("btcusdt@bookTicker", "/public"),
        ("!bookTicker", "/public"),
        ("btcusdt@trade", "/public"),
        ("btcusdt@aggTrade", "/market"),
        ("btcusdt@markPrice@1s", "/market"),
        ("btcusdt@kline_1m", "/market"),
        ("btcusdt@ticker", "/market"),
        ("btcusdt@miniTicker", "/market"),
        ("!markPrice@arr@1s", "/market"),
        ("!ticker@arr", "/market"),
    ],
)
def test_the_built_in_exchange_keeps_its_roots_apart(stream: str, root: str) -> None:
    """A stream speaks under its own root alone; without a root, the public ones do."""
    heard = {place: bool(told(place, stream)) for place in ("/public", "/market", "")}

    assert heard == {"/public": root == "/public", "/market": root == "/market", "": root == "/public"}


def test_the_built_in_exchange_tells_one_liquidation_a_second() -> None:
    """At most: the latest one."""
    orders = [event["o"]["T"] // 1000 for event in told("/market", "btcusdt@forceOrder", seconds=10)]

    assert orders and len(set(orders)) == len(orders)


def test_the_built_in_exchange_chains_its_books() -> None:
    """``pu`` is the ``u`` before, and ``U`` is not the number after that."""
    changes = told("/public", "btcusdt@depth@100ms")

    assert len(changes) > 20
    assert all(one["u"] == other["pu"] and one["u"] + 1 != other["U"] for one, other in pairwise(changes))


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("depth", {"symbol": "BTCUSDT", "limit": "7"}, -4021),
        ("depth", {}, -1102),
        ("klines", {"symbol": "BTCUSDT", "interval": "1s"}, -1120),
        ("aggTrades", {"symbol": "XXXUSDT"}, -1121),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": "1", "startTime": "1"}, -1128),
        ("historicalTrades", {"symbol": "BTCUSDT"}, -2014),
    ],
)
def test_the_built_in_exchange_refuses_as_the_real_one(path: str, query: dict[str, str], code: int) -> None:
    """With a code of its own, and the weight that was used."""
    answer = spoken().answer(Request("GET", f"/fapi/v1/{path}", query), NOON)

    assert answer.status >= 400 and json.loads(answer.body)["code"] == code
    assert int(answer.headers["x-mbx-used-weight-1m"]) > 0


def test_the_built_in_exchange_limits_weight() -> None:
    """2,400 a minute, and anew with the next."""
    dialect, request = spoken(), Request("GET", "/fapi/v1/ticker/24hr")
    statuses = [dialect.answer(request, NOON).status for _ in range(61)]

    assert statuses == [200] * 60 + [429]
    assert dialect.answer(request, NOON + 60 * 1_000_000_000).status == 200
