"""What alerts are raised about: each number out of the books of a run, and what must not count."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import trio
from attrs import evolve
from msgspec.structs import replace
from structlog.testing import capture_logs
from test_monitor import LIFE, ONE, TICKER, TRADES, Leg, running, ticker, trade

from trioagg.exchanges import Feed, Subscription, load
from trioagg.integrity.alerts import Alarms, Rule, Subject
from trioagg.model import Channel, ClockCheck, Gap, Instrument, OpenInterest, Part, Ticker
from trioagg.monitor.metrics import SECOND, Metrics
from trioagg.monitor.notices import Notice
from trioagg.monitor.vitals import Filling, Moment, Vitals
from trioagg.pipeline.alerting import EVERY, HELD_UP, Alerting

OTHERS = ("bybit", "kraken", "okx")


def seen(vitals: Vitals, at: float, **more: Any) -> dict[str, float | None]:
    """What is not well at so many seconds: the rule, and what it is about."""
    found = vitals.look(Moment(now=round(at * SECOND), clock=at, **more))
    return {
        " ".join(filter(None, (rule, about.exchange, about.symbol, about.channel))): value and round(value, 3)
        for (rule, about), value in found.items()
        if value or about.symbol or rule in {"exchange", "stream"}
    }


def watched(metrics: Metrics, *exchanges: str) -> Vitals:
    return Vitals(metrics, exchanges or ("binance",), 30, 0)


def test_an_exchange_is_away_until_a_connection_brings_something() -> None:
    """From the first look on; of its streams nobody can tell anything meanwhile."""
    vitals = watched(Metrics())
    assert seen(vitals, 5) == {"exchange binance": 0}
    assert seen(vitals, 9) == {"exchange binance": 4}

    vitals.metrics, leg = running(TRADES, TICKER)
    unknown = dict.fromkeys(
        f"{rule} binance S {of}" for rule in ("stream", "unheard", "silence") for of in ("trades", "ticker")
    )
    assert seen(vitals, 10) == {"exchange binance": 5, **unknown}
    leg.brings(trade(), at=11)
    assert seen(vitals, 11) == {"unheard binance S ticker": 11}
    vitals.metrics.noted([replace(LIFE, closed=12, reason="lost")])
    assert seen(vitals, 20)["exchange binance"] == 0 and seen(vitals, 29)["exchange binance"] == 9


def test_a_stream_is_away_while_the_exchange_is_there() -> None:
    """Counted from when the exchange is; one that polls bring must come too, and what is nowhere cannot be away."""
    metrics, leg = running(TRADES)
    metrics.plans["binance"] = evolve(metrics.plans["binance"], streamed=[TRADES, TICKER])
    vitals = watched(metrics)
    seen(vitals, 1)
    leg.brings(trade(), at=40)
    assert seen(vitals, 40) == {"stream binance S ticker": 0}
    assert seen(vitals, 47) == {"stream binance S ticker": 7}

    held = Subscription("S", Channel.OPEN_INTEREST, "S")
    metrics.plans["binance"] = evolve(metrics.plans["binance"], streamed=[TRADES], polled=[held], period=5)
    metrics.took("binance", [OpenInterest("binance", "S", ONE, None, 1)], 50 * SECOND)
    leg.brings(trade(), at=90)
    assert seen(vitals, 95) == {}
    assert seen(vitals, 96) == {"stream binance open_interest": 0}
    metrics.plans["binance"] = evolve(metrics.plans["binance"], streamed=[])
    assert seen(vitals, 100) == {"exchange binance": 0, "stream binance open_interest": None}
    metrics.plans["binance"] = evolve(metrics.plans["binance"], polled=[])
    assert seen(vitals, 100) == {}


def test_silence_is_what_the_past_does_not_explain() -> None:
    """A quiet market may be quiet; one that always spoke may not."""
    metrics, leg = running(TRADES, TICKER)
    vitals = watched(metrics)
    leg.brings(ticker(), at=0)
    for second in range(0, 300, 10):
        leg.brings(trade(), at=second)
    assert seen(vitals, 330) == {} == seen(vitals, 329), "four times its longest pause is nothing strange"
    assert seen(vitals, 331) == {"silence binance S trades": 41}
    leg.brings(trade(), at=332)
    assert seen(vitals, 333) == {}

    leg.pulse = leg.pulse.renewed(340)
    leg.brings(ticker(), at=341)
    assert seen(vitals, 500) == {}, "it has learnt that it may be silent for 42 s"
    assert seen(vitals, 510) == {"silence binance S trades": 170}


def test_the_better_of_two_connections_counts() -> None:
    """With the same subscriptions."""
    metrics, leg = running(TRADES, TICKER)
    beside, other = replace(LIFE, connection="ws-1b"), Leg()
    metrics.noted([beside])
    metrics.carries(beside, [TRADES, TICKER], other)
    leg.brings(ticker(), at=5)
    other.brings(ticker(), at=5)
    assert seen(watched(metrics), 6)["unheard binance S trades"] == 6
    other.brings(trade(), at=8)
    assert not seen(watched(metrics), 9).keys() & {"unheard binance S trades", "silence binance S trades"}


def test_a_gap_is_as_old_as_the_run_at_most() -> None:
    """The oldest of a market counts."""
    metrics, leg = running(TRADES)
    leg.brings(trade())
    vitals = Vitals(metrics, ["binance"], 30, began=50 * SECOND)
    part = Part(1, 1, "open", None)
    gaps = [Gap("binance", "S", "trades", 1, 1, "lost", at * SECOND, (part,)) for at in (10, 70)]

    assert seen(vitals, 100, gaps=gaps) == {"gap binance S trades": 50}
    assert seen(vitals, 100, gaps=gaps[1:]) == {"gap binance S trades": 30}


def test_the_lag_is_that_of_the_latest_connection() -> None:
    """By what its streams brought just now; what happened before it was there is a backlog, a clock behind no lag."""
    metrics, leg = running(TRADES)
    vitals = watched(metrics)
    metrics.connections[("binance", "ws-1", 1)] = evolve(
        metrics.connections["binance", "ws-1", 1], session=replace(LIFE, opened=10 * SECOND)
    )
    for received, happened, lag in ((20, 5, None), (40, 28, 12), (41, 40, 1), (42, 50, 0)):
        leg.brings(trade(received * SECOND, happened * SECOND), at=received)
        found = vitals.look(Moment(received * SECOND, received))
        assert found["lag", Subject("binance")] == lag
    assert vitals.look(Moment(60 * SECOND, 60))["lag", Subject("binance")] is None


@pytest.mark.parametrize(
    ("offset", "uncertainty", "skew"), [(1500, 200, 1.3), (-1500, 200, -1.3), (100, 200, 0), (None, None, None)]
)
def test_only_what_is_sure_of_a_clock_counts(offset: int | None, uncertainty: int | None, skew: float | None) -> None:
    """By half of the round trip it may be otherwise."""
    metrics = Metrics()
    ahead, either_way = (None if told is None else told * 10**6 for told in (offset, uncertainty))
    metrics.noted([ClockCheck("binance", ahead, either_way, None, 1)])

    assert watched(metrics).look(Moment(1, 1))["skew", Subject("binance")] == skew


def test_flows_and_the_disk() -> None:
    """A share, and megabytes."""
    found = watched(Metrics()).look(Moment(1, 1, flows=[Filling("database", 100, 85, 90)], free=7.5))

    assert found["fill", Subject(channel="database")] == 0.85 and found["disk", Subject()] == 7.5


def market(prices: dict[str, float], *, halted: str = "") -> tuple[Metrics, dict[str, Leg]]:
    """Exchanges that tell one market's price at 100 s."""
    metrics, legs = Metrics(), dict[str, Leg]()
    for name, price in prices.items():
        status = "halt" if name == halted else "trading"
        listed = Instrument(name, "S", "S", "S", "S", None, None, ONE, "S", status)
        metrics.configured(load(name), evolve(Feed(), subscriptions=[TICKER], instruments=[listed]))
        life, legs[name] = replace(LIFE, exchange=name), Leg()
        metrics.noted([life])
        metrics.carries(life, [TICKER], legs[name])
        legs[name].brings(quoted(name, price), at=100)
    return metrics, legs


