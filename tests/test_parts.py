"""What the adapters share about times, numbers, candles and answers that are kept."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trioagg.errors import WireError
from trioagg.exchanges import Feed, Subscription
from trioagg.exchanges import _memo as memo
from trioagg.exchanges._memo import Memo
from trioagg.exchanges._numbers import positive, step, trade_id
from trioagg.exchanges._records import Changed, candle, parted
from trioagg.exchanges._times import length, nanos, rfc3339, seconds
from trioagg.exchanges.binance import LEARNT, Adapter
from trioagg.model import Candle, Channel, Trade

NOON = 1_772_452_800_000_000_000


@pytest.mark.parametrize("stamp", [1_772_452_800_000, 1_772_452_800_000_000, NOON])
def test_a_time_is_told_apart_by_its_size(stamp: int) -> None:
    """Milliseconds, microseconds and nanoseconds; seconds are asked for by name."""
    assert nanos(stamp) == seconds(1_772_452_800) == rfc3339("2026-03-02T12:00:00Z") == NOON


def test_no_time_lies_outside_the_years_that_a_row_can_hold() -> None:
    """1970 to 2255: the year 9999 is refused, not read as another."""
    for told in (-1, 9 * 10**18, 10**30):
        with pytest.raises(WireError, match="impossible time"):
            nanos(told)
    for told in (-1, 9_000_000_000):
        with pytest.raises(WireError, match="impossible time"):
            seconds(told)
    for text in ("1969-12-31T23:59:59Z", "2256-01-01T00:00:00.5Z", "9999-12-31T23:59:59.999999Z"):
        with pytest.raises(WireError, match="impossible time"):
            rfc3339(text)
    assert rfc3339("2254-12-31T23:59:59Z") < 2**63


def test_candles_are_as_long_as_they_are_called() -> None:
    """A month is the longest that there is, so that none closes too early."""
    found = [length(interval) // 1_000_000_000 for interval in ("1s", "15m", "4h", "1d", "1w", "1M")]
    assert found == [1, 900, 14_400, 86_400, 604_800, 2_678_400]


@pytest.mark.parametrize(
    ("text", "ident"),
    [("12", 12), ("0", 0), ("012", "012"), ("5e", "5e"), ("\u0661", "\u0661"), ("9" * 20, "9" * 20), ("-1", "-1")],
)
def test_an_id_is_a_number_only_where_no_digit_is_lost(text: str, ident: int | str) -> None:
    """What we would write in another way stays a text; nothing is no id."""
    assert trade_id(text) == ident
    with pytest.raises(WireError):
        trade_id("")


def test_a_step_has_so_many_decimals() -> None:
    """A number of decimals that cannot be is no rule."""
    assert [step(decimals) for decimals in (0, 8, -1, 10**9)] == [Decimal(1), Decimal("1e-8"), None, None]


def test_a_poll_tells_the_candles_that_changed() -> None:
    """The same at another time is the same; each poll has a memory of its own."""

    def told(opens: int, volume: int, at: int) -> Candle:
        prices = (Decimal(1), Decimal(2), Decimal(1), Decimal(2))
        return candle("x", ("A/B", "1m"), opens, prices=prices, volume=Decimal(volume), closed=False, at=at)

    changed = Changed()
    assert changed.told("/a", first := [told(0, 1, 5), told(60, 1, 5)]) == first
    assert changed.told("/a", [told(0, 1, 6), newer := told(60, 2, 6), newest := told(120, 1, 6)]) == [newer, newest]
    assert changed.told("/b", first) == first


def test_a_market_without_a_separator_is_parted_where_it_ends() -> None:
    """By the first of the quotes that fits; a quote alone is no market."""
    quotes = ("USDT", "USD")
    found = [parted(name, quotes) for name in ("BTCUSDT", "BTCUSD", "USDT", "BTCEUR")]
    assert found == [("BTC", "USDT"), ("BTC", "USD"), None, None]


@pytest.mark.parametrize("wrong", ["0", "-1", "1e41", "1e-41", "Infinity"])
def test_every_one_of_the_numbers_must_be_positive(wrong: str) -> None:
    """Wherever it stands, and it is the one that is named."""
    for pair in ((wrong, "7"), ("7", wrong), (wrong,)):
        with pytest.raises(WireError, match="not a positive number: " + str(Decimal(wrong)).replace("+", r"\+")):
            positive(*map(Decimal, pair))


def test_what_is_kept_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known before is never asked, an error is no answer, and beyond its bound a memo keeps no more."""
    asked: list[int] = []

    def ask(key: int) -> int:
        asked.append(key)
        return 10 // key

    monkeypatch.setattr(memo, "KEPT", 3)
    kept = Memo(ask, {7: 70})

    for key in (0, 0):
        with pytest.raises(ZeroDivisionError):
            kept[key]
    assert [kept[key] for key in (7, 1, 1, 2, 2, 5, 5)] == [70, 10, 10, 5, 5, 2, 2]
    assert asked == [0, 0, 1, 2, 5, 5]


