"""What the transcript of Hyperliquid cannot say: answers known by their shape, lists, limits, replays, the far end."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from trioagg.errors import WireError
from trioagg.exchanges import (
    Action,
    BookPlan,
    Connect,
    Exchange,
    Feed,
    Fetch,
    Hole,
    Output,
    Refused,
    Send,
    Subscription,
)
from trioagg.exchanges.hyperliquid import Adapter
from trioagg.model import Book, Candle, Channel, Delta, Funding, Quarantined, Quote, Ticker, Trade
from trioagg.simulator import Hangup, Request
from trioagg.simulator.dialects.hyperliquid import Dialect
from trioagg.simulator.dialects.hyperliquid.stream import HyperliquidSession
from trioagg.simulator.market import Market

INFO = Fetch("/info")
META = b'{"universe":[{"name":"BTC","szDecimals":5},{"name":"kPEPE","szDecimals":0}]}'
DEAL = {"coin": "BTC", "side": "B", "px": "10.0", "sz": "2", "time": 1772445600193, "tid": 7}
BAR = {"t": 60_000, "T": 119_999, "s": "BTC", "i": "1m", "o": "1", "c": "2", "h": "3", "l": "1", "v": "0", "n": 0}
TRADES, TICKER = Channel.TRADES, Channel.TICKER
SECOND = 1_000_000_000
NOON = 1_772_452_800 * SECOND


def spots(*pairs: tuple[str, str, str]) -> bytes:
    """A list of spot markets: (native, base, quote)."""
    names = list(dict.fromkeys(name for pair in pairs for name in pair[1:]))
    tokens = [{"name": name, "index": 10 * number, "szDecimals": 2} for number, name in enumerate(names)]
    universe = [{"name": pair[0], "tokens": [10 * names.index(name) for name in pair[1:]]} for pair in pairs]
    return json.dumps({"universe": universe, "tokens": tokens}).encode()


def push(channel: str, data: object) -> bytes:
    return json.dumps({"channel": channel, "data": data}).encode()


def adapter(*wanted: tuple[str, Channel]) -> Exchange:
    """One that collects these; without any, all that comes."""
    return Adapter(Feed([Subscription(symbol, channel, Adapter.native(symbol)) for symbol, channel in wanted]))


def told(body: object, at: int = 0) -> list[Output]:
    """What an answer of REST means."""
    return adapter().answered(INFO, json.dumps(body).encode(), at)


def sent(actions: list[Action]) -> list[tuple[str, str]]:
    """What is subscribed to."""
    texts = [json.loads(action.text)["subscription"] for action in actions if isinstance(action, Send)]
    return [(text["type"], text["coin"]) for text in texts]


def test_an_answer_is_known_by_its_shape() -> None:
    """All come from one path: trades, candles and funding are told apart by their fields."""
    (trade,) = told([DEAL])
    (candle,) = told([BAR], at=119_999_000_001)
    (funding,) = told([{"coin": "BTC", "fundingRate": "-0.0000125", "premium": "0.0", "time": 1772445600039}])
    assert isinstance(trade, Trade) and (trade.trade_id, trade.symbol) == ("7", "BTC/USDC:USDC")
    assert isinstance(candle, Candle) and (candle.open_time, candle.closed) == (60_000_000_000, True)
    assert isinstance(funding, Funding) and funding.rate == Decimal("-0.0000125")
    assert funding.timestamp == 1772445600039000000


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"BTC": "121143.5"},
        {"coin": "BTC", "time": 1, "levels": [[], []]},
        [{"universe": []}, []],
        [None, {"name": "xyz"}],
        [["BTC", [["HlPerp", {"fundingRate": "0.0"}]]]],
    ],
)
def test_answers_that_are_not_collected_are_passed_over(body: object) -> None:
    """An empty list, mids, a book, states of markets, the builders, forecasts."""
    assert told(body) == []


@pytest.mark.parametrize("body", ["null", " null\n", "Failed to deserialize the JSON body into the target type", ""])
def test_an_answer_without_meaning_is_quarantined(body: str) -> None:
    """An unknown coin is answered with ``null`` and status 200."""
    (item,) = adapter().answered(INFO, body.encode(), 0)
    assert isinstance(item, Quarantined) and item.payload == body.encode()


@pytest.mark.parametrize("body", [b"[]", b'{"BTC":"1"}', b"null", json.dumps([DEAL]).encode()])
def test_only_a_list_is_a_list(body: bytes) -> None:
    """Anything else from the same path is refused."""
    with pytest.raises(WireError):
        Adapter.instruments(INFO, body)


def test_the_list_is_asked_for_where_it_is_lacking() -> None:
    """An unknown coin would close the socket; with the list at hand the connection is opened at once."""
    first, second, last = adapter(("BTC/USDC:USDC", TRADES)).begin()
    listed = Adapter.instruments(INFO, META)
    known = Adapter(Feed([Subscription("BTC/USDC:USDC", TRADES, "BTC")], listed))
    bodies = [json.loads(action.body or "") for action in (first, second) if isinstance(action, Fetch)]
    assert bodies == [{"type": "meta"}, {"type": "spotMeta"}]
    assert list(known.begin()) == [last] == [Connect("/ws")]


def test_coins_are_spelled_as_the_list_says() -> None:
    """What was spelled by rule until it came is spelled right from then on; what it lacks is never subscribed to."""
    wanted = [("KPEPE/USDC:USDC", TRADES), ("HYPE/USDC", TRADES), ("NOPE/USDC:USDC", TRADES)]
    one = adapter(*wanted)
    for body in (META, spots(("@107", "HYPE", "USDC"))):
        assert one.answered(INFO, body, 0) == []
    actions = list(one.opened())
    assert sent(actions) == [("trades", "kPEPE"), ("trades", "@107")]
    assert actions[2:] == [Refused("there is no market 'NOPE'")]
    (trade,) = one.digest([push("trades", [{**DEAL, "coin": "@107"}])], 0)
    assert isinstance(trade, Trade) and trade.symbol == "HYPE/USDC"


def test_bridged_tokens_have_the_name_of_their_asset() -> None:
    """Unless a token of that name is there already; of two markets of one name the first counts."""
    bridged = Adapter.instruments(INFO, spots(("@142", "UBTC", "USDC"), ("@166", "UBTC", "USDT0")))
    both = Adapter.instruments(INFO, spots(("@1", "UETH", "USDC"), ("@2", "ETH", "USDC"), ("@3", "eth", "USDC")))
    assert [(item.symbol, item.native) for item in bridged] == [("BTC/USDC", "@142"), ("BTC/USDT", "@166")]
    assert [(item.symbol, item.native) for item in both] == [("UETH/USDC", "@1"), ("ETH/USDC", "@2")]


def test_a_connection_stays_within_its_subscriptions() -> None:
    """At most 1,000, each once, whatever the channels."""
    every = [channel for channel in Channel if channel in Adapter.streamed]
    wanted = [Subscription(f"C{number}/USDC:USDC", channel, f"C{number}") for number in range(300) for channel in every]
    for channels in (every, [TICKER]):
        some = [item for item in wanted if item.channel in channels]
        asked = [sent(list(Adapter(Feed(part)).opened())) for part in Adapter.connections(some)]
        assert all(len(set(part)) == len(part) <= 1000 for part in asked)
        assert {coin for part in asked for _, coin in part} == {item.native for item in some}


def test_what_only_contracts_have_is_not_asked_of_spot() -> None:
    """No connection is opened for it."""
    wanted = [Subscription("PURR/USDC", channel, "PURR/USDC") for channel in Adapter.streamed]
    (some,) = Adapter.connections(wanted)
    assert {item.channel for item in some} == {TRADES, TICKER, Channel.BOOK, Channel.CANDLES}


def test_a_ticker_alone_brings_neither_funding_nor_open_interest() -> None:
    """Though the day's volume comes with them; a stale volume is left out."""
    one, late = adapter(("BTC/USDC:USDC", TICKER)), 301_000_000_000
    state = push("activeAssetCtx", {"coin": "BTC", "ctx": {"dayBaseVlm": "5", "funding": "0", "openInterest": "1"}})
    quote = push("bbo", {"coin": "BTC", "time": 1, "bbo": [None, None]})
    out = [item for at in (0, late) for item in one.digest([state, quote] if not at else [quote], at)]
    assert [item.volume for item in out if isinstance(item, Ticker)] == [Decimal(5), None]
    assert len(out) == 2


