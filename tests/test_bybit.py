"""Bybit: two products under one name, and what else the transcript cannot say; the built-in exchange's side of it."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from trioagg.errors import RateLimited
from trioagg.exchanges import (
    BookPlan,
    Connect,
    Exchange,
    Feed,
    Fetch,
    Hole,
    Missed,
    Output,
    Send,
    Subscription,
    load,
)
from trioagg.model import Book, Candle, Channel, OpenInterest, Quarantined, Quote, Ticker, Trade
from trioagg.simulator import Hangup, Request, Session
from trioagg.simulator.dialects.bybit import Dialect
from trioagg.simulator.dialects.bybit.markets import frame as bounds
from trioagg.simulator.market import Market

NOON = 1_772_452_800_000_000_000
SECOND = 1_000_000_000
CANDLE = (
    b'{"topic":"kline.1.BTCUSDT","data":[{"start":1760027400000,"end":1760027459999,"interval":"1","open":"2508.00",'
    b'"close":"2511.11","high":"2512.00","low":"2507.50","volume":"1523.44","confirm":true}],"ts":1760027412889}'
)
QUOTE = (
    b'{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":1760027412978,"data":{"s":"BTCUSDT",'
    b'"b":[["2511.10","3.2"]],"a":[["2511.11","0.75"]],"u":18521288,"seq":7961638724},"cts":1760027412976}'
)
TICKER = '{"topic":"tickers.BTCUSDT","type":"%s","ts":1760027412978,"data":{"symbol":"BTCUSDT",%s}}'  # kind, fields
WHOLE = '"lastPrice":"10","volume24h":"7","bid1Price":"9","bid1Size":"1","ask1Price":"11","ask1Size":"2"'


def trade(number: str) -> bytes:
    """A frame with a trade of that id."""
    deal = f'{{"i":"{number}","T":1760027412865,"p":"121578.5","v":"0.004","S":"Buy"}}'
    return f'{{"topic":"publicTrade.BTCUSDT","ts":1760027412868,"type":"snapshot","data":[{deal}]}}'.encode()


def book(kind: str, number: int, bid: str = "1", *, ask: str = "1", native: str = "BTCUSDT") -> bytes:
    """A frame with what stands at the bid of 9 and the ask of 11."""
    sides = f'"b":[["9","{bid}"]],"a":[["11","{ask}"]]'
    return (
        f'{{"topic":"orderbook.50.{native}","type":"{kind}","ts":1760027412978,'
        f'"data":{{"s":"{native}",{sides},"u":{number},"seq":1}},"cts":1760027412976}}'
    ).encode()


SPOT, LINEAR = trade("2290000000771204411"), trade("20f43950-d8dd-5b31-9112-a178eb6023af")


def adapter(*subscriptions: Subscription) -> Exchange:
    return load("bybit")(Feed(subscriptions))


def replay(*frames: bytes) -> list[Output]:
    return adapter().digest(frames, at=0)


def symbols(items: list[Output]) -> list[str]:
    return [item.symbol for item in items if isinstance(item, Trade | Ticker | Candle)]


def everything(count: int) -> list[Subscription]:
    """Every channel of as many markets of both products, with long names."""
    return [
        Subscription(f"LONGNAME{number}00/USDT{settled}", channel, f"LONGNAME{number}00USDT")
        for number in range(count)
        for settled in ("", ":USDT")
        for channel in Channel
    ]


def test_each_product_has_connections_of_its_own() -> None:
    """Every subscription once, none beside one of the other product, and each connection on the right socket."""
    kind = load("bybit")
    subscriptions = everything(100)

    connections = kind.connections(subscriptions)

    assert sorted(map(str, subscriptions)) == sorted(str(item) for some in connections for item in some)
    for some in connections:
        linear = {":" in item.symbol for item in some}
        paths = [action.path for action in kind(Feed(some)).begin() if isinstance(action, Connect)]
        assert len(linear) == 1 and paths == ["/v5/public/linear" if linear == {True} else "/v5/public/spot"]


def test_a_connection_stays_within_what_it_may_subscribe_to() -> None:
    """At most 21,000 characters of topics, each topic once and in a request of its own."""
    for some in load("bybit").connections(everything(300)):
        requests = [json.loads(action.text) for action in adapter(*some).opened() if isinstance(action, Send)]
        topics = [topic for request in requests for topic in request["args"]]
        assert len(topics) == len(set(topics)) == len(requests) == len({request["req_id"] for request in requests})
        assert sum(map(len, topics)) <= 21_000


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT"])
def test_a_connection_knows_its_product(symbol: str) -> None:
    """Frames that are spelled alike on both sockets are of the market that this one was opened for."""
    both = (Channel.CANDLES, Channel.TRADES)
    one = adapter(*(Subscription(symbol, channel, "BTCUSDT") for channel in both))
    assert symbols(one.digest([CANDLE, SPOT], at=0)) == [symbol, symbol]


@pytest.mark.parametrize(
    ("told", "symbol"),
    [
        (SPOT, "BTC/USDT"),
        (LINEAR, "BTC/USDT:USDT"),
        ((TICKER % ("delta", '"markPrice":"10"')).encode(), "BTC/USDT:USDT"),
        ((TICKER % ("snapshot", '"lastPrice":"10","volume24h":"7"')).encode(), "BTC/USDT"),
        (b'{"success":true,"ret_msg":"","req_id":"linear-1","op":"subscribe"}', "BTC/USDT:USDT"),
        (b'{"success":true,"ret_msg":"subscribe","req_id":"spot-1","op":"subscribe"}', "BTC/USDT"),
    ],
)
def test_a_replay_learns_the_product_from_what_only_one_of_them_sends(told: bytes, symbol: str) -> None:
    """Ids, fields and the names of our own requests tell it; the candles and quotes after them are of the same."""
    assert set(symbols(replay(told, CANDLE, QUOTE))) == {symbol}


def test_what_one_market_tells_of_its_connection_holds_for_the_others() -> None:
    """A connection has one product, so a contract's trade says that the candles of all symbols are of contracts."""
    other = CANDLE.replace(b"BTCUSDT", b"ETHUSDT")
    assert symbols(replay(LINEAR, other)) == ["BTC/USDT:USDT", "ETH/USDT:USDT"]


