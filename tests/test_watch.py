"""Dead or quiet, on the fake clock: what is replaced, what is left alone, and how often REST is asked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import trio
from attrs import evolve
from lines import FakeRest, Line, Lines, Say, numbers, quote, stream_of, together, trade, trades
from test_relay import DAY, TICKER, TRADES, Came, carried

from trioagg.errors import LinkError
from trioagg.exchanges import Subscription, load
from trioagg.integrity.pulse import FACTOR
from trioagg.model import Channel, Record
from trioagg.pipeline.flow import flow
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.lead import Lead
from trioagg.pipeline.relay import Relay
from trioagg.pipeline.tally import Tally
from trioagg.pipeline.watch import AGAIN, GRACE
from trioagg.transport.backoff import Attempts, Backoff

OTHER = Subscription("S1", Channel.TRADES, "S1")
Clock = trio.testing.MockClock


async def watched(
    lines: list[Line],
    monkeypatch: pytest.MonkeyPatch,
    *,
    seconds: float,
    rest: FakeRest,
    subscriptions: Sequence[Subscription] = (TRADES,),
) -> Came:
    """As ``carried``, with what REST knows."""
    return await carried(lines, monkeypatch, seconds=seconds, rest=rest, subscriptions=subscriptions)


async def test_a_quiet_pair_is_left_alone_for_a_day(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One trade every ten minutes: replaced at the end of its lifetime only; REST is asked about once for each."""
    market: list[Say] = [(600 * n + 20, trade(n + 1, at=600 * n + 20)) for n in range(200)]
    rest = FakeRest(market)
    came = await watched([Line(market), Line(market)], monkeypatch, seconds=DAY + 3000, rest=rest)

    assert came.opened == [0, load("binance").limits.lifetime]
    assert set(numbers(came.records)) == set(range(1, 150))
    assert len(rest.asked) < 170
    assert min(b - a for (a, _), (b, _) in pairwise(rest.asked)) >= AGAIN


