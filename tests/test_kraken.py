"""Kraken: what its transcript cannot say."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from trioagg.errors import RateLimited, WireError
from trioagg.exchanges import Feed, Fetch, Send, Subscription
from trioagg.exchanges.kraken import Adapter
from trioagg.model import Channel, Ticker, Trade

SECOND = 1_000_000_000
NOON = 1_772_452_800 * SECOND
TICKER = Fetch("/0/public/Ticker?pair=XBTUSD")
DAY = {"a": ["3", "1", "1"], "b": ["2", "1", "1"], "c": ["2", "1"], "v": ["1", "9"]}


def body(*errors: str, **result: object) -> bytes:
    """An answer of REST."""
    return json.dumps({"error": errors, "result": result}).encode()


def feed(*symbols: str, channels: tuple[Channel, ...] = (Channel.TRADES,)) -> Feed:
    """A feed of some markets, spelled by rule."""
    return Feed([Subscription(symbol, channel, Adapter.native(symbol)) for symbol in symbols for channel in channels])


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ("EGeneral:Too many requests", 15),
        ("EAPI:Rate limit exceeded", 15),
        ("EService:Busy", 5),
        ("EService:Unavailable", 5),
        ("EGeneral:Temporary lockout", 900),
        (f"EService: Throttled: {NOON // SECOND + 42}", 42),
        (f"EService: Throttled: {NOON // SECOND - 42}", 1),
        (f"EService: Throttled: {NOON // SECOND + 86_400}", 900),
        ("EService: Throttled: soon", 15),
    ],
)
def test_a_demand_for_silence_under_http_200_is_kept(error: str, seconds: float) -> None:
    """Each of the wordings closes REST for its time, never for less than a second or more than fifteen minutes."""
    with pytest.raises(RateLimited) as limited:
        Adapter(Feed()).answered(TICKER, body(error), NOON)

    assert limited.value.retry_after == pytest.approx(seconds)


@pytest.mark.parametrize("error", ["EGeneral:Internal error", "EGeneral:Too many requests"])
def test_an_error_is_no_instrument_list(error: str) -> None:
    """Whatever comes in place of the list is told, and is no empty list."""
    with pytest.raises(WireError, match=error):
        Adapter.instruments(Adapter.listing()[0], body(error))


@pytest.mark.parametrize(
    ("spelled", "symbol"),
    [
        ("BTC/USD", "BTC/USD"),
        ("XBT/USD", "BTC/USD"),
        ("XBTUSD", "BTC/USD"),
        ("XXBTZUSD", "BTC/USD"),
        ("XETHXXBT", "ETH/BTC"),
        ("XXDGZUSD", "DOGE/USD"),
        ("XDGUSDT", "DOGE/USDT"),
        ("USDTZUSD", "USDT/USD"),
        ("ZEURZUSD", "EUR/USD"),
        ("XXRPZEUR", "XRP/EUR"),
        ("XTZUSD", "XTZ/USD"),
        ("XTZXBT", "XTZ/BTC"),
        ("ZRXEUR", "ZRX/EUR"),
        ("AAVEUSDC", "AAVE/USDC"),
        ("USD", "USD"),
        ("", ""),
        ("WHATEVER", "WHATEVER"),
    ],
)
def test_every_spelling_leads_to_one_symbol(spelled: str, symbol: str) -> None:
    """The four spellings of REST and the WebSocket are told apart without cutting letters that belong to an asset."""
    assert Adapter.unified(spelled) == symbol


def test_an_answer_under_another_name_finds_its_market() -> None:
    """REST may key its answer unlike the request; only what was asked for is taken."""
    adapter = Adapter(feed("BTC/USD", channels=(Channel.TICKER,)))

    (ticker,) = adapter.answered(TICKER, body(XXBTZUSD=DAY, XETHZUSD=DAY), NOON)

    assert isinstance(ticker, Ticker) and (ticker.symbol, ticker.volume) == ("BTC/USD", Decimal(9))


def test_a_replay_takes_every_market() -> None:
    """Without subscriptions nothing is unwanted."""
    answer = Adapter(Feed()).answered(TICKER, body(XXBTZUSD=DAY, XETHZUSD=DAY), NOON)

    assert [ticker.symbol for ticker in answer if isinstance(ticker, Ticker)] == ["BTC/USD", "ETH/USD"]


def test_many_markets_are_asked_for_in_few_messages() -> None:
    """A subscription names a hundred markets at most, a poll too, and none is named twice or left out."""
    symbols = [f"A{number}/USD" for number in range(250)]
    adapter = Adapter(feed(*symbols, channels=(Channel.TRADES, Channel.TICKER)))

    sent = [json.loads(action.text)["params"] for action in adapter.opened() if isinstance(action, Send)]
    polled = [fetch.path.partition("pair=")[2].split(",") for fetch in adapter.polls()]

    for channel in ("trade", "ticker"):
        assert [len(some["symbol"]) for some in sent if some["channel"] == channel] == [100, 100, 50]
        assert [name for some in sent if some["channel"] == channel for name in some["symbol"]] == symbols
    assert [name for some in polled for name in some] == [symbol.replace("/", "") for symbol in symbols]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-03-02T12:00:00Z", 0),
        ("2026-03-02T12:00:00.1Z", 100_000_000),
        ("2026-03-02T12:00:00.000001Z", 1_000),
        ("2026-03-02T12:00:00.999999999Z", 999_999_999),
        ("2026-03-02T12:00:00.9999999999Z", 999_999_999),
    ],
)
def test_times_are_exact_to_the_nanosecond(written: str, expected: int) -> None:
    """Each digit of the fraction counts, and none is rounded up."""
    row = {"symbol": "BTC/USD", "side": "buy", "price": 1, "qty": 1, "trade_id": 1, "timestamp": written}
    frame = json.dumps({"channel": "trade", "type": "update", "data": [row]}).encode()

    (trade,) = Adapter(Feed()).digest([frame], NOON)

    assert isinstance(trade, Trade) and trade.timestamp == NOON + expected