def test_a_replay_of_both_products_on_one_line_refuses_what_could_be_either() -> None:
    """Trades tell their product themselves; a candle does not, and a wrong name is worse than none."""
    out = replay(SPOT, LINEAR, SPOT, CANDLE)
    assert symbols(out) == ["BTC/USDT", "BTC/USDT:USDT", "BTC/USDT"]
    assert isinstance(out[-1], Quarantined) and "spot or linear" in out[-1].reason


def test_without_any_hint_a_symbol_is_spot_unless_only_contracts_are_spelled_so() -> None:
    """``BTCPERP`` is a contract in USDC; ``BTCUSDT`` alone is taken for what the spelling says first."""
    perpetual = CANDLE.replace(b"BTCUSDT", b"BTCPERP")
    assert symbols(replay(CANDLE)) == ["BTC/USDT"]
    assert symbols(replay(perpetual)) == ["BTC/USDC:USDC"]


def test_inverse_contracts_are_passed_over() -> None:
    """They count in dollars, which nothing here converts."""
    assert replay(LINEAR.replace(b"BTCUSDT", b"BTCUSD")) == []


def test_a_bad_change_leaves_what_was_known() -> None:
    """A garbled change costs that frame alone: the next is merged into what was before it."""
    bad = TICKER % ("delta", '"bid1Price":"8","fundingRate":"0.1","nextFundingTime":"1e39"')
    good = TICKER % ("delta", '"ask1Price":"12"')
    whole, garbled, last = replay(*(text.encode() for text in (TICKER % ("snapshot", WHOLE), bad, good)))
    assert isinstance(garbled, Quarantined)
    assert isinstance(whole, Ticker) and isinstance(last, Ticker)
    assert (last.bid, last.ask, last.ask_size) == (whole.bid, Decimal(12), whole.ask_size)


def test_only_what_was_asked_for_comes_of_a_topic_that_tells_more() -> None:
    """Linear's ticker tells funding and open interest too."""
    one = adapter(Subscription("BTC/USDT:USDT", Channel.OPEN_INTEREST, "BTCUSDT"))
    out = one.digest([(TICKER % ("snapshot", WHOLE + ',"openInterest":"4","fundingRate":"0.1"')).encode()], at=0)
    assert [type(item) for item in out] == [OpenInterest]


def books(*symbols: str) -> Exchange:
    """An adapter of the books of some markets."""
    kind = load("bybit")
    return adapter(*(Subscription(symbol, Channel.BOOK, kind.native(symbol)) for symbol in symbols))