def test_a_new_subscription_closes_no_candle() -> None:
    """In a replay of two connections the last candle of the first was not seen to its end."""
    heard = {"method": "subscribe", "subscription": {"type": "candle", "coin": "BTC", "interval": "1m"}}
    frames = [push("candle", BAR), push("subscriptionResponse", heard), push("candle", {**BAR, "t": 180_000})]
    assert [item.closed for item in adapter().digest(frames, 0) if isinstance(item, Candle)] == [False, False]


def test_the_connection_is_kept_alive() -> None:
    """Well within the minute of silence after which the server closes."""
    heartbeat = Adapter.heartbeat
    assert heartbeat is not None
    assert heartbeat.every < 50 and json.loads(heartbeat.text) == {"method": "ping"}
    assert adapter().digest([b'{"channel":"pong"}'], 0) == []


@pytest.mark.parametrize(
    ("symbol", "native"),
    [("BTC/USDC:USDC", "BTC"), ("KPEPE/USDC:USDC", "kPEPE"), ("KAS/USDC:USDC", "KAS"), ("PURR/USDC", "PURR/USDC")],
)
def test_symbols_are_spelled_by_rule(symbol: str, native: str) -> None:
    """Both ways, where no instrument list could be had."""
    assert Adapter.native(symbol) == native
    assert Adapter.unified(native) == symbol


