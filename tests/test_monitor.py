"""The books of a run, who is live by them, and what a scraper reads."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from attrs import define, evolve, field
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from trioagg.exchanges import Feed, Subscription, load
from trioagg.integrity.alerts import Alert, Rule, Subject
from trioagg.integrity.pulse import Pulse, Rhythm
from trioagg.model import Channel, ClockCheck, Event, OpenInterest, Quarantined, Session, Ticker, Trade
from trioagg.monitor.exposition import Family, exposition
from trioagg.monitor.metrics import SECOND, Histogram, Metrics
from trioagg.monitor.pages import Alerted, State, health_page, metrics_page, status_page
from trioagg.monitor.vitals import Filling
from trioagg.store import Counts

ONE = Decimal(1)
TRADES, TICKER, RARE = (Subscription("S", of, "S") for of in (Channel.TRADES, Channel.TICKER, Channel.LIQUIDATIONS))
LIFE = Session("binance", "ws-1", 2, 1, None, "")
NOTHING = {"duplicates": 0, "conflated": 0, "lost": 0}
RULES = {"lag": Rule(5, 2.5, 0, 10), "gap": Rule(60, 30, 0, 10)}


def trade(received: int = 1, timestamp: int | None = 1, exchange: str = "binance") -> Trade:
    return Trade(exchange, "S", received, ONE, ONE, "buy", timestamp, received)


def ticker(received: int = 1) -> Ticker:
    return Ticker("binance", "S", ONE, None, None, None, None, None, None, received)


@define
class Leg:
    """One connection's pulse."""

    pulse: Pulse = field(factory=lambda: Pulse(Rhythm(0)))

    def brings(self, *events: Event, at: float = 1) -> None:
        self.pulse.hear(events, at)


def state(metrics: Metrics, **more: Any) -> State:
    """A run of one exchange."""
    known = State(metrics, ["binance"], NOTHING, [], stall=30, now=100 * SECOND, clock=100)
    return evolve(known, **more)


