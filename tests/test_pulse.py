"""What a stream's past says of its silence, and what proves that two connections overlap."""

from __future__ import annotations

import math
import random
from decimal import Decimal

import pytest

from trioagg.integrity.pulse import FACTOR, LEARNT, Heard, Pulse, Rhythm, newer, overlaps
from trioagg.model import Event, Quarantined, Ticker, Trade, TradeId

ONE, TWO = Decimal(1), Decimal(2)
KEY = ("BTC/USDT", Trade)


def trade(number: TradeId, at: int | None = 5, symbol: str = "BTC/USDT") -> Trade:
    return Trade("binance", symbol, number, ONE, ONE, "buy", at, 1)


def ticker(bid: Decimal | None, last: Decimal | None) -> Ticker:
    return Ticker("binance", "BTC/USDT", bid, ONE, TWO, ONE, last, ONE, None, 1)


def heard(first: Event | None, last: Event | None) -> Heard:
    return Heard(Rhythm(0.0), first, last)


def beating(pauses: list[float]) -> tuple[Pulse, float]:
    """A stream that brought something after each pause, and the time then."""
    pulse, now = Pulse(Rhythm(0.0)), 0.0
    for number, pause in enumerate([0.0, *pauses]):
        now += pause
        pulse.hear([trade(number)], now)
    return pulse, now


def test_the_longest_pause_counts_and_fades() -> None:
    """It is the measure at once, and still after some pauses; after an hour of a faster rate it is nearly gone."""
    pulse, _ = beating([1.0] * 50 + [40.0, 1.0])
    assert 39 < pulse.streams()[KEY].rhythm.longest < 40

    pulse, _ = beating([40.0] + [1.0] * 4 * 3600)
    assert pulse.streams()[KEY].rhythm.longest == 1.0


@pytest.mark.parametrize("rate", [0.001, 0.1, 1.0, 50.0])
def test_chance_makes_no_stream_strange(rate: float) -> None:
    """Trades that come by chance, at whatever rate, are never silent for strangely long once that rate is known."""
    chance = random.Random(7)
    pauses = [chance.expovariate(rate) for _ in range(5000)]
    rhythm, now, strange = Rhythm(0.0), 0.0, 0
    for pause in pauses:
        strange += rhythm.pauses >= LEARNT and pause > rhythm.patience
        now += pause
        rhythm.beat(now)

    assert strange == 0
    assert rhythm.patience < 30 / rate * FACTOR


def test_strange_is_what_is_silent_for_much_longer_than_ever() -> None:
    """Not before the least time, nor before enough pauses are known, nor what brought nothing on this connection."""
    pulse, now = beating([10.0] * LEARNT)
    assert pulse.strange(now + 39, 30) == [] and pulse.strange(now + 41, 30) == [KEY]
    assert pulse.strange(now + 41, 60) == []
    assert pulse.renewed(now).strange(now + 41, 30) == []

    pulse, now = beating([10.0] * (LEARNT - 1))
    assert pulse.strange(now + 1000, 30) == []


def test_one_stream_is_strange_while_others_flow() -> None:
    """Each by its own rate."""
    pulse, now = beating([1.0] * LEARNT)
    for step in range(60):
        pulse.hear([trade(step, symbol="ETH/USDT")], now + step)

    assert pulse.strange(now + 60, 30) == [KEY]
    assert pulse.flowing(now + 30) == {("ETH/USDT", Trade)}
    assert pulse.liveliest()[0] in {KEY, ("ETH/USDT", Trade)}


def test_a_batch_counts_as_one() -> None:
    """However many events are in it; a frame in quarantine is of no stream."""
    pulse = Pulse(Rhythm(0.0))
    pulse.hear([trade(1), trade(2), Quarantined("binance", 1, "torn", b"")], 3.0)

    assert pulse.whole == Rhythm(3.0, 3.0, 1)
    assert pulse.streams() == {KEY: Heard(Rhythm(3.0), trade(2), trade(2))}


def test_a_new_connection_knows_the_past() -> None:
    """Its silence counts from its own beginning, and what the old one hears later is not its own."""
    pulse, now = beating([2.0] * LEARNT)
    fresh = pulse.renewed(now + 100)
    pulse.hear([trade(99)], now + 101)

    assert fresh.streams()[KEY] == Heard(Rhythm(now + 100, 2.0, LEARNT), None, trade(LEARNT))
    assert fresh.flowing(-math.inf) == set()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (trade(7), trade(8), True),
        (trade(7), trade(7), True),
        (trade(7), trade(9), False),
        (trade("7a"), trade("9a"), True),
        (ticker(ONE, ONE), ticker(ONE, ONE), True),
        (trade(7), None, False),
    ],
)
def test_overlap_is_by_id_where_there_are_numbers(old: Event, new: Event | None, expected: bool) -> None:  # noqa: FBT001
    """Else something of the stream on the new connection is enough."""
    assert overlaps(heard(old, old), heard(new, new)) is expected
    assert not overlaps(heard(old, old), None)


def test_newer_trades_are_later_ones() -> None:
    """By time; of one instant by id, but only where ids count up."""
    assert newer(trade(7), [trade(6), trade(7)], counted=True) is None
    assert newer(trade(7), [trade(6), trade(8), trade(9)], counted=True) == trade(9)
    assert newer(trade(7), [trade(8)], counted=False) is None
    assert newer(trade(7), [trade(3, at=6)], counted=False) == trade(3, at=6)
    assert newer(trade(7), [trade(9, symbol="ETH/USDT")], counted=True) is None
    assert newer(trade(7), [], counted=True) is None


def test_newer_tickers_differ_in_price_and_in_best_prices() -> None:
    """One of both may be what a stream does not tell; unknown is not different."""
    before = ticker(ONE, ONE)

    assert newer(before, [ticker(TWO, TWO)], counted=True) == ticker(TWO, TWO)
    for told in (ticker(TWO, ONE), ticker(ONE, TWO), ticker(TWO, None)):
        assert newer(before, [told], counted=True) is None