@pytest.mark.parametrize("native", ["@107", "xyz:TSLA", "#12090"])
def test_what_no_rule_spells_keeps_its_name(native: str) -> None:
    """Spot markets by number, other builders' markets, outcomes."""
    (trade,) = adapter().digest([push("trades", [{**DEAL, "coin": native}])], 0)
    assert isinstance(trade, Trade) and trade.symbol == native


def depth(bids: str, asks: str = "9:1", time: int = 1) -> bytes:
    """A book, its levels as ``price:size``."""
    sides = [
        [dict(zip(("px", "sz"), place.split(":"), strict=True)) for place in side.split()] for side in (bids, asks)
    ]
    return push("l2Book", {"coin": "BTC", "time": time, "levels": sides})


def booked(*frames: bytes, kept: str = "snapshots best", every: int = SECOND // 4) -> list[Output]:
    """What frames of a book mean that come one after the other."""
    plan = BookPlan(kept=frozenset(kept.split()))  # type: ignore[arg-type]
    one = Adapter(Feed([Subscription("BTC/USDC:USDC", Channel.BOOK, "BTC")], book=plan))
    return [item for number, frame in enumerate(frames) for item in one.digest([frame], number * every)]


def test_a_book_that_comes_again_is_not_told_again() -> None:
    """The best prices are told when they are others, the whole once a period; a level that it lacks is gone."""
    out = booked(depth("5:1 4:1"), depth("5:1 4:1"), depth("5:1 3:1"), depth("4.5:2"), depth("4.5:2 4:1", "9:1 10:3"))
    assert [type(item) for item in out] == [Quote, Book, Quote, Book]
    last = out[-1]
    assert isinstance(last, Book)
    assert [[str(price) for price, _ in side] for side in (last.bids, last.asks)] == [["4.5", "4"], ["9", "10"]]


def test_raw_changes_of_a_book_are_its_differences() -> None:
    """The first is whole; later ones hold what went, at 0, and what is new."""
    out = booked(depth("5:1 4:1"), depth("4:2 3:1"), kept="deltas")
    changes = [(item.whole, [f"{p}:{a}" for p, a in item.bids]) for item in out if isinstance(item, Delta)]
    assert changes == [(True, ["5:1", "4:1"]), (False, ["5:0", "4:2", "3:1"])]


def test_a_garbled_book_changes_nothing() -> None:
    """What stands is what the one before said, also where a number is one that cannot be compared."""
    out = booked(depth("5:1"), depth("6:1 5:sNaN"), depth("6:1 0:1"), depth("5:1"))
    assert [type(item) for item in out] == [Quote, Book, Quarantined, Quarantined]


@pytest.mark.parametrize(("levels", "word"), [(5, '"fast":true'), (6, ""), (100, "")])
def test_few_levels_are_subscribed_to_fast(levels: int, word: str) -> None:
    """Five of a side come more often; more than twenty are not to be had."""
    wanted = [Subscription("BTC/USDC:USDC", Channel.BOOK, "BTC")]
    (action,) = Adapter(Feed(wanted, book=BookPlan(levels=levels))).opened()
    assert isinstance(action, Send) and ("fast" in action.text) is bool(word) and word in action.text


def test_the_exchange_tells_its_time_and_no_history() -> None:
    """The newest trades alone can be asked for, and more of them come by themselves."""
    assert Adapter.time(b'{"time":1760027473903,"specialStatuses":null}') == 1760027473903000000
    assert adapter().missing(Hole("BTC/USDC:USDC", "BTC", None, None, 0, 1)) is None


def far_end(*symbols: str) -> Dialect:
    """The built-in exchange."""
    return Dialect(Market(symbols=symbols or ("BTC/USDC:USDC",), lists=Dialect.lists))


def asked(body: object, dialect: Dialect | None = None) -> tuple[int, Any]:
    """The status and the JSON that it answers; text where it is none."""
    posted = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = (dialect or far_end()).answer(Request("POST", "/info", body=posted), NOON)
    return answer.status, answer.body.decode() if "Content-Type" in answer.headers else json.loads(answer.body)


def talking(*symbols: str) -> HyperliquidSession:
    """A connection to it."""
    session = far_end(*symbols).session("/ws")
    assert session is not None
    return session


def said(session: HyperliquidSession, **message: object) -> list[Any]:
    """Its replies."""
    return [json.loads(frame) for frame in session.received(json.dumps(message), NOON)]


def subscribed(session: HyperliquidSession, **what: object) -> list[Any]:
    """Its replies to a subscription."""
    return said(session, method="subscribe", subscription=what)


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"type": "l2Book", "coin": "btc"}, 200, None),
        ({"type": "fundingHistory", "coin": "NOPE", "startTime": 0}, 500, None),
        ({"type": "meta", "dex": "nope"}, 500, None),
        ({"type": "weather"}, 422, "Failed to deserialize the JSON body into the target type"),
        ({"type": "l2Book"}, 422, "Failed to deserialize the JSON body into the target type"),
        (b"{", 400, "Failed to parse the request body as JSON"),
        ({"type": "exchangeStatus"}, 200, {"time": NOON // 10**6, "specialStatuses": None}),
        ({"type": "perpDexs"}, 200, [None]),
    ],
)
def test_the_far_end_refuses_as_the_exchange_does(body: object, status: int, told: object) -> None:
    """By status, ``null`` or plain text."""
    assert asked(body) == (status, told)


