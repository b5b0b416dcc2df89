"""The built-in exchange in Binance's language: shapes, ids, errors and weights, without a socket."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from trioagg.errors import SettingsError
from trioagg.simulator import Hangup, Request, load
from trioagg.simulator.market import Market
from trioagg.simulator.server import serve

NOW = 1_772_445_600_000_000_000
SECOND = 10**9
MILLI = 10**6


def dialect(rate: float = 400) -> Any:
    """Binance over a market of two busy symbols."""
    return load("binance")(Market(rate=rate, symbols=["BTC/USDT", "ETH/USDT"]))


def get(binance: Any, path: str, now: int = NOW, **query: object) -> Any:
    """The decoded body of a request."""
    asked = Request("GET", f"/api/v3/{path}", {name: str(value) for name, value in query.items()})
    return json.loads(binance.answer(asked, now).body)


def frames(binance: Any, streams: str, start: int = NOW, end: int = NOW + SECOND) -> list[Any]:
    """The decoded payloads of some streams."""
    session = binance.session(f"/stream?streams={streams}")
    return [json.loads(frame)["data"] for frame in session.frames(start, end)]


def ask(session: Any, method: str, *params: object, at: int = NOW) -> Any:
    """The decoded reply to a request over the WebSocket."""
    (reply,) = session.received(json.dumps({"method": method, "params": params, "id": 9}), at)
    return json.loads(reply)


def test_trades_are_spelled_as_binance_does() -> None:
    """Keys, their order and their types are the real ones, to the byte."""
    (frame, *_) = dialect().session("/ws/btcusdt@trade").frames(NOW, NOW + SECOND)
    told = json.loads(frame)
    assert list(told) == ["e", "E", "s", "t", "p", "q", "T", "m", "M"]
    assert all(len(told[figure].partition(".")[2]) == 8 for figure in "pq")
    assert json.dumps(told, separators=(",", ":")).encode() == frame


def test_stream_and_history_tell_the_same_trades() -> None:
    """What a stream says is what REST says for the same ids, and ids have no holes."""
    binance = dialect()
    stream = frames(binance, "btcusdt@trade")
    ids = [trade["t"] for trade in stream]
    assert len(ids) == 100 and ids == list(range(ids[0], ids[0] + len(ids)))
    history = get(binance, "historicalTrades", NOW + SECOND, symbol="BTCUSDT", fromId=ids[0], limit=1000)
    keys = ("id", "price", "qty", "time", "isBuyerMaker")
    assert [tuple(t[k] for k in keys) for t in history] == [(t["t"], t["p"], t["q"], t["T"], t["m"]) for t in stream]
    assert get(binance, "trades", NOW + SECOND, symbol="BTCUSDT", limit=7) == history[-7:]


def test_history_knows_no_future() -> None:
    """Ids that have not happened yet are not there, and a page ends at the limit."""
    binance = dialect()
    last = get(binance, "trades", symbol="BTCUSDT", limit=1)[0]["id"]
    page = get(binance, "historicalTrades", symbol="BTCUSDT", fromId=last - 2, limit=1000)
    assert [trade["id"] for trade in page] == [last - 2, last - 1, last]
    assert get(binance, "historicalTrades", symbol="BTCUSDT", fromId=last + 1) == []
    assert len(get(binance, "historicalTrades", symbol="BTCUSDT", fromId=0, limit=9999)) == 1000


def test_aggregates_by_id_and_by_time() -> None:
    """Aggregates are contiguous, name their trades, and are found by their id and by time, both ends included."""
    binance = dialect()
    stream = frames(binance, "btcusdt@aggTrade")
    assert all(a["a"] + 1 == b["a"] and a["l"] + 1 == b["f"] for a, b in pairwise(stream))
    later = NOW + SECOND
    by_id = get(binance, "aggTrades", later, symbol="BTCUSDT", fromId=stream[3]["a"], limit=2)
    assert [row["a"] for row in by_id] == [stream[3]["a"], stream[4]["a"]] != [stream[3]["f"], stream[4]["f"]]
    times = {"startTime": stream[2]["T"], "endTime": stream[5]["T"]}
    by_time = get(binance, "aggTrades", later, symbol="BTCUSDT", **times)
    assert [row["a"] for row in by_time] == [row["a"] for row in stream[2:6]]


def test_klines_agree_with_trades_and_stream() -> None:
    """A closed candle of the stream is the row of REST, and both are what the trades make."""
    binance, minute = dialect(), 60 * SECOND
    start = NOW // minute * minute
    closed = [e["k"] for e in frames(binance, "btcusdt@kline_1m", start + 1, start + minute + 1) if e["k"]["x"]]
    (candle,) = closed
    row = get(binance, "klines", start + 2 * minute, symbol="BTCUSDT", interval="1m", startTime=start // MILLI, limit=1)
    assert row[0][:6] == [candle["t"], candle["o"], candle["h"], candle["l"], candle["c"], candle["v"]]
    prices = [float(trade["p"]) for trade in frames(binance, "btcusdt@trade", start, start + minute)]
    opened, high, low, close = (float(candle[key]) for key in "ohlc")
    assert (opened, high, low, close) == (prices[0], max(prices), min(prices), prices[-1])
    assert len(prices) == candle["n"] == candle["L"] - candle["f"] + 1


@pytest.mark.parametrize("interval", ["1s", "1m", "1h", "1w", "1M"])
def test_klines_follow_each_other(interval: str) -> None:
    """Rows are oldest first, each begins where the one before ended, the last one is still open."""
    rows = get(dialect(), "klines", symbol="ETHUSDT", interval=interval, limit=20)
    assert len(rows) == 20 and all(a[6] + 1 == b[0] for a, b in pairwise(rows))
    assert rows[-1][0] <= NOW // MILLI <= rows[-1][6] + 1


def test_book_from_snapshot_and_diffs() -> None:
    """The documented procedure for a local book works: a snapshot, then diffs whose ids join."""
    binance = dialect()
    snapshot = get(binance, "depth", NOW + SECOND // 3, symbol="BTCUSDT", limit=5000)
    diffs = [d for d in frames(binance, "btcusdt@depth@100ms") if d["u"] > snapshot["lastUpdateId"]]
    assert diffs[0]["U"] <= snapshot["lastUpdateId"] + 1 <= diffs[0]["u"]
    assert all(a["u"] + 1 == b["U"] for a, b in pairwise(diffs))
    book = {side: dict(snapshot[name]) for side, name in (("b", "bids"), ("a", "asks"))}
    for diff in diffs:
        for side, levels in book.items():
            levels.update(diff[side])
    at = diffs[-1]["E"] * MILLI
    final = get(binance, "depth", at, symbol="BTCUSDT", limit=5000)
    assert final["lastUpdateId"] == diffs[-1]["u"]
    assert {p: q for p, q in book["b"].items() if float(q)} == dict(final["bids"])
    assert {p: q for p, q in book["a"].items() if float(q)} == dict(final["asks"])
    (partial,) = frames(binance, "btcusdt@depth5@100ms", at, at + 1)
    assert partial["bids"] == final["bids"][:5] and partial["lastUpdateId"] == final["lastUpdateId"]


def test_tickers_one_some_all_and_small() -> None:
    """A symbol gives an object, a list or nothing an array; MINI has fewer fields."""
    binance = dialect()
    one = get(binance, "ticker/24hr", symbol="BTCUSDT")
    some = get(binance, "ticker/24hr", symbols='["BTCUSDT","ETHUSDT"]')
    assert some[0] == one and [row["symbol"] for row in some] == ["BTCUSDT", "ETHUSDT"]
    assert len(get(binance, "ticker/24hr")) >= 60
    mini = get(binance, "ticker/24hr", symbol="BTCUSDT", type="MINI")
    assert mini == {key: value for key, value in one.items() if key in mini} and "bidPrice" not in mini
    best = get(binance, "ticker/bookTicker", symbol="BTCUSDT")
    assert best["bidPrice"] == one["bidPrice"] and float(best["bidPrice"]) < float(best["askPrice"])
    assert get(binance, "ticker/price", symbol="BTCUSDT")["price"] == one["lastPrice"]
    (stream,) = frames(binance, "btcusdt@ticker", NOW, NOW + 1)
    assert (stream["c"], stream["v"], stream["L"]) == (one["lastPrice"], one["volume"], one["lastId"])


def test_instruments_have_their_steps() -> None:
    """The list names assets and steps of each market, by filter; figures keep to them."""
    (info,) = get(dialect(), "exchangeInfo", symbol="BTCUSDT")["symbols"]
    filters = {row["filterType"]: row for row in info["filters"]}
    assert (info["baseAsset"], info["quoteAsset"], info["status"]) == ("BTC", "USDT", "TRADING")
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000" and filters["LOT_SIZE"]["stepSize"] == "0.00001000"
    assert [row["symbol"] for row in get(dialect(), "exchangeInfo", symbols='["ETHUSDT"]')["symbols"]] == ["ETHUSDT"]


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("trades", {"symbol": "NOPEUSDT"}, -1121),
        ("trades", {}, -1102),
        ("trades", {"symbol": "btcusdt"}, -1100),
        ("trades", {"symbol": "BTCUSDT", "limit": "x"}, -1100),
        ("ticker/24hr", {"symbols": '["BTCUSDT","NOPE"]'}, -1121),
        ("ticker/24hr", {"symbols": "BTCUSDT"}, -1100),
        ("exchangeInfo", {"symbol": "NOPE"}, -1121),
        ("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
    ],
)
def test_mistakes_get_binances_codes(path: str, query: dict[str, str], code: int) -> None:
    """A wrong request is a 400 with a code and a sentence."""
    answer = dialect().answer(Request("GET", f"/api/v3/{path}", query), NOW)
    assert answer.status == 400 and json.loads(answer.body)["code"] == code


def test_unknown_paths_are_not_found() -> None:
    """What Binance does not serve is a 404."""
    assert dialect().answer(Request("GET", "/api/v3/nope"), NOW).status == 404
    assert dialect().answer(Request("POST", "/api/v3/ping"), NOW).status == 404


def test_weights_add_up_within_the_minute() -> None:
    """The header counts true weights, drops to zero at the minute, and over 6000 comes a 429 until then."""
    binance, minute = dialect(), NOW // (60 * SECOND) * 60 * SECOND

    def used(path: str, now: int, **query: str) -> str:
        return str(binance.answer(Request("GET", f"/api/v3/{path}", query), now).headers["x-mbx-used-weight-1m"])

    assert used("ping", minute) == "1"
    assert used("ticker/24hr", minute) == "81"
    assert used("depth", minute, symbol="BTCUSDT", limit="5000") == "331"
    assert used("historicalTrades", minute, symbol="BTCUSDT", limit="1") == "356"
    assert used("ping", minute + 60 * SECOND) == "1"
    for _ in range(23):
        used("depth", minute + 61 * SECOND, symbol="BTCUSDT", limit="5000")
    assert used("depth", minute + 62 * SECOND, symbol="BTCUSDT", limit="1000") == "5801"
    answer = binance.answer(Request("GET", "/api/v3/depth", {"limit": "5000"}), minute + 110 * SECOND)
    assert answer.status == 429 and answer.headers["Retry-After"] == "10"
    assert json.loads(answer.body)["code"] == -1003


def test_subscribing_and_its_replies() -> None:
    """Subscriptions are acknowledged, listed and taken back; the form of frames can be changed."""
    session = dialect().session("/stream")
    assert not session.subscribed
    assert ask(session, "SUBSCRIBE", "btcusdt@trade", "ethusdt@bookTicker") == {"result": None, "id": 9}
    assert ask(session, "LIST_SUBSCRIPTIONS")["result"] == ["btcusdt@trade", "ethusdt@bookTicker"]
    assert {json.loads(f)["stream"] for f in session.frames(NOW, NOW + SECOND)} == {
        "btcusdt@trade",
        "ethusdt@bookTicker",
    }
    assert ask(session, "UNSUBSCRIBE", "btcusdt@trade")["result"] is None
    assert ask(session, "SET_PROPERTY", "combined", False)["result"] is None  # noqa: FBT003  the protocol's own
    (first, *_) = session.frames(NOW, NOW + SECOND)
    assert list(json.loads(first)) == ["u", "s", "b", "B", "a", "A"]


@pytest.mark.parametrize("text", ['{"method":"SUBSCRIBE","params":["btcusdt"],"id":1}', "nonsense", '{"id":3}', "[]"])
def test_bad_messages_get_an_error(text: str) -> None:
    """What cannot be read is answered with a code, and the session goes on."""
    session = dialect().session("/ws")
    (reply,) = session.received(text, NOW)
    assert json.loads(reply)["code"] in (2, 3) and ask(session, "LIST_SUBSCRIPTIONS")["result"] == []


def test_unknown_symbols_are_acknowledged_and_silent() -> None:
    """As at the real one: a symbol that does not exist, or in capitals, never says anything."""
    session = dialect().session("/stream")
    assert ask(session, "SUBSCRIBE", "nopeusdt@trade", "BTCUSDT@trade") == {"result": None, "id": 9}
    assert session.subscribed and session.frames(NOW, NOW + SECOND) == []


def test_too_many_messages_end_the_connection() -> None:
    """Five a second are well, a sixth is not."""
    session = dialect().session("/ws")
    for turn in range(5):
        ask(session, "LIST_SUBSCRIPTIONS", at=NOW + turn)
    with pytest.raises(Hangup):
        ask(session, "LIST_SUBSCRIPTIONS", at=NOW + 5)


def test_paths() -> None:
    """Streams may stand in the path or the query; other paths are none."""
    binance = dialect()
    assert len(binance.session("/ws/btcusdt@trade/ethusdt@trade").frames(NOW, NOW + SECOND)) == 200
    assert len(binance.session("/stream?streams=btcusdt@trade").frames(NOW, NOW + SECOND)) == 100
    assert binance.session("/nope") is None


async def test_only_spot_symbols() -> None:
    """A perpetual is refused in one line that names it."""
    assert load("binance").lists("BTC/USDT") and not load("binance").lists("BTC/USDT:USDT")
    with pytest.raises(SettingsError, match="BTC/USDT:USDT"):
        await serve(symbols=["BTC/USDT:USDT"])
    with pytest.raises(SettingsError, match=r"'binanse'.*binance"):
        load("binanse")
