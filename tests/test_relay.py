"""Make before break, on the fake clock: the successor carries before the old connection ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from attrs import define, field
from far_end import ask, far_end, ids, settings_for
from lines import (
    SHUTDOWN,
    FakeRest,
    Line,
    Lines,
    bids,
    lives,
    numbers,
    quote,
    quotes,
    stream_of,
    together,
    trade,
    trades,
)

from trioagg.exchanges import Feed, Subscription, load
from trioagg.model import Channel, Record, Ticker, Trade
from trioagg.pipeline.flow import Outlet, flow
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.lead import Lead
from trioagg.pipeline.relay import PATIENCE, SETTLE, Relay
from trioagg.pipeline.run import Job, run
from trioagg.pipeline.supervise import supervise
from trioagg.pipeline.tally import Tally
from trioagg.transport.backoff import Attempts, Backoff
from trioagg.transport.frames import Frames

TRADES = Subscription("S0", Channel.TRADES, "S0")
TICKER = Subscription("S0", Channel.TICKER, "S0")
MARKET = together(trades(every=1, until=200), quotes(every=1, until=200))
DAY = 86_400.0
SAID = "the exchange announced its shutdown"


@define
class Came:
    """What a relay over some lines brought within so many seconds."""

    records: list[Record]
    received: int
    opened: list[float] = field(factory=list)


async def carried(
    lines: list[Line],
    monkeypatch: pytest.MonkeyPatch,
    *,
    seconds: float,
    rest: FakeRest | None = None,
    subscriptions: Sequence[Subscription] = (TRADES, TICKER),
) -> Came:
    """Run it, supervised, with waits of 1, 2, 4, … seconds."""
    far, outlets = Lines(lines), list[Outlet[Record]]()
    monkeypatch.setattr("trioagg.transport.websocket.connect", far.connect)
    stream = stream_of(outlets, subscriptions=subscriptions, rest=rest)
    attempts = Attempts(Backoff(1, 60), random=lambda: 0.0)
    with trio.move_on_after(seconds):
        await supervise(Relay(stream, attempts, Lead(stream.intake)).live, attempts, hint=dict)
    return Came(outlets[0].take_waiting(), stream.intake.tally.received, [round(at, 3) for at, _ in far.taken])


async def test_an_announced_end_leaves_no_gap(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every trade and every quote comes, none of the quotes twice; both sessions overlap and say why."""
    lines = [Line(together(MARKET, [(20.2, SHUTDOWN)]), until=60), Line(MARKET, lag=0.1)]
    came = await carried(lines, monkeypatch, seconds=100)

    assert sorted(set(numbers(came.records))) == list(range(1, 100))
    assert bids(came.records) == list(range(1, 101))
    told = lives(came.records)
    assert told == [(0, pytest.approx(20.2 + SETTLE, abs=1), f"handed over: {SAID}"), (20.2, 100, "stopped")]
    both = len(numbers(came.records)) - 99
    assert 4 <= both <= 6 and came.received == 99 + both + 100