def test_the_far_end_takes_nothing_but_posted_json() -> None:
    """Other methods, types and paths are refused."""
    requests = [
        Request("GET", "/info"),
        Request("POST", "/info", headers={"content-type": "text/plain"}, body=b'{"type":"meta"}'),
        Request("POST", "/other"),
    ]
    assert [far_end().answer(request, NOON).status for request in requests] == [405, 415, 404]


def test_the_far_end_spells_markets_as_the_exchange_does() -> None:
    """Thousands, numbers and bridged tokens, which the adapter reads back."""
    dialect = far_end("KPEPE/USDC:USDC", "BTC/USDT", "PURR/USDC")
    lists = [dialect.answer(Request("POST", "/info", body=(f.body or "").encode()), NOON) for f in Adapter.listing()]
    found = {item.symbol: item.native for answer in lists for item in Adapter.instruments(INFO, answer.body)}
    assert found["KPEPE/USDC:USDC"] == "kPEPE" and found["BTC/USDC:USDC"] == "BTC"
    assert found["BTC/USDT"] == "@166" and found["PURR/USDC"] == "PURR/USDC" and set(found) == set(dialect.source.pairs)


def test_states_lie_where_their_markets_do() -> None:
    """Those of contracts by place, those of spot by name; mids of both by name."""
    dialect = far_end()
    (_, (meta, states)), (_, (spot, others)), (_, mids) = (
        asked({"type": kind}, dialect) for kind in ("metaAndAssetCtxs", "spotMetaAndAssetCtxs", "allMids")
    )
    names = [row["name"] for row in meta["universe"]]
    assert states[names.index("BTC")]["midPx"] == mids["BTC"] != mids["ETH"] == states[names.index("ETH")]["midPx"]
    assert {row["coin"]: row["midPx"] for row in others} == {row["name"]: mids[row["name"]] for row in spot["universe"]}


def test_history_is_told_by_stretches() -> None:
    """Candles and funding of what was asked for, oldest first; the adapter understands them."""
    start, end = NOON // 10**6 - 3_600_000, NOON // 10**6 - 1
    request = {"coin": "BTC", "interval": "15m", "startTime": start, "endTime": end}
    _, bars = asked({"type": "candleSnapshot", "req": request})
    _, paid = asked({"type": "fundingHistory", "coin": "BTC", "startTime": start - 7_200_000, "endTime": end})
    assert [bar["t"] for bar in bars] == [start + n * 900_000 for n in range(4)]
    assert [row["time"] - start for row in paid] == [39 - 7_200_000, 39 - 3_600_000, 39]
    assert all(isinstance(item, Candle) and item.closed for item in told(bars, NOON))
    assert all(isinstance(item, Funding) for item in told(paid, NOON))
    assert len(told(asked({"type": "recentTrades", "coin": "BTC"})[1])) == 10