def quoted(name: str, price: float, at: float = 100, size: int = 1) -> Ticker:
    value, received = Decimal(str(price)), round(at * SECOND)
    return Ticker(name, "S", value - 1, Decimal(size), value + 1, None, None, None, received, received)


def apart(vitals: Vitals, at: float) -> dict[str, float]:
    """Exchange → how far from the others, in percent."""
    found = vitals.look(Moment(round(at * SECOND), at))
    return {about.exchange: round(100 * (value or 0), 2) for (rule, about), value in found.items() if rule == "price"}


def test_one_outlier_is_known_by_the_others() -> None:
    """It spoils no other's measure; where two exchanges differ, nobody knows which is wrong."""
    metrics, _ = market({"binance": 105, "bybit": 100, "kraken": 100.1, "okx": 99.9})
    assert apart(watched(metrics, "binance", *OTHERS), 101) == {"binance": 5, "bybit": -0.1, "kraken": 0.1, "okx": -0.2}
    metrics, _ = market({"binance": 105, "bybit": 100, "kraken": 100})
    assert apart(watched(metrics, "binance", "bybit", "kraken"), 101) == {"binance": 5, "bybit": 0, "kraken": 0}
    metrics, _ = market({"binance": 105, "bybit": 100})
    vitals = watched(metrics, "binance", "bybit")
    assert apart(vitals, 101) == {} and vitals.deviations["S", "binance"] == 0.05


