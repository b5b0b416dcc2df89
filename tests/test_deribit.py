"""What the transcript of Deribit cannot say: replays, many subscriptions, haste, chains; and its twin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from trioagg import simulator
from trioagg.errors import RateLimited
from trioagg.exchanges import Ack, Exchange, Feed, Fetch, Hole, Missed, Output, Refused, Send, Subscription
from trioagg.exchanges.deribit import Adapter
from trioagg.model import Candle, Channel, Funding, Liquidation, OpenInterest, Quote, Ticker, Trade
from trioagg.simulator import Request
from trioagg.simulator.market import Market

TICKER = {
    "timestamp": 1772445601086,
    "instrument_name": "BTC-PERPETUAL",
    "last_price": 10,
    "best_bid_price": 9,
    "best_bid_amount": 1,
    "best_ask_price": 11,
    "best_ask_amount": 2,
    "mark_price": 10,
    "index_price": 10,
    "open_interest": 500,
    "current_funding": 0.25,
    "stats": {"volume": 7},
}
QUOTE = {
    key: value for key, value in TICKER.items() if key.startswith("best") or key in ("timestamp", "instrument_name")
}
DEAL = {"trade_seq": 5, "timestamp": 1, "price": 10, "amount": 20, "direction": "buy"}


def push(channel: str, data: object) -> bytes:
    """A notification."""
    return json.dumps({"method": "subscription", "params": {"channel": channel, "data": data}}).encode()


def deal(native: str, **more: object) -> bytes:
    """A notification of one trade."""
    return push(f"trades.{native}.100ms", [{**DEAL, "instrument_name": native, **more}])


def candle(minute: int) -> bytes:
    """A notification of the candle of a minute."""
    prices = dict.fromkeys(("open", "high", "low", "close"), 10)
    return push("chart.trades.BTC-PERPETUAL.1", {"tick": minute * 60_000, **prices, "volume": 1})


def adapter(*channels: Channel, candle: str = "1m") -> Exchange:
    """One that collects these of one market; without any, all that comes."""
    subscriptions = [Subscription("BTC/USD:BTC", channel, "BTC-PERPETUAL") for channel in channels]
    return Adapter(Feed(subscriptions, candle=candle))


def requests(one: Exchange) -> list[dict[str, list[str]]]:
    """The parameters of what is sent once the socket is open."""
    return [json.loads(action.text)["params"] for action in one.opened() if isinstance(action, Send)]


def kinds(items: Sequence[Output]) -> list[type]:
    return [type(item) for item in items]


def test_three_channels_share_one_stream() -> None:
    """The ticker tells funding and open interest, a trade tells liquidations: each stream is subscribed to once."""
    every = [Channel.TICKER, Channel.FUNDING, Channel.OPEN_INTEREST, Channel.TRADES, Channel.LIQUIDATIONS]
    assert requests(adapter(*every))[1] == {"channels": ["ticker.BTC-PERPETUAL.100ms", "trades.BTC-PERPETUAL.100ms"]}


@pytest.mark.parametrize(
    ("channel", "kind"),
    [(Channel.TICKER, Ticker), (Channel.FUNDING, Funding), (Channel.OPEN_INTEREST, OpenInterest)],
)
def test_only_what_was_asked_for_comes_of_a_ticker(channel: Channel, kind: type) -> None:
    """It holds all three."""
    assert kinds(adapter(channel).digest([push("ticker.BTC-PERPETUAL.100ms", TICKER)], 0)) == [kind]


@pytest.mark.parametrize(("channel", "kind"), [(Channel.TRADES, Trade), (Channel.LIQUIDATIONS, Liquidation)])
def test_only_what_was_asked_for_comes_of_a_trade(channel: Channel, kind: type) -> None:
    """One that closes a position by force is a trade and a liquidation."""
    assert kinds(adapter(channel).digest([deal("BTC-PERPETUAL", liquidation="T")], 0)) == [kind]


@pytest.mark.parametrize("told", [None, "none", "X"])
def test_a_liquidation_of_nobody_leaves_the_trade(told: str | None) -> None:
    """A word that nobody knows yet costs no trade."""
    assert kinds(adapter().digest([deal("BTC-PERPETUAL", liquidation=told)], 0)) == [Trade]


def test_a_replay_takes_quotes_and_completes_them() -> None:
    """Best bid and ask of ``quote``, with the last price and the volume of the ticker before it while it is fresh."""
    one, late = adapter(), 301_000_000_000
    one.digest([push("ticker.BTC-PERPETUAL.100ms", TICKER)], 0)
    out = [
        *one.digest([push("quote.BTC-PERPETUAL", QUOTE)], 1),
        *one.digest([push("quote.BTC-PERPETUAL", QUOTE)], late),
    ]
    assert [(item.bid, item.ask_size, item.last, item.volume) for item in out if isinstance(item, Ticker)] == [
        (Decimal(9), Decimal(2), Decimal(10), Decimal(7)),
        (Decimal(9), Decimal(2), None, None),
    ]


@pytest.mark.parametrize(
    "native", ["BTC-25SEP26", "BTC-25SEP26-70000-C", "XRP_USDC-25SEP26-0d625-P", "BTC-FS-25SEP26_PERP"]
)
def test_other_instruments_of_a_capture_keep_their_names(native: str) -> None:
    """Dated futures, options and combos are no symbols of ours, and none is taken for one."""
    (trade,) = adapter().digest([deal(native)], 0)
    assert isinstance(trade, Trade) and trade.symbol == native


def test_a_new_subscription_closes_no_candle() -> None:
    """In a replay of two connections the last candle of the first was not seen to its end."""
    one = adapter()
    closed = [item.closed for item in one.digest([candle(1), candle(2)], 0) if isinstance(item, Candle)]
    after = one.digest([b'{"id":3,"result":["chart.trades.BTC-PERPETUAL.1"]}', candle(4)], 0)
    assert closed == [False, True, False]
    assert [item.closed for item in after if isinstance(item, Candle)] == [False]


def test_candles_of_a_length_that_there_is_none_of_are_refused() -> None:
    """Deribit has no candles of four hours; the other channels go on."""
    actions = list(adapter(Channel.TRADES, Channel.CANDLES, candle="4h").opened())
    assert "trades.BTC-PERPETUAL.100ms" in str(actions[1]) and "chart" not in str(actions[1])
    assert actions[2:] == [Refused("there are no candles of 4h")]


def test_many_subscriptions_stay_within_a_request() -> None:
    """At most 500 channels in one request, one request per connection, every subscription on some connection."""
    natives = [f"C{number}_USDC-PERPETUAL" for number in range(600)]
    wanted = [
        Subscription(Adapter.unified(native), channel, native)
        for native in natives
        for channel in (Channel.TRADES, Channel.TICKER)
    ]
    asked = [requests(Adapter(Feed(some)))[1]["channels"] for some in Adapter.connections(wanted)]
    assert all(len(channels) <= 500 for channels in asked)
    assert {channel for channels in asked for channel in channels} == {
        f"{kind}.{native}.100ms" for kind in ("trades", "ticker") for native in natives
    }


def test_what_only_contracts_have_is_not_asked_of_spot() -> None:
    """No connection is opened for it."""
    (some,) = Adapter.connections([Subscription("BTC/USDC", channel, "BTC_USDC") for channel in Channel])
    assert {item.channel for item in some} == {Channel.TRADES, Channel.TICKER, Channel.BOOK, Channel.CANDLES}


def test_an_acknowledgement_that_lacks_channels_names_them() -> None:
    """Unknown channels are dropped without a word; the answer to the heartbeat's request is none of it."""
    one = adapter(Channel.TRADES, Channel.TICKER)
    assert one.digest([b'{"id":1,"result":"ok"}'], 0) == []
    assert one.digest([b'{"id":3,"result":["trades.BTC-PERPETUAL.100ms"]}'], 0) == [
        Ack("trades.BTC-PERPETUAL.100ms"),
        Refused("ticker.BTC-PERPETUAL.100ms: passed over without a word"),
    ]


