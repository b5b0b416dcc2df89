"""HTX where its transcript cannot say it: recordings, gzip, contracts, and two kinds of market under one name."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from trioagg.errors import RateLimited
from trioagg.exchanges import Ack, BookPlan, Connect, Feed, Fetch, Hole, Missed, Send, Subscription
from trioagg.exchanges.htx import SWAP_WS, Adapter
from trioagg.model import Book, Channel, Instrument, Quote, Ticker, Trade
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.tally import Tally
from trioagg.simulator import Hangup, load
from trioagg.simulator.market import Market
from trioagg.transport.frames import Frames

SECOND = 1_000_000_000
EVERYTHING = tuple(Channel)
SWAP_TOPIC = "market.ETH-USDT.depth.size_20.high_freq"
SWAP = Instrument(
    exchange="htx",
    symbol="ETH/USDT:USDT",
    native="ETH-USDT",
    base="ETH",
    quote="USDT",
    tick_size=Decimal("0.01"),
    amount_step=Decimal("0.01"),
    contract_size=Decimal("0.01"),
    amount_unit="ETH",
    status="trading",
)


def wanted(*symbols: str, channels: tuple[Channel, ...] = EVERYTHING) -> list[Subscription]:
    """Every channel of some markets."""
    return [Subscription(symbol, channel, Adapter.native(symbol)) for symbol in symbols for channel in channels]


def expected(frame: str) -> list[tuple[Any, ...]]:
    """The trades of a recorded frame, read without the adapter."""
    message = json.loads(frame, parse_float=Decimal)
    native = message.get("ch", "").removeprefix("market.").removesuffix(".trade.detail")
    deals = message["tick"]["data"] if message.get("ch", "").endswith(".trade.detail") else []
    return [
        (native, deal["tradeId"], Decimal(deal["price"]), Decimal(deal["amount"]), deal["direction"], deal["ts"])
        for deal in deals
    ]


def test_recorded_trades_are_read_digit_for_digit(captures: Path) -> None:
    """Each recorded trade gives its id, price, amount, side and time; nothing recorded is quarantined."""
    adapter, found, real = Adapter(Feed()), [], []
    with gzip.open(captures / "htx-recording.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            out = adapter.digest([line["payload"].encode()], line["received"])
            trades = [item for item in out if isinstance(item, Trade)]
            assert all(isinstance(item, Trade | Quote | Book | Send | Ack) for item in out)
            found += [
                (t.symbol, t.trade_id, str(t.price), str(t.amount), t.side, t.timestamp, t.received) for t in trades
            ]
            real += [
                (Adapter.unified(native), number, str(price), str(amount), side, ms * 1_000_000, line["received"])
                for native, number, price, amount, side, ms in expected(line["payload"])
            ]

    assert sorted(found) == sorted(real) and len(real) > 50
    assert {symbol for symbol, *_ in found} >= {"FIL3S/USDT", "YFI/HUSD", "TRIO/ETH", "OMG/BTC"}


def test_frames_are_unzipped_and_pings_answered() -> None:
    """What comes binary is gunzipped before it is understood, and a ping gets its own number back."""
    intake = Intake(Tally(), [])
    payload = gzip.compress(b'{"ping":1772445600643}')

    events, actions = intake.frames(Adapter(Feed()), "", Frames(1, [payload], binary=True))

    assert (list(events), actions) == ([], [Send('{"pong":1772445600643}')])


def test_each_socket_gets_its_own_subscriptions() -> None:
    """Spot, swaps and notices live at different addresses; what a market does not have is asked for nowhere."""
    parts = Adapter.connections(wanted("BTC/USDT", "ETH/USDT:USDT", "ETH/USDT"))
    begun = [[*Adapter(Feed(part)).begin(), len(list(Adapter(Feed(part)).opened()))] for part in parts]

    assert begun == [
        [Connect("/ws"), 6],
        [Connect("/feed"), 2],
        [Connect("/linear-swap-ws", SWAP_WS), 4],
        [Connect("/linear-swap-notification", SWAP_WS), 2],
    ]


def test_many_subscriptions_are_split() -> None:
    """No connection carries more topics than can be asked for between two unanswered pings."""
    symbols = [f"A{number}/USDT" for number in range(60)]

    parts = Adapter.connections(wanted(*symbols, channels=(Channel.TRADES,)))

    assert [len(part) for part in parts] == [50, 10]


def test_many_tickers_are_polled_together() -> None:
    """Few markets are asked for one by one; many come with everybody's, from the host where they are."""
    symbols = [f"A{number}/USDT" for number in range(6)] + ["ETH/USDT:USDT"]

    polls = list(Adapter(Feed(wanted(*symbols, channels=(Channel.TICKER, Channel.OPEN_INTEREST)))).polls())

    assert [(fetch.path, fetch.host) for fetch in polls] == [
        ("/market/tickers", ""),
        ("/linear-swap-ex/market/detail/merged?contract_code=ETH-USDT", "https://api.hbdm.com"),
        ("/linear-swap-api/v1/swap_open_interest?contract_code=ETH-USDT", "https://api.hbdm.com"),
    ]