@pytest.mark.parametrize(
    "frame",
    [
        b'{"stream":"btcusdt@trade","data":%b}',
        b'{ "stream" : "btcusdt@trade" , "data" : %b }',
        b'{"data":%b,"stream":"btcusdt@trade"}',
        b"%b",
    ],
)
@pytest.mark.parametrize("subscribed", [False, True])
def test_a_frame_means_the_same_however_it_begins(frame: bytes, subscribed: bool) -> None:  # noqa: FBT001
    """It says of which stream it is, or else of which market, wherever that stands in it."""
    told = b'{"e":"trade","E":1,"s":"BTCUSDT","t":5,"p":"2","q":"3","T":1772452800000,"m":true}'
    adapter = Adapter(Feed([Subscription("BTC/USDT", Channel.TRADES, "BTCUSDT")] if subscribed else ()))

    for _ in range(2):
        out = adapter.digest([frame % told, (frame % told)[:-1]], 9)
        assert out[0] == Trade("binance", "BTC/USDT", 5, Decimal(2), Decimal(3), "sell", NOON, 9)
        assert type(out[1]).__name__ == "Quarantined"


def test_a_replay_tells_any_number_of_streams_apart() -> None:
    """Those that it learns to know by their names, and those beyond."""
    told = b'{"stream":"a%dusdt@trade","data":{"e":"trade","s":"A%dUSDT","t":%d,"p":"2","q":"3","T":5,"m":true}}'
    frames = [told % (number, number, number) for number in range(LEARNT + 50)]
    adapter = Adapter(Feed())

    for _ in range(2):
        out = adapter.digest(frames, 9)
        assert [(item.symbol, item.trade_id) for item in out if isinstance(item, Trade)] == [
            (f"A{number}/USDT", number) for number in range(len(frames))
        ]


@pytest.mark.parametrize("subscribed", [False, True])
def test_a_stream_that_tells_of_another_market_is_not_believed(subscribed: bool) -> None:  # noqa: FBT001
    """Nobody knows which of the two is meant; neither in a run nor in a replay, which meets it for the first time."""
    told = b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"%b","t":5,"p":"2","q":"3","T":5,"m":true}}'
    adapter = Adapter(Feed([Subscription("BTC/USDT", Channel.TRADES, "BTCUSDT")] if subscribed else ()))
    frames = [told % native for native in (b"ETHUSDT", b"BTCUSDT", b"ETHUSDT")]
    kinds = [type(item).__name__ for item in adapter.digest(frames, 9)]
    assert kinds == ["Quarantined", "Trade", "Quarantined"]


def test_a_stream_that_nobody_asked_for_is_passed_over() -> None:
    """But it must be readable, and of a kind that is known."""
    adapter = Adapter(Feed([Subscription("BTC/USDT", Channel.TRADES, "BTCUSDT")]))
    told = (b'trade","data":{}', b'trade","data":{', b'x","data":{}')
    frames = [b'{"stream":"ethusdt@%b}' % rest for rest in told]
    kinds = [type(item).__name__ for item in adapter.digest(frames, 9)]
    assert kinds == ["Quarantined", "Quarantined"]