@pytest.mark.parametrize("path", ["ticker?instrument_name=BTC-PERPETUAL", "get_instruments?currency=any&kind=future"])
def test_a_demand_for_silence_is_heard(path: str) -> None:
    """Deribit names no time, so it is ten seconds."""
    body = b'{"error":{"code":10028,"message":"too_many_requests"}}'
    with pytest.raises(RateLimited) as caught:
        adapter().answered(Fetch(f"/api/v2/public/{path}"), body, 0)
    assert caught.value.retry_after == 10


def test_a_candle_of_rest_is_closed_once_its_time_is_over() -> None:
    """By our clock."""
    columns = {key: [1, 1] for key in ("open", "high", "low", "close", "volume")}
    body = json.dumps({"result": {"ticks": [0, 86_400_000], **columns}}).encode()
    path = "/api/v2/public/get_tradingview_chart_data?instrument_name=BTC-PERPETUAL&resolution=1D"
    out = adapter().answered(Fetch(path), body, 86_400_000_000_000)
    assert [(item.interval, item.closed) for item in out if isinstance(item, Candle)] == [("1d", True), ("1d", False)]


@pytest.mark.parametrize(
    ("symbol", "native"),
    [
        ("BTC/USD:BTC", "BTC-PERPETUAL"),
        ("SOL/USDC:USDC", "SOL_USDC-PERPETUAL"),
        ("BTC/USDT:USDT", "BTC_USDT-PERPETUAL"),
        ("BTC/USDC", "BTC_USDC"),
    ],
)
def test_symbols_are_spelled_by_rule(symbol: str, native: str) -> None:
    """Both ways, where no instrument list could be had."""
    assert Adapter.native(symbol) == native
    assert Adapter.unified(native) == symbol