def samples(metrics: Metrics, **more: Any) -> dict[str, float]:
    """What a scraper reads: name and labels → value."""
    page = metrics_page(state(metrics, **more)).body.decode()
    return {
        " ".join([sample.name, *sorted(sample.labels.values())]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def running(*subscriptions: Subscription) -> tuple[Metrics, Leg]:
    """An exchange that is configured, with one open connection that has brought nothing."""
    metrics, leg = Metrics(), Leg()
    metrics.configured(load("binance"), evolve(Feed(), subscriptions=subscriptions))
    metrics.noted([LIFE])
    metrics.carries(LIFE, subscriptions, leg)
    return metrics, leg


def failing(metrics: Metrics) -> list[str]:
    """What is not live, and why."""
    page = health_page(state(metrics))
    told = json.loads(page.body)
    assert (page.status, told["status"]) == ((503, "failing") if told["failing"] else (200, "ok"))
    return [f"{one['exchange']} {one['channel']}: {one['reason']}" for one in told["failing"]]


def test_events_are_counted_by_exchange_and_channel() -> None:
    """A quarantined frame too; an age is that of the last."""
    metrics = Metrics()
    metrics.took("binance", [trade(), trade(), ticker(), Quarantined("binance", 1, "torn", b"{")], 90 * SECOND)
    metrics.took("binance", [trade()], 99 * SECOND)
    metrics.took("binance", [], 100 * SECOND)
    found = samples(metrics)

    assert {name: n for name, n in found.items() if "messages" in name} == {
        "trioagg_messages_total binance trades": 3,
        "trioagg_messages_total binance ticker": 1,
        "trioagg_messages_total binance unknown": 1,
    }
    assert found["trioagg_last_event_age_seconds binance trades"] == 1
    assert found["trioagg_last_event_age_seconds binance ticker"] == 10


def test_the_lag_is_that_of_the_newest_event() -> None:
    """What a repair brings from the past is no measure, and an impossible time is none for ever."""
    metrics = Metrics()
    metrics.took("binance", [trade(5 * SECOND, 4 * SECOND)], 5 * SECOND)
    metrics.took("binance", [trade(6 * SECOND, 1 * SECOND)], 6 * SECOND)
    assert metrics.lags == {"binance": SECOND}

    metrics.took("binance", [trade(7 * SECOND, 10**18)], 7 * SECOND)
    metrics.took("binance", [trade(9 * SECOND, 8 * SECOND)], 9 * SECOND)
    metrics.took("binance", [trade(10 * SECOND, None)], 10 * SECOND)
    assert samples(metrics)["trioagg_lag_seconds binance"] == 1


def test_what_became_durable_is_counted() -> None:
    """Rows by exchange and channel, frames in quarantine, and how long it took."""
    metrics = Metrics()
    batch: list[Event] = [trade(SECOND), trade(2 * SECOND), Quarantined("binance", 2 * SECOND, "torn", b"{")]
    metrics.wrote(batch, Counts(1, 1, 1, {("binance", Trade): 1}), 2 * SECOND)
    metrics.wrote([ticker(2 * SECOND)], Counts(1, 0, 0, {("binance", Ticker): 1}), 2 * SECOND)
    found = samples(metrics)

    assert found["trioagg_rows_stored_total binance trades"] == found["trioagg_rows_stored_total binance ticker"] == 1
    assert found["trioagg_quarantined_total binance"] == 1
    assert found["trioagg_commit_seconds_count"] == 4 and found["trioagg_commit_seconds_sum"] == 1
    assert found["trioagg_commit_seconds_bucket 0.005"] == 3 and found["trioagg_commit_seconds_bucket +Inf"] == 4


def test_a_bucket_holds_what_took_at_most_its_bound() -> None:
    """A wait of exactly the bound is in it."""
    waits = Histogram()
    waits.add([trade(round(wait * SECOND)) for wait in (10, 9.995, 9.994, 9.9)], 10 * SECOND)

    assert waits.buckets == [2, 3, 3, 3, *[4] * 8]


def test_connections_and_how_often_they_were_opened_again() -> None:
    """The last ended one of a name is kept; two of one name may live side by side."""
    metrics = Metrics()
    for opened in (1, 2, 3):
        metrics.noted([replace(LIFE, opened=opened), replace(LIFE, opened=opened, closed=opened + 1, reason="lost")])
    metrics.noted([replace(LIFE, opened=4), replace(LIFE, opened=5), replace(LIFE, connection="ws-2")])
    told = json.loads(status_page(state(metrics)).body)["exchanges"]["binance"]

    assert told["reconnects"] == 4 == samples(metrics)["trioagg_reconnects_total binance"]
    assert [(one["name"], one["state"], one["opened"], one["reason"]) for one in told["connections"]] == [
        ("ws-1", "closed", 3, "lost"),
        ("ws-1", "open", 4, ""),
        ("ws-1", "open", 5, ""),
        ("ws-2", "open", 1, ""),
    ]


def test_a_feed_is_live_once_it_brings_something() -> None:
    """Before, it is named with what it lacks."""
    assert failing(Metrics()) == ["binance None: not started"]
    metrics, leg = running(TRADES, TICKER)
    assert failing(metrics) == [
        "binance trades: no connection brings it",
        "binance ticker: no connection brings it",
        "binance ticker: nothing has come yet",
        "binance trades: nothing has come yet",
    ]

    leg.brings(trade())
    metrics.took("binance", [trade()], 1)
    assert failing(metrics) == ["binance ticker: nothing has come yet"]
    metrics.took("binance", [ticker()], 1)
    assert failing(metrics) == []


def test_a_lost_connection_is_no_live_feed() -> None:
    """Until another one brings something again."""
    metrics, leg = running(TRADES)
    leg.brings(trade())
    metrics.took("binance", [trade()], 1)
    assert failing(metrics) == []

    metrics.noted([replace(LIFE, closed=2, reason="lost")])
    assert failing(metrics) == ["binance trades: no connection brings it"]
    again, new = replace(LIFE, opened=3), Leg(leg.pulse.renewed(2))
    metrics.noted([again])
    metrics.carries(again, [TRADES], new)
    assert failing(metrics) == ["binance trades: no connection brings it"]
    new.brings(trade())
    assert failing(metrics) == []


def test_what_is_rare_need_not_come() -> None:
    """A connection for liquidations is live while it is open."""
    metrics, _ = running(RARE)
    metrics.configured(load("bybit"), evolve(Feed(), subscriptions=[RARE]))
    metrics.plans["binance"] = metrics.plans.pop("bybit")
    assert failing(metrics) == []

    metrics.noted([replace(LIFE, closed=2)])
    assert failing(metrics) == ["binance liquidations: no connection brings it"]


def test_polls_must_bring_something() -> None:
    """Some of them may fail, not for long."""
    metrics = Metrics()
    held = Subscription("S", Channel.OPEN_INTEREST, "S")
    metrics.configured(load("binanceusdm"), evolve(Feed(), subscriptions=[held], interval=5))
    polled = metrics.plans["binance"] = metrics.plans.pop("binanceusdm")
    assert (polled.streamed, polled.polled) == ([], [held])
    assert failing(metrics) == ["binance open_interest: polls bring nothing"]

    interest = OpenInterest("binance", "S", ONE, None, 1)
    for at, live in ((54, False), (56, True)):  # 100 s less three polls and the time-out
        metrics.took("binance", [interest], at * SECOND)
        assert (failing(metrics) == []) is live


def test_silent_streams_are_named() -> None:
    """Those that never brought anything, and those that are silent for longer than their past explains."""
    metrics, leg = running(TRADES, TICKER)
    for second in range(1, 40):
        leg.brings(trade(), at=second)
    told = json.loads(status_page(state(metrics)).body)["exchanges"]["binance"]

    assert told["silent"] == [
        {"exchange": "binance", "symbol": "S", "channel": "ticker", "since": None},
        {"exchange": "binance", "symbol": "S", "channel": "trades", "since": 61},
    ]


def test_the_rest_of_the_names() -> None:
    """Flows, gaps, deviations, alerts, clocks, the account."""
    metrics = Metrics()
    metrics.noted([ClockCheck("binance", 1, 2, 3, 4)])
    whole: dict[str, Any] = {
        "counts": {"duplicates": 1, "conflated": 2, "lost": 3},
        "flows": [Filling("database", capacity=100, waiting=50, peak=80), Filling("recorder", 100, 120, 150)],
        "gaps": {"binance": 7},
        "deviations": {("S", "binance"): 0.25},
        "alerted": Alerted(RULES, [Alert("lag", Subject("binance"), 7.5, 40)], {"lag": 2}, {"webhook": 1}),
    }
    found = samples(metrics, **whole)

    assert found["trioagg_duplicates_total"] == 1
    assert found["trioagg_channel_fill database"] == 0.5 and found["trioagg_channel_peak database"] == 0.8
    assert found["trioagg_channel_fill recorder"] == 1
    assert found["trioagg_gaps_open binance"] == 7
    assert found["trioagg_price_deviation_ratio S binance"] == 0.25
    assert found["trioagg_alerts lag"] == 1 and found["trioagg_alerts gap"] == 0
    assert found["trioagg_alerts_raised_total lag"] == 2 and found["trioagg_notices_failed_total webhook"] == 1
    told = json.loads(status_page(state(metrics, **whole)).body)
    (alert,) = told["alerts"]
    assert (alert["alert"], alert["exchange"], alert["value"], alert["since"]) == ("lag", "binance", 7.5, 40 * SECOND)
    assert told["open_gaps"] == 7 and told["exchanges"]["binance"]["clock"]["offset"] == 1


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "é", ""])
def test_labels_are_escaped(text: str) -> None:
    """A scraper reads the very same text."""
    (family,) = text_string_to_metric_families(exposition([Family("x", "gauge", "says", [({"label": text}, 1.5)])]))

    assert [(one.labels, one.value) for one in family.samples] == [({"label": text}, 1.5)]