async def test_by_id_the_old_one_must_have_caught_up(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old connection that lags by 20 s ends once it brought the trade before its successor's first."""
    lines = [Line(together(MARKET, [(0.2, SHUTDOWN)]), lag=20), Line(MARKET)]
    came = await carried(lines, monkeypatch, seconds=100, subscriptions=[TRADES])

    assert sorted(set(numbers(came.records))) == list(range(1, 100))
    assert lines[0].closed == 41 and came.opened == [0, 20.2]


async def test_a_connection_is_replaced_before_it_is_a_day_old(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in 24 h, without a gap, though the far end would have cut it."""
    market = list(trades(every=29, until=DAY + 4000))
    lines = [Line(market, until=DAY), Line(market)]
    came = await carried(lines, monkeypatch, seconds=DAY + 3600, subscriptions=[TRADES])

    lifetime = load("binance").limits.lifetime
    assert lifetime is not None and came.opened == [0, lifetime]
    assert sorted(set(numbers(came.records))) == list(range(1, int((DAY + 3600) / 29) + 1))
    assert lives(came.records)[0][2] == "handed over: the exchange closes connections of this age"


async def test_a_refused_successor_is_tried_again(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one goes on meanwhile; the waits grow; nothing is lost."""
    refused = [Line(refuses="the handshake was refused: HTTP 503") for _ in range(3)]
    lines = [Line(together(MARKET, [(20.2, SHUTDOWN)])), *refused, Line(MARKET)]
    came = await carried(lines, monkeypatch, seconds=100)

    assert came.opened == [0, 20.2, 21.2, 23.2, 27.2]
    assert bids(came.records) == list(range(1, 101))
    assert sorted(set(numbers(came.records))) == list(range(1, 100))


async def test_a_successor_without_data_ends_and_the_old_one_stays(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stall time-out holds for a successor too."""
    lines = [Line(together(MARKET, [(20.2, SHUTDOWN)])), Line(), Line(MARKET)]
    came = await carried(lines, monkeypatch, seconds=100)

    assert came.opened == [0, 20.2, 51.2]
    assert [reason for *_, reason in lives(came.records)] == [f"handed over: {SAID}", "no data for 30 s", "stopped"]
    assert bids(came.records) == list(range(1, 101))


async def test_an_old_one_that_dies_meanwhile_is_no_loss(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From that moment the successor alone brings everything."""
    lines = [Line(together(MARKET, [(20.2, SHUTDOWN)]), until=22.2), Line(MARKET)]
    came = await carried(lines, monkeypatch, seconds=100)

    assert came.opened == [0, 20.2]
    assert bids(came.records) == list(range(1, 101))
    assert sorted(set(numbers(came.records))) == list(range(1, 100))


async def test_patience_with_a_successor_ends(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lacks the quotes takes over all the same."""
    lines = [Line(together(MARKET, [(20.2, SHUTDOWN)])), Line(list(trades(every=1, until=200)))]
    await carried(lines, monkeypatch, seconds=150)

    assert lines[0].closed == pytest.approx(20.2 + PATIENCE)


async def test_ends_that_come_round_and_round_are_slowed(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is told to end as soon as it is open is not followed by the next at once."""
    lines = [Line(together(MARKET, [(0.1 + n, SHUTDOWN) for n in range(200)])) for _ in range(30)]
    came = await carried(lines, monkeypatch, seconds=100)

    assert 3 <= len(came.opened) <= 8
    assert bids(came.records) == list(range(1, 101))


async def test_an_announced_end_of_the_only_one_is_followed_at_once(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died while its successor was refused: no back-off of its own."""
    lines = [Line(together(MARKET, [(20, SHUTDOWN)]), until=20.5), Line(refuses="no"), Line(MARKET)]
    came = await carried(lines, monkeypatch, seconds=50)

    assert came.opened == [0, 20, 20.5]


def test_what_a_connection_beside_another_may_not_bring_is_not_recorded() -> None:
    """Its trades are, its quotes are not, so that a replay of the recording adds nothing; both are told to who asks."""
    inlet, outlet = flow("test", 100)
    captures, recorded = flow("captures", 100)
    intake = Intake(Tally(), [inlet], captures)
    adapter = load("binance")(Feed([TRADES, TICKER]))
    events, _ = intake.beside().frames(adapter, "ws://far.end", Frames(5, [quote(1), trade(1), quote(2), trade(2)]))

    assert [type(event) for event in events] == [Ticker, Trade, Ticker, Trade]
    assert outlet.take_waiting() == [events[1], events[3]] and intake.tally.received == 2
    assert [(frame.payload, frame.received) for frame in recorded.take_waiting()] == [(trade(1), 6), (trade(2), 8)]


async def test_a_real_shutdown_opens_no_gap(tmp_path: Path) -> None:
    """The built-in exchange announces it, and closes a second later: each trade is there, and no gap ever was."""
    file = tmp_path / "a.db"
    async with far_end(faults=["shutdown,at=0.4,for=0.4"]) as urls:
        outcome = await run(Job(settings_for(urls, file), duration=1.5))
        assert urls.statistics.connections == 2

    t = outcome.tally
    assert t.received == t.stored + t.duplicates + t.quarantined + t.conflated + t.lost and t.duplicates > 3
    stored = ids(file)
    assert stored == list(range(stored[0], stored[-1] + 1)) and ask(file, "SELECT count(*) FROM gaps") == [(0,)]
    (old, new) = ask(file, "SELECT opened, closed, reason FROM sessions ORDER BY opened")
    assert old[0] < new[0] < old[1] < new[1] and old[2].startswith("closed by the exchange")