@pytest.mark.parametrize("why", ["stale", "repeating", "halted", "away"])
def test_who_says_nothing_new_is_no_measure(why: str) -> None:
    """Neither are the others measured by it, nor it by them."""
    names = ("binance", *OTHERS)
    metrics, legs = market(dict.fromkeys(names, 100.0), halted="binance" if why == "halted" else "")
    vitals = watched(metrics, *names)
    apart(vitals, 100)
    for at in range(101, 200):
        for name in OTHERS:
            legs[name].brings(quoted(name, 105, at, size=at), at=at)
        if why == "repeating":
            legs["binance"].brings(quoted("binance", 100, at), at=at)
        if why == "away" and at == 110:
            metrics.noted([replace(LIFE, exchange="binance", closed=1)])
        found = apart(vitals, at)
        gone = {"stale": 161, "repeating": 161, "halted": 0, "away": 110}[why]
        assert found == dict.fromkeys(OTHERS, 0.0) | ({"binance": -4.76} if at < gone else {})


def test_a_polled_price_counts_where_no_stream_brings_one() -> None:
    """And it too is as old as what it says."""
    metrics, _ = market({"kraken": 100, "okx": 100})
    metrics.configured(load("bitstamp"), evolve(Feed(), subscriptions=[TICKER]))
    vitals = watched(metrics, "kraken", "okx", "bitstamp")
    metrics.answered("bitstamp", [quoted("bitstamp", 103)])
    metrics.answered("kraken", [quoted("kraken", 500)])
    assert apart(vitals, 101)["bitstamp"] == 3 and apart(vitals, 101)["kraken"] == 0
    for at in range(102, 159):
        metrics.answered("bitstamp", [quoted("bitstamp", 103, at)])
        vitals.look(Moment(at * SECOND, at))
    assert "bitstamp" in apart(vitals, 159) and "bitstamp" not in apart(vitals, 161)


async def test_a_look_that_comes_late_says_nothing(mock_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """When the process stood still, what came meanwhile has not been read yet."""
    told: list[Notice] = []
    alerting = Alerting(Alarms({"disk": Rule(500, 600, 0, 10, "MB")}), watched(Metrics()), told.append)
    nursery.start_soon(alerting.watch, lambda: Moment(1, trio.current_time(), free=1.0))
    with capture_logs() as logs:
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(EVERY + HELD_UP + 1)
        await trio.testing.wait_all_tasks_blocked()
        assert (told, logs) == ([], [])
        mock_clock.jump(EVERY)
        await trio.testing.wait_all_tasks_blocked()

    (line,) = told[0].lines()
    assert str(line) == "raised disk: 1MB are free"
    assert [(entry["event"], entry["log_level"], entry["alert"]) for entry in logs] == [
        ("alert raised", "warning", "disk")
    ]
    nursery.cancel_scope.cancel()