def test_contracts_become_base_currency() -> None:
    """Sizes in contracts are multiplied by the contract's size, exactly."""
    adapter = Adapter(Feed(instruments=[SWAP]))
    quote = b'{"ch":"market.ETH-USDT.bbo","ts":2,"tick":{"bid":[1600.1,38],"ask":[1600.2,205],"ts":1}}'
    old = (
        b'{"ch":"market.ETH-USDT.trade.detail","ts":2,"tick":{"data":'
        b'[{"amount":7,"ts":1,"id":10000,"price":1600.1,"direction":"sell"}]}}'
    )

    ticker, trade = adapter.digest([quote, old], 1)

    assert isinstance(ticker, Ticker) and isinstance(trade, Trade)
    assert (ticker.bid_size, ticker.ask_size) == (Decimal("0.38"), Decimal("2.05"))
    assert trade.amount == Decimal("0.07")


def test_days_that_the_streams_tell_are_understood() -> None:
    """A capture may hold topics with the day's figures: they are tickers too, and feed those of best bid and ask."""
    adapter = Adapter(Feed(instruments=[SWAP]))
    spot = (
        b'{"ch":"market.btcusdt.ticker","ts":1,"tick":{"close":5,"amount":9,"bid":4.9,"bidSize":3,"ask":5.1,'
        b'"askSize":2,"lastPrice":5.01,"lastSize":1}}'
    )
    day = b'{"ch":"market.btcusdt.detail","ts":1,"tick":{"close":5.02,"amount":9.5}}'
    swap = b'{"ch":"market.ETH-USDT.detail","ts":1,"tick":{"close":7,"amount":8,"bid":[6,1],"ask":[8,2]}}'

    told = [item for item in adapter.digest([spot, day, swap], 1) if isinstance(item, Ticker)]

    assert [(t.symbol, t.bid, t.ask, t.last, t.volume) for t in told] == [
        ("BTC/USDT", Decimal("4.9"), Decimal("5.1"), Decimal("5.01"), 9),
        ("BTC/USDT", None, None, Decimal("5.02"), Decimal("9.5")),
        ("ETH/USDT:USDT", 6, 8, 7, 8),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":"error","err_code":1032,"err_msg":"The number of access exceeded the limit.","ts":1}',
        b'{"status":"error","err-code":"too-many-requests","err-msg":"slow down"}',
    ],
)
def test_a_limit_told_inside_a_good_answer_is_kept(body: bytes) -> None:
    """An answer with status 200 that complains about too many requests demands silence."""
    with pytest.raises(RateLimited) as caught:
        Adapter(Feed()).answered(Fetch("/linear-swap-api/v1/swap_open_interest"), body, 1)

    assert caught.value.retry_after == 3


@pytest.mark.parametrize(
    ("symbol", "native"),
    [("BTC/USDT", "btcusdt"), ("DOGE/ETH", "dogeeth"), ("BTC/USDT:USDT", "BTC-USDT"), ("FIL3S/USDT", "fil3susdt")],
)
def test_spelling_by_rule(symbol: str, native: str) -> None:
    """Without a list, both spellings follow from each other."""
    assert (Adapter.native(symbol), Adapter.unified(native)) == (native, symbol)


@pytest.mark.parametrize("native", ["BTC-USDT-260327", "BTC-USD", "usdt", "strange"])
def test_what_cannot_be_spelled_stays(native: str) -> None:
    """Dated futures, coin-margined swaps and unknown quotes keep their own spelling."""
    assert Adapter.unified(native) == native


def told(topic: str, **tick: object) -> bytes:
    """A frame of a topic."""
    return json.dumps({"ch": topic, "ts": 2, "tick": {"ts": 1, **tick}}).encode()


def swap_book(version: int, event: str, *, bids: object = (), asks: object = ()) -> bytes:
    """A frame of a swap's book."""
    return told(SWAP_TOPIC, version=version, event=event, bids=bids, asks=asks)