def told(kind: str, number: int, prev: int | None = None, *, native: str = "BTC-PERPETUAL", amount: int = 10) -> bytes:
    """A notification of a book whose only bid is 9."""
    data = {"type": kind, "timestamp": 1, "instrument_name": native, "change_id": number, "prev_change_id": prev}
    return push(f"book.{native}.100ms", {**data, "bids": [["new", 9, amount]], "asks": []})


def test_a_message_that_comes_twice_breaks_no_chain() -> None:
    """It changes nothing the second time."""
    once = told("change", 6, 5, amount=20)
    out = adapter().digest([told("snapshot", 5), once, once, told("change", 9, 6, amount=30)], 0)
    assert [item.bid_size for item in out if isinstance(item, Quote)] == [10, 20, 30]
    assert Missed not in kinds(out)


@pytest.mark.parametrize("prev", [None, 4, 7])
def test_any_other_predecessor_breaks_the_chain(prev: int | None) -> None:
    """That one book is left and asked for again; the others stand."""
    one = adapter()
    one.digest([told("snapshot", 5), told("snapshot", 5, native="BTC_USDC")], 0)
    broken, well = one.digest([told("change", 8, prev)], 1), one.digest([told("change", 8, 5, native="BTC_USDC")], 2)

    assert kinds(broken) == [Missed, Send, Send] and Missed not in kinds(well)
    asked = [json.loads(item.text) for item in broken if isinstance(item, Send)]
    assert [(call["method"], call["params"]["channels"]) for call in asked] == [
        ("public/unsubscribe", ["book.BTC-PERPETUAL.100ms"]),
        ("public/subscribe", ["book.BTC-PERPETUAL.100ms"]),
    ]


def test_a_book_that_begins_anew_disturbs_nothing_else() -> None:
    """Its acknowledgements name no other channel as refused, and the candle that runs is closed as ever."""
    one = adapter(Channel.CANDLES, Channel.BOOK)
    one.digest([candle(1), told("snapshot", 5)], 0)
    sent = [json.loads(item.text)["id"] for item in one.digest([told("change", 8, 7)], 1) if isinstance(item, Send)]
    answers = [json.dumps({"id": number, "result": ["book.BTC-PERPETUAL.100ms"]}).encode() for number in sent]

    assert one.digest(answers, 2) == [Ack("book.BTC-PERPETUAL.100ms")]
    assert [item.closed for item in one.digest([candle(2)], 3) if isinstance(item, Candle)] == [True, False]


def test_what_is_missing_is_asked_for_by_its_numbers() -> None:
    """Both ends are in it."""
    fetch = adapter().missing(Hole("BTC/USD:BTC", "BTC-PERPETUAL", 5, 900, 0, 1))
    assert fetch is not None and fetch.path == (
        "/api/v2/public/get_last_trades_by_instrument"
        "?instrument_name=BTC-PERPETUAL&start_seq=5&end_seq=900&count=1000&sorting=asc"
    )


NOON, SECOND = 1_772_452_800 * 10**9, 10**9


class Client:
    """Somebody's own client of the built-in exchange."""

    def __init__(self, rate: float = 20.0) -> None:
        kind = simulator.load("deribit")
        self.dialect = kind(Market(symbols=["BTC/USDC", "BTC/USD:BTC"], rate=rate, lists=kind.lists))
        session = self.dialect.session("/ws/api/v2")
        assert session is not None
        self.session = session

    def get(self, method: str, **query: str) -> Any:
        """The JSON of an answer."""
        return json.loads(self.dialect.answer(Request("GET", f"/api/v2/public/{method}", query), NOON).body)

    def say(self, method: str, *, now: int = NOON, **params: object) -> list[Any]:
        """The replies to a call."""
        call = {"jsonrpc": "2.0", "id": 7, "method": f"public/{method}", "params": params}
        return [json.loads(reply) for reply in self.session.received(json.dumps(call), now)]

    def hear(self, start: int, end: int) -> list[Any]:
        """What is said from a second after noon to before another."""
        return [json.loads(frame) for frame in self.session.frames(NOON + start * SECOND, NOON + end * SECOND)]