async def test_a_quiet_connection_that_died_is_found(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """REST tells a trade that never came: replaced, and its new connection may be quiet again."""
    market: list[Say] = [(20 + 40 * n, trade(n + 1, at=20 + 40 * n)) for n in range(30)]
    rest = FakeRest(market)
    came = await watched([Line(market[:10]), Line(market)], monkeypatch, seconds=1000, rest=rest)

    assert len(came.opened) == 2
    assert came.opened[1] == 380 + FACTOR * 40 + GRACE + 1
    assert len(rest.asked) > 4 and min(b - a for (a, _), (b, _) in pairwise(rest.asked)) >= 60


async def test_patience_ends_with_the_quiet(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an hour of silence that REST explained, trades flow and stop again: found as soon as ever."""
    market: list[Say] = [(20, trade(1)), (80, trade(2)), *((3600 + n, trade(3 + n)) for n in range(100))]
    rest = FakeRest([*market, (3720, trade(103, at=3720))])
    came = await watched([Line(market), Line()], monkeypatch, seconds=3800, rest=rest)

    assert len(came.opened) == 2 and 3699 + 30 < came.opened[1] < 3699 + 60 + GRACE + 2


async def test_silence_that_rest_cannot_explain_ends_a_connection(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stall time-out holds where REST does not answer, for a pair that was as quiet before."""
    market: list[Say] = [(20, trade(1)), (45, trade(2))]
    rest = FakeRest(None)
    came = await watched([Line(market), *(Line() for _ in range(9))], monkeypatch, seconds=77, rest=rest)

    assert came.opened == [0, 76] and [at for at, _ in rest.asked] == [75]


async def test_a_busy_connection_that_falls_silent_is_replaced_unasked(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own past says that it never was so quiet."""
    rest = FakeRest([])
    came = await watched([Line(list(trades(every=1, until=60))), Line()], monkeypatch, seconds=95, rest=rest)

    assert came.opened == [0, 59 + 30 + 1] and rest.asked == []


async def test_acknowledgements_alone_do_not_keep_a_connection(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is known, so REST cannot be asked what it should have brought."""
    acks: list[Say] = [(at, b'{"result":null,"id":1}') for at in range(1, 100)]
    rest = FakeRest([])
    came = await watched([Line(acks), Line(acks)], monkeypatch, seconds=40, rest=rest)

    assert came.opened == [0, 31] and rest.asked == []


async def test_a_decayed_stream_is_found_among_flowing_ones(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One market stops, the other one goes on: one question, and the connection is replaced."""
    one, other = list(trades(every=1, until=400)), list(trades(every=1, until=400, symbol="S1"))
    rest = FakeRest(one)
    lines = [Line(together(one[:100], other)), Line(together(one, other))]
    came = await watched(lines, monkeypatch, seconds=300, rest=rest, subscriptions=[TRADES, OTHER])

    assert len(rest.asked) == 1 and len(came.opened) == 2
    assert 130 < came.opened[1] <= 130 + 10 + GRACE + 1
    assert "symbol=S0&fromId=101&limit=1" in rest.asked[0][1]
    assert set(numbers(came.records, "S1")) >= set(range(1, 130))


async def test_a_stream_that_became_quiet_is_left_alone(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """REST knows nothing newer either: asked again and again, each time after twice the silence."""
    one, other = list(trades(every=1, until=100)), list(trades(every=1, until=4000, symbol="S1"))
    rest = FakeRest(one)
    came = await watched(
        [Line(together(one, other))], monkeypatch, seconds=3900, rest=rest, subscriptions=[TRADES, OTHER]
    )

    asked = [at - 99 for at, _ in rest.asked]
    assert came.opened == [0] and 4 <= len(asked) <= 8
    assert all((b >= 2 * a and b - a >= AGAIN) or a < 60 for a, b in pairwise(asked))


async def test_a_question_without_an_answer_proves_nothing(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stream is silent, others flow, REST is down: the connection stays."""
    one, other = list(trades(every=1, until=100)), list(trades(every=1, until=1000, symbol="S1"))
    rest = FakeRest(None)
    came = await watched(
        [Line(together(one, other))], monkeypatch, seconds=900, rest=rest, subscriptions=[TRADES, OTHER]
    )

    assert came.opened == [0] and 2 <= len(rest.asked) <= 6


async def test_a_trade_on_its_way_is_no_death(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What REST tells first and the stream a second later."""
    market: list[Say] = [(20, trade(1)), (50.5, trade(2, at=50))]
    rest = FakeRest(market)
    came = await watched([Line(market, lag=1)], monkeypatch, seconds=60, rest=rest)

    assert came.opened == [0] and [at for at, _ in rest.asked] == [51]


async def test_liquidations_alone_need_no_data(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the socket lives: days may pass without any."""
    rare = [Subscription("S0", Channel.LIQUIDATIONS, "S0")]
    came = await watched([Line()], monkeypatch, seconds=3600, rest=FakeRest([]), subscriptions=rare)

    assert came.opened == [0]


async def test_a_silent_ticker_is_asked_of_the_poll(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is dead only if the price and the best prices changed; this poll tells the same as the stream."""
    told: list[Say] = [(n, quote(5)) for n in range(1, 60)]
    market = together(told, trades(every=1, until=400))
    rest = FakeRest([(0, quote(5))])
    came = await watched([Line(market)], monkeypatch, seconds=200, rest=rest, subscriptions=[TRADES, TICKER])

    assert came.opened == [0] and rest.asked and all("ticker/24hr?symbols=" in path for _, path in rest.asked)


@pytest.mark.parametrize("stands", [29, 100, 1000])
async def test_a_store_that_stands_still_is_not_the_connection_s_fault(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch, stands: float
) -> None:
    """While nobody reads, silence is no reason to ask or to replace; afterwards it is as before, no later."""
    market = list(trades(every=1, until=40 + stands))
    lines, rest = Lines([Line(market), Line(market)]), FakeRest(market)
    monkeypatch.setattr("trioagg.transport.websocket.connect", lines.connect)
    inlet, outlet = flow("test", 10)
    stream = evolve(stream_of([], rest=rest), intake=Intake(Tally(), [inlet]))
    taken: list[Record] = []

    async def store() -> None:
        for begin in (0, 20 + stands):
            await trio.sleep_until(begin)
            with trio.move_on_at(begin + 20 + (begin and stands)):
                while True:
                    taken.extend(await outlet.take(1000))

    with trio.move_on_after(40 + stands + 29):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store)
            nursery.start_soon(Relay(stream, Attempts(Backoff(1, 60)), Lead(stream.intake)).live)
    assert [at for at, _ in lines.taken] == [0] and rest.asked == []
    assert numbers(taken) == list(range(1, len(market) + 1))


async def test_what_falls_silent_after_a_stall_of_ours_is_found(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as ever after it is listened to again."""
    lines = Lines([Line(list(trades(every=1, until=40)))])
    monkeypatch.setattr("trioagg.transport.websocket.connect", lines.connect)
    inlet, outlet = flow("test", 30)
    stream = evolve(stream_of([]), intake=Intake(Tally(), [inlet]))

    async def take_late() -> None:
        await trio.sleep(500)
        while True:
            await outlet.take(1000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_late)
        with pytest.RaisesGroup(LinkError, flatten_subgroups=True):
            await Relay(stream, Attempts(Backoff(1, 60)), Lead(stream.intake)).live()
        assert 530 <= trio.current_time() <= 560
        nursery.cancel_scope.cancel()