@pytest.mark.parametrize(("levels", "depth"), [(1, 50), (50, 50), (51, 200), (201, 1000), (5000, 1000)])
def test_a_book_is_as_deep_as_it_takes(levels: int, depth: int) -> None:
    """The shallowest topic that holds the levels that are wanted, never the best prices' own."""
    wanted = [Subscription("BTC/USDT", Channel.BOOK, "BTCUSDT")]
    (sent,) = load("bybit")(Feed(wanted, book=BookPlan(levels=levels))).opened()
    assert isinstance(sent, Send) and json.loads(sent.text)["args"] == [f"orderbook.{depth}.BTCUSDT"]


@pytest.mark.parametrize("number", [1, 4, 7])
def test_a_change_that_is_not_the_next_begins_its_topic_anew(number: int) -> None:
    """Forwards or backwards; the other markets of the connection go on, and it asks only once."""
    one = books("BTC/USDT", "ETH/USDT")
    one.digest([book("snapshot", 5), book("snapshot", 8, native="ETHUSDT")], at=0)

    out = one.digest([book("delta", number, "2"), book("delta", number + 1, "3")], at=0)
    other = one.digest([book("delta", 9, "2", native="ETHUSDT")], at=0)

    assert [type(item) for item in out] == [Missed, Send, Send]
    asked = [json.loads(item.text) for item in out if isinstance(item, Send)]
    assert [(request["op"], request["args"]) for request in asked] == [
        ("unsubscribe", ["orderbook.50.BTCUSDT"]),
        ("subscribe", ["orderbook.50.BTCUSDT"]),
    ]
    assert [item.bid_size for item in other if isinstance(item, Quote)] == [Decimal(2)]


def test_a_garbled_change_is_a_missing_one() -> None:
    """Nothing of it is taken, and the change after it shows that."""
    out = books("BTC/USDT").digest([book("snapshot", 5), book("delta", 6, "-1"), book("delta", 7)], at=0)
    kinds = [type(item) for item in out]
    assert kinds == [Quote, Book, Quarantined, Missed, Send, Send]
    assert [(item.first, item.last) for item in out if isinstance(item, Missed)] == [(6, 6)]


def test_a_restarted_service_counts_from_one() -> None:
    """Its snapshot is followed, whatever was held before and whether the book stood or not."""
    out = books("BTC/USDT").digest([book("snapshot", 5), book("snapshot", 1, "2"), book("delta", 2, "3")], at=0)
    assert [item.bid_size for item in out if isinstance(item, Quote)] == [Decimal(1), Decimal(2), Decimal(3)]
    broken = books("BTC/USDT").digest([book("snapshot", 5), book("delta", 9), book("snapshot", 1, "2")], at=0)
    assert isinstance(broken[-1], Book) and broken[-1].bids == ((Decimal(9), Decimal(2)),)


def test_books_of_the_products_keep_apart() -> None:
    """A replay whose address tells the product takes every depth for a market of that one."""
    other = book("snapshot", 5).replace(b"orderbook.50", b"orderbook.200")
    replayed = load("bybit")(Feed(source="wss://stream.bybit.com/v5/public/linear")).digest([other], at=0)
    assert {item.symbol for item in replayed if isinstance(item, Quote | Book)} == {"BTC/USDT:USDT"}


@pytest.mark.parametrize(("symbol", "query"), [("BTC/USDT", "spot"), ("BTC/USDT:USDT", "linear")])
def test_missing_trades_are_looked_for_among_the_newest(symbol: str, query: str) -> None:
    """As many as there are of the symbol's product, although both spell it alike."""
    fetch = adapter().missing(Hole(symbol, "BTCUSDT", None, None, 1, 2))
    assert fetch and fetch.path.startswith(f"/v5/market/recent-trade?category={query}&symbol=BTCUSDT&limit=")


def test_the_time_is_told_to_the_nanosecond() -> None:
    """By the answer to the request that the adapter names."""
    body = b'{"retCode":0,"result":{"timeSecond":"1760027412","timeNano":"1760027412303123456"},"time":1760027412303}'
    assert load("bybit").time(body) == 1760027412303123456