def test_the_built_in_exchange_leaves_unknown_channels_out() -> None:
    """Without a word; a book begins with its snapshot, once."""
    client, book = Client(), "book.BTC-PERPETUAL.100ms"
    ack, first = client.say("subscribe", channels=[book, "book.NOPE.100ms", "novelty.BTC-PERPETUAL"])
    assert (ack["id"], ack["result"], first["params"]["data"]["type"]) == (7, [book], "snapshot")
    assert [reply["result"] for reply in client.say("subscribe", channels=[book])] == [[book]]
    assert client.say("unsubscribe", channels=[book])[0]["result"] == [book]
    assert len(client.say("subscribe", channels=[book])) == 2


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("subscribe", {"channels": ["trades.BTC-PERPETUAL.raw", "trades.BTC_USDC.100ms"]}, 13778),
        ("subscribe", {"channels": "trades.BTC_USDC.100ms"}, -32602),
        ("subscribe", {"channels": [f"quote.C{number}" for number in range(501)]}, -32602),
        ("set_heartbeat", {"interval": 9}, -32602),
        ("ticker", {"instrument_name": "NOPE"}, -32602),
        ("novelty", {}, -32601),
    ],
)
def test_the_built_in_exchange_refuses_as_deribit_does(method: str, params: dict[str, Any], code: int) -> None:
    """A whole request, by its number."""
    (reply,) = Client().say(method, **params)
    assert (reply["id"], reply["error"]["code"]) == (7, code)


def test_the_built_in_exchange_tests_a_silent_client_and_leaves_one_that_does_not_answer() -> None:
    """A heartbeat at every interval; a test after one without a word; ten seconds for the answer."""
    client = Client()
    assert client.say("set_heartbeat", interval=10)[0]["result"] == "ok"
    kinds = [beat["params"]["type"] for beat in client.hear(0, 11)]
    assert kinds == ["heartbeat", "test_request"]
    assert client.say("test", now=NOON + 12 * SECOND)[0]["result"] == {"version": "1.2.26"}
    assert [beat["params"]["type"] for beat in client.hear(11, 21)] == ["heartbeat"]
    assert [beat["params"]["type"] for beat in client.hear(21, 31)] == ["heartbeat", "test_request"]
    with pytest.raises(simulator.Hangup, match="not answered"):
        client.hear(31, 42)


def test_the_built_in_exchange_pages_its_trades_by_number() -> None:
    """Both ends are in it, and it says whether there is more."""
    client = Client()
    newest = client.get("get_last_trades_by_instrument", instrument_name="BTC-PERPETUAL", count="1")["result"]
    last = newest["trades"][0]["trade_seq"]
    query = {"instrument_name": "BTC-PERPETUAL", "start_seq": str(last - 9), "end_seq": str(last - 4)}
    up = client.get("get_last_trades_by_instrument", **query, count="4", sorting="asc")["result"]
    down = client.get("get_last_trades_by_instrument", **query, count="6")["result"]
    assert newest["has_more"] and up["has_more"] and not down["has_more"]
    assert [trade["trade_seq"] - last for trade in up["trades"]] == [-9, -8, -7, -6]
    assert [trade["trade_seq"] - last for trade in down["trades"]] == [-4, -5, -6, -7, -8, -9]


def test_the_built_in_exchange_tells_inverse_amounts_in_dollars() -> None:
    """Whole contracts of ten; the trades of a tenth of a second come in one notification."""
    client = Client(rate=400)
    client.say("subscribe", channels=["trades.BTC-PERPETUAL.100ms"])
    batches = [push["params"]["data"] for push in client.hear(0, 1)]
    assert len(batches) == 10 and max(map(len, batches)) > 5
    assert all(trade["amount"] % 10 == 0 and trade["contracts"] * 10 == trade["amount"] for trade in batches[0])


def test_the_built_in_exchange_answers_a_call_that_is_posted() -> None:
    """With the call's number."""
    body = json.dumps({"jsonrpc": "2.0", "id": 5, "method": "public/get_time", "params": {}}).encode()
    answer = json.loads(Client().dialect.answer(Request("POST", "/api/v2", body=body), NOON).body)
    assert (answer["id"], answer["result"]) == (5, NOON // 10**6)


def test_windows_of_a_book_are_put_together_by_their_group() -> None:
    """Bids downwards, asks upwards, so many levels of a side, whole each time."""
    client = Client()
    _, first = client.say("subscribe", channels=["book.BTC-PERPETUAL.100.10.100ms"])
    told = first["params"]["data"]
    assert len(told["bids"]) == len(told["asks"]) == 10 and told["bids"][0][0] < told["asks"][0][0]
    assert all(price * 100 % 100 == 0 for price, _ in told["bids"] + told["asks"])
    assert "prev_change_id" not in told and "type" not in told