def test_an_acknowledgement_fills_in_what_was_not_asked_for() -> None:
    """And the same subscription again, its end and its second end are answered each in their way."""
    session = talking()
    heard, first = subscribed(session, type="l2Book", coin="BTC")
    full = {"type": "l2Book", "coin": "BTC", "nSigFigs": None, "mantissa": None, "fast": False}
    assert heard == {"channel": "subscriptionResponse", "data": {"method": "subscribe", "subscription": full}}
    assert [len(side) for side in first["data"]["levels"]] == [20, 20] and session.subscribed
    again = subscribed(session, **full)
    ends = [said(session, method="unsubscribe", subscription=full)[0] for _ in range(2)]
    assert again[0]["data"].startswith("Already subscribed: {") and ends[0]["channel"] == "subscriptionResponse"
    assert ends[1]["data"].startswith("Already unsubscribed: {") and not session.subscribed


def test_a_fast_book_has_five_levels_and_a_rough_one_fewer_prices() -> None:
    """Bids are rounded down and asks up; the spread is told with them."""
    fast = subscribed(talking(), type="l2Book", coin="BTC", fast=True)[1]["data"]
    rough = subscribed(talking(), type="l2Book", coin="BTC", nSigFigs=4)[1]["data"]
    assert fast["fast"] and [len(side) for side in fast["levels"]] == [5, 5]
    bid, ask = (Decimal(rough["levels"][side][0]["px"]) for side in (0, 1))
    assert bid % 10 == ask % 10 == 0 and Decimal(rough["spread"]) == ask - bid
    assert bid <= Decimal(fast["levels"][0][0]["px"]) < Decimal(fast["levels"][1][0]["px"]) <= ask


@pytest.mark.parametrize(
    "what",
    [
        {"type": "trades", "coin": "btc"},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": 7},
        {"type": "candle", "coin": "BTC", "interval": "7m"},
    ],
)
def test_what_is_not_there_ends_the_connection(what: dict[str, object]) -> None:
    """Without a word."""
    with pytest.raises(Hangup) as hangup:
        subscribed(talking(), **what)
    assert not str(hangup.value)


@pytest.mark.parametrize(
    "message", ["nonsense", '{"method":"subscribe","subscription":{"type":"trades","coin":["BTC"]}}']
)
def test_what_the_far_end_does_not_understand_it_says(message: str) -> None:
    """With the message."""
    (frame,) = talking().received(message, NOON)
    (refused,) = adapter().digest([frame], NOON)
    assert refused == Refused(f"Error parsing JSON into valid websocket request: {message}")


def test_the_far_end_closes_after_a_minute_of_its_own_silence() -> None:
    """A ping makes it speak, and so does a stream."""
    quiet, pinging, busy = talking(), talking(), talking()
    subscribed(busy, type="bbo", coin="BTC")
    for session in (quiet, pinging, busy):
        session.frames(NOON, NOON + 50 * SECOND)
    assert pinging.received('{"method":"ping"}', NOON + 50 * SECOND) == [b'{"channel":"pong"}']
    assert pinging.frames(NOON + 50 * SECOND, NOON + 70 * SECOND) == []
    assert busy.frames(NOON + 50 * SECOND, NOON + 70 * SECOND)
    quiet.frames(NOON + 50 * SECOND, NOON + 60 * SECOND)
    with pytest.raises(Hangup):
        quiet.frames(NOON + 60 * SECOND, NOON + 61 * SECOND)


def test_the_newest_trades_come_again_on_subscribing() -> None:
    """Thirty, under numbers without an order; new ones follow one a frame."""
    session = talking()
    _, backlog = subscribed(session, type="trades", coin="BTC")
    tids = [row["tid"] for row in backlog["data"]]
    new = session.frames(NOON, NOON + SECOND)
    assert len(set(tids)) == 30 and tids not in (sorted(tids), sorted(tids)[::-1]) and max(tids) < 2**50
    assert [Dialect.trade(frame) for frame in new] == [("BTC", json.loads(f)["data"][0]["tid"]) for f in new]
    assert Dialect.trade(b'{"channel":"bbo","data":{"coin":"BTC"}}') is None


def test_the_connection_answers_requests_too() -> None:
    """Under the number that the client gave."""
    request = {"type": "info", "payload": {"type": "l2Book", "coin": "BTC"}}
    (post,) = said(talking(), method="post", id=7, request=request)
    payload = post["data"]["response"]["payload"]
    assert (post["channel"], post["data"]["id"], payload["type"]) == ("post", 7, "l2Book")
    assert payload["data"] == asked(request["payload"])[1]