@pytest.mark.parametrize(("code", "wait"), [(10006, 5), (10018, 600), (429, 10)])
def test_a_demand_for_silence_inside_a_good_answer_is_heard(code: int, wait: float) -> None:
    """HTTP 200 with a return code that means: too many requests."""
    body = b'{"retCode":%d,"retMsg":"Too many visits!","result":{},"time":1}' % code
    with pytest.raises(RateLimited) as caught:
        adapter().answered(Fetch("/v5/market/tickers?category=spot"), body, 0)
    assert caught.value.retry_after == wait


def test_the_heartbeat_is_answered_by_nothing_worth_storing() -> None:
    """The client pings every 20 s; either form of the pong is no event."""
    heartbeat = load("bybit").heartbeat
    assert heartbeat is not None and heartbeat.every == 20 and json.loads(heartbeat.text)["op"] == "ping"
    assert replay(b'{"success":true,"ret_msg":"pong","conn_id":"x","op":"ping"}', b'{"op":"pong","args":["1"]}') == []


@pytest.mark.parametrize(
    ("symbol", "native"),
    [("BTC/USDT", "BTCUSDT"), ("BTC/USDT:USDT", "BTCUSDT"), ("BTC/USDC", "BTCUSDC"), ("BTC/USDC:USDC", "BTCPERP")],
)
def test_symbols_are_spelled_by_rule(symbol: str, native: str) -> None:
    """Where no instrument list could be had; a spelling that both products share is read as spot."""
    kind = load("bybit")
    assert kind.native(symbol) == native
    assert kind.unified(native) == (symbol if native == "BTCPERP" else symbol.partition(":")[0])


def far_end() -> Dialect:
    """The built-in exchange."""
    return Dialect(Market(symbols=["BTC/USDT", "BTC/USDT:USDT"], rate=100, lists=Dialect.lists))


def connected(product: str) -> Session:
    """A connection to one of its products."""
    session = far_end().session(f"/v5/public/{product}")
    assert session is not None
    return session


def said(session: Session, *, op: str = "subscribe", args: list[str] | None = None) -> list[dict[str, Any]]:
    """The replies to a request."""
    call = {"op": op, "req_id": "7", **({} if args is None else {"args": args})}
    return [json.loads(frame) for frame in session.received(json.dumps(call), NOON)]


def asked(path: str, **query: str) -> dict[str, Any]:
    """An answer of the built-in exchange's REST."""
    body: dict[str, Any] = json.loads(far_end().answer(Request("GET", f"/v5/market/{path}", query), NOON).body)
    return body


@pytest.mark.parametrize(
    ("product", "args", "reason"),
    [
        ("spot", ["publicTrade.ETHUSDT", "publicTrade.NOPE"], "error:handler not found,topic:publicTrade.NOPE"),
        ("spot", ["allLiquidation.BTCUSDT"], "error:handler not found,topic:allLiquidation.BTCUSDT"),
        ("linear", ["orderbook.500.BTCUSDT"], "error:handler not found,topic:orderbook.500.BTCUSDT"),
        ("linear", ["kline.7.BTCUSDT"], "error:handler not found,topic:kline.7.BTCUSDT"),
        ("linear", ["kline.1.ETHUSDT", "tickers.BTCUSDT"], "error:already subscribed,topic:tickers.BTCUSDT"),
        ("spot", [f"kline.{interval}.ETHUSDT" for interval in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720, "D")], "args"),
    ],
)
def test_one_bad_topic_refuses_the_whole_request(product: str, args: list[str], reason: str) -> None:
    """The good ones beside it are not subscribed to; spot takes ten topics at once."""
    session = connected(product)
    said(session, args=["tickers.BTCUSDT"])
    (reply,) = said(session, args=args)
    assert not reply["success"] and reply["ret_msg"].startswith(reason) and reply["req_id"] == "7"
    topics = {json.loads(frame)["topic"] for frame in session.frames(NOON, NOON + 5 * SECOND)}
    assert topics == {"tickers.BTCUSDT"}


@pytest.mark.parametrize("product", ["spot", "linear"])
def test_a_silent_client_is_hung_up_on(product: str) -> None:
    """After ten minutes; a ping is a word, and is answered."""
    session = connected(product)
    assert [(reply["op"], reply["ret_msg"]) for reply in said(session, op="ping")] == [("ping", "pong")]
    session.frames(NOON + 599 * SECOND, NOON + 600 * SECOND)
    with pytest.raises(Hangup):
        session.frames(NOON + 600 * SECOND, NOON + 601 * SECOND)