def test_books_of_swaps_are_in_the_base_currency() -> None:
    """Contracts are multiplied exactly; what follows a missing version waits for the snapshot that is asked for."""
    adapter = Adapter(Feed(wanted(SWAP.symbol, channels=(Channel.BOOK,)), [SWAP], book=BookPlan(period=1)))
    frames = [
        swap_book(7, "snapshot", bids=[[1600.1, 26], [1600, 1]], asks=[[1600.2, 88]]),
        swap_book(8, "update", bids=[[1600.1, 0]], asks=[[1600.3, 5]]),
        swap_book(10, "update", bids=[[1600, 2]]),
    ]

    out = adapter.digest(frames, 1)
    again = adapter.digest(
        [swap_book(11, "update"), swap_book(1, "snapshot", bids=[[1599, 3]]), swap_book(2, "update")], 4
    )

    books = [(item.bids, item.asks) for item in out if isinstance(item, Book)]
    assert books == [
        (
            ((Decimal("1600.1"), Decimal("0.26")), (Decimal(1600), Decimal("0.01"))),
            ((Decimal("1600.2"), Decimal("0.88")),),
        ),
        (
            ((Decimal(1600), Decimal("0.01")),),
            ((Decimal("1600.2"), Decimal("0.88")), (Decimal("1600.3"), Decimal("0.05"))),
        ),
    ]
    assert out[-2:] == [
        Missed(SWAP.symbol, Channel.BOOK, "changes of the order book are missing", 9, 9),
        Send(json.dumps({"sub": SWAP_TOPIC, "data_type": "incremental", "id": "book"}, separators=(",", ":"))),
    ]
    assert [item.bids for item in again if isinstance(item, Book)] == [((Decimal(1599), Decimal("0.03")),)] * 2


@pytest.mark.parametrize(
    ("levels", "spot", "swap"),
    [(5, "mbp.150", "depth.size_20.high_freq"), (21, "mbp.150", "depth.size_150.high_freq"),
     (151, "mbp.400", "depth.size_150.high_freq")],
)  # fmt: skip
def test_a_book_is_as_deep_as_what_is_wanted_of_it(levels: int, spot: str, swap: str) -> None:
    """The smallest depth that covers the levels, or the largest there is."""
    both = wanted("BTC/USDT", "ETH/USDT:USDT", channels=(Channel.BOOK,))

    opened = Adapter(Feed(both, book=BookPlan(levels=levels))).opened()

    topics = [json.loads(item.text)["sub"] for item in opened if isinstance(item, Send)]
    assert topics == [f"market.btcusdt.{spot}", f"market.ETH-USDT.{swap}"]


def test_a_book_that_is_told_whole_each_time_is_one_book() -> None:
    """In a replay: what is not told again has gone, the best prices are told when they change, a book once a period."""
    frames = [
        told("market.btcusdt.depth.step0", version=version, bids=bids, asks=[[3, 1]])
        for version, bids in ((1, [[2, 1], [1, 1]]), (2, [[1, 1]]), (3, [[1, 1]]))
    ]

    out = Adapter(Feed()).digest(frames, SECOND)

    assert [type(item) for item in out] == [Quote, Book, Quote]
    assert isinstance(out[2], Quote) and out[2].bid == 1


@pytest.mark.parametrize(
    ("native", "path", "host"),
    [
        ("btcusdt", "/market/history/trade?symbol=btcusdt&size=2000", ""),
        ("BTC-USDT", "/linear-swap-ex/market/history/trade?contract_code=BTC-USDT&size=2000", "https://api.hbdm.com"),
    ],
)
def test_what_is_missing_is_asked_for_where_its_market_is(native: str, path: str, host: str) -> None:
    """As many of the last trades as one answer holds."""
    assert Adapter(Feed()).missing(Hole(Adapter.unified(native), native, None, None, 1, 2)) == Fetch(path, host=host)


def test_the_time_is_told_in_milliseconds() -> None:
    """And understood to the nanosecond."""
    assert Adapter.time(b'{"status":"ok","data":1772445600123}') == 1_772_445_600_123_000_000


@pytest.mark.parametrize(("path", "patience"), [("/ws", 2), ("/linear-swap-ws", 4), ("/linear-swap-notification", 4)])
def test_the_built_in_exchange_hangs_up_on_who_answers_no_ping(path: str, patience: int) -> None:
    """An answer with the ping's own number keeps the connection; another one, or none, does not."""
    session = load("htx")(Market()).session(path)
    assert session is not None
    for turn in range(10):
        (ping,) = session.frames(turn * 5 * SECOND, (turn * 5 + 5) * SECOND)
        (answer,) = [item for item in Adapter(Feed()).digest([ping], 1) if isinstance(item, Send)]
        assert gzip.decompress(session.packed(ping)) == ping
        session.received(answer.text, turn)

    for turn in range(10, 10 + patience):
        session.frames(turn * 5 * SECOND, (turn * 5 + 5) * SECOND)
        session.received('{"pong":1}', turn)
    with pytest.raises(Hangup, match="ping check expired"):
        session.frames((10 + patience) * 5 * SECOND, (11 + patience) * 5 * SECOND)