def test_a_book_of_the_built_in_exchange_counts_its_messages() -> None:
    """A snapshot on subscribing, each change the next number; a new subscription begins with a snapshot again."""
    session, topic = connected("spot"), "orderbook.50.BTCUSDT"
    told = said(session, args=[topic])[1:]
    told += [json.loads(frame) for frame in session.frames(NOON, NOON + SECOND)]
    numbers = [frame["data"]["u"] for frame in told]
    assert [frame["type"] for frame in told] == ["snapshot"] + ["delta"] * (len(told) - 1)
    assert len(numbers) > 10 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert said(session, op="unsubscribe", args=[topic])[0]["success"]
    assert [frame.get("type") for frame in said(session, args=[topic])] == [None, "snapshot"]


@pytest.mark.parametrize(("product", "symbol"), [("spot", "BTC/USDT"), ("linear", "BTC/USDT:USDT")])
def test_faults_find_the_trade_in_a_frame(product: str, symbol: str) -> None:
    """Its market, by the shape of its id, and its number."""
    session = connected(product)
    said(session, args=["publicTrade.BTCUSDT"])
    found = [Dialect.trade(frame) for frame in session.frames(NOON, NOON + SECOND)]
    numbers = [trade[1] for trade in found if trade and trade[0] == symbol]
    assert len(numbers) > 10 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert far_end().source.before(symbol, NOON) == numbers[0]
    assert Dialect.trade(b'{"topic":"tickers.BTCUSDT"}') is None


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT"])
def test_what_rest_still_has_of_a_hole_comes(symbol: str) -> None:
    """The newest trades of the right product, the earliest first."""
    one, end = adapter(Subscription(symbol, Channel.TRADES, "BTCUSDT")), far_end()
    fetch = one.missing(Hole(symbol, "BTCUSDT", None, None, NOON - 2 * SECOND, NOON - SECOND))
    assert fetch is not None
    query = dict(pair.split("=") for pair in fetch.path.partition("?")[2].split("&"))
    out = one.answered(fetch, end.answer(Request("GET", fetch.path.partition("?")[0], query), NOON).body, NOON)
    times = [item.timestamp or 0 for item in out if isinstance(item, Trade) and item.symbol == symbol]
    assert len(times) == len(out) >= 60 and times == sorted(times) and times[0] < NOON - SECOND < times[-1]


def test_the_built_in_exchange_refuses_as_bybit_does() -> None:
    """Too many visits inside HTTP 200; a ban with HTTP 403; what is asked for wrongly with a code."""
    end = far_end()
    busy, ban = end.refusal(429, None, NOON), end.refusal(403, None, NOON)
    with pytest.raises(RateLimited):
        adapter().answered(Fetch("/v5/market/tickers?category=spot"), busy.body, NOON)
    assert (busy.status, ban.status) == (200, 403) and b"access too frequent" in ban.body
    for wrong in ({}, {"category": "spot", "symbol": "NOPE"}, {"category": "spot", "symbol": "BTCUSDT", "limit": "x"}):
        assert asked("recent-trade", **wrong)["retCode"] == 10001
    assert asked("instruments-info", category="option", baseCoin="BTC")["result"]["list"] == []


def test_contracts_are_listed_page_by_page() -> None:
    """Where a page is too small for all of them; the last one names no other."""
    pages = [asked("instruments-info", category="linear", limit="7")["result"]]
    while (cursor := pages[-1]["nextPageCursor"]) and len(pages) < 20:
        pages.append(asked("instruments-info", category="linear", limit="7", cursor=cursor)["result"])
    names = [row["symbol"] for page in pages for row in page["list"]]
    whole = [row["symbol"] for row in asked("instruments-info", category="linear")["result"]["list"]]
    assert names == whole and len(set(whole)) == len(whole) > 7 and {"BTCUSDT", "BTCPERP"} <= set(whole)


@pytest.mark.parametrize(
    ("interval", "opens", "ends"),
    [
        ("60", "2026-03-02T12:00:00Z", "2026-03-02T13:00:00Z"),
        ("D", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"),
        ("W", "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z"),
        ("M", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"),
    ],
)
def test_candles_lie_in_the_calendar(interval: str, opens: str, ends: str) -> None:
    """Weeks begin on Mondays, months with their first day."""
    stamps = [int(datetime.fromisoformat(word).timestamp()) * SECOND for word in (opens, ends)]
    assert bounds(interval, NOON) == tuple(stamps)
