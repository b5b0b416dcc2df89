"""What the pages say: the metrics of the contract, health, and the whole state as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import asdict, field, frozen
from msgspec import structs

from trioagg.integrity.alerts import Alert, Rule
from trioagg.model import CHANNELS, Channel, Nanos
from trioagg.monitor.exposition import CONTENT_TYPE, Family, Sample, exposition, histogram
from trioagg.monitor.health import heard_of, silences, troubles
from trioagg.monitor.metrics import BOUNDS, SECOND, Connection, Metrics
from trioagg.monitor.notices import entry
from trioagg.monitor.vitals import Filling
from trioagg.monitor.web import JSON, Answer

UNKNOWN = "unknown"
"""The channel of what could not be understood."""


@frozen
class Alerted:
    """What is known of alerts.

    Attributes:
        rules: those that there are.
        standing: those that are raised.
        raised: rule → how many were, so far.
        failed: ``webhook`` or ``command`` → notices that could not be told.
    """

    rules: Mapping[str, Rule] = field(factory=dict)
    standing: Sequence[Alert] = ()
    raised: Mapping[str, int] = field(factory=dict)
    failed: Mapping[str, int] = field(factory=dict)


@frozen
class State:
    """A run at one moment.

    Attributes:
        exchanges: those that are configured.
        counts: the account so far, by name.
        stall: seconds without data that are never strange.
        now: our time, nanoseconds UTC.
        clock: the time by the clock of the pulses, seconds.
        deviations: (symbol, exchange) → see ``integrity.deviation``.
        gaps: exchange → open gaps; None where the database cannot be read now.
    """

    metrics: Metrics
    exchanges: Sequence[str]
    counts: Mapping[str, int]
    flows: Sequence[Filling]
    stall: float
    now: Nanos
    clock: float
    alerted: Alerted = Alerted()
    deviations: Mapping[tuple[str, str], float] = field(factory=dict)
    gaps: Mapping[str, int] | None = None


def metrics_page(state: State) -> Answer:
    """``/metrics``."""
    return Answer(exposition([*_flowing(state), *_told(state), *_judged(state)]).encode(), CONTENT_TYPE)


def health_page(state: State) -> Answer:
    """``/healthz``: 200 while every configured feed is live, else 503 and which are not."""
    found = troubles(state.metrics, state.exchanges, stall=state.stall, now=state.now)
    body = {"status": "failing" if found else "ok", "feeds": len(state.exchanges), "failing": list(map(asdict, found))}
    return _json(body, 503 if found else 200)


def status_page(state: State) -> Answer:
    """``/status``: all that is known of the run."""
    found, rules = troubles(state.metrics, state.exchanges, stall=state.stall, now=state.now), state.alerted.rules
    return _json(
        {
            "now": state.now,
            "counts": state.counts,
            "open_gaps": None if state.gaps is None else sum(state.gaps.values()),
            "alerts": [entry(one, rules[one.rule], state.clock, state.now) for one in state.alerted.standing],
            "flows": [asdict(flow) for flow in state.flows],
            "failing": list(map(asdict, found)),
            "exchanges": {name: _exchange(state, name) for name in state.exchanges},
        }
    )


def _exchange(state: State, name: str) -> dict[str, Any]:
    metrics, clock = state.metrics, state.metrics.clocks.get(name)
    silent = silences(metrics, name, stall=state.stall, now=state.clock)
    return {
        "connections": [_connection(one) for some in metrics.of(name).values() for one in some],
        "silent": [asdict(silence) for silence in silent],
        "messages": _by_channel(metrics.messages[name]),
        "rows": _by_channel({kind: count for (where, kind), count in metrics.rows.items() if where == name}),
        "quarantined": metrics.quarantined[name],
        "reconnects": metrics.reconnects(name),
        "open_gaps": None if state.gaps is None else state.gaps.get(name, 0),
        "lag": metrics.lags.get(name),
        "clock": clock and structs.asdict(clock),
    }


def _connection(one: Connection) -> dict[str, Any]:
    return {
        "name": one.session.connection,
        "state": "open" if one.session.closed is None else "closed",
        "subscriptions": one.session.subscriptions,
        "opened": one.session.opened,
        "closed": one.session.closed,
        "reason": one.session.reason,
    }


def _flowing(state: State) -> Iterable[Family]:
    metrics, names = state.metrics, state.exchanges
    came = [(_labels(name, of), n) for name in names for of, n in _by_channel(metrics.messages[name]).items()]
    yield Family("trioagg_messages_total", "counter", "Normalised events received; unknown: quarantined frames.", came)
    rows = {name: {kind: n for (where, kind), n in metrics.rows.items() if where == name} for name in names}
    added = [(_labels(name, of), n) for name in names for of, n in _by_channel(rows[name]).items()]
    yield Family("trioagg_rows_stored_total", "counter", "Rows that this run added to the database.", added)
    for word, says in (
        ("duplicates", "Events whose row was there already."),
        ("conflated", "Events that newer ones replaced before they were stored."),
        ("lost", "Events that could not be stored."),
    ):
        yield Family(f"trioagg_{word}_total", "counter", says, [({}, state.counts[word])])
    commits = metrics.commits
    buckets = dict(zip(BOUNDS, commits.buckets, strict=True))
    says = "Seconds from an event's arrival until it was durable."
    yield histogram("trioagg_commit_seconds", says, buckets, count=commits.count, total=commits.total)
    fill: list[Sample] = [({"channel": flow.name}, min(flow.waiting / flow.capacity, 1.0)) for flow in state.flows]
    yield Family("trioagg_channel_fill", "gauge", "How full a channel between two stages is, 0 to 1.", fill)
    peak: list[Sample] = [({"channel": flow.name}, flow.peak / flow.capacity) for flow in state.flows]
    yield Family("trioagg_channel_peak", "gauge", "The most that it ever held; above 1 where a burst did.", peak)


def _told(state: State) -> Iterable[Family]:
    metrics, names = state.metrics, state.exchanges

    def each(value: Callable[[str], float]) -> list[Sample]:
        return [({"exchange": name}, value(name)) for name in names]

    bad, again = each(metrics.quarantined.__getitem__), each(metrics.reconnects)
    yield Family("trioagg_quarantined_total", "counter", "Frames that could not be understood, kept whole.", bad)
    yield Family("trioagg_reconnects_total", "counter", "Connections opened in the place of earlier ones.", again)
    lags: list[Sample] = [({"exchange": name}, metrics.lags[name] / SECOND) for name in names if name in metrics.lags]
    yield Family("trioagg_lag_seconds", "gauge", "Received minus timestamp, of the newest event.", lags)
    ages: list[Sample] = [
        (_labels(name, channel), (state.now - at) / SECOND)
        for name in names
        for channel in Channel
        if (at := heard_of(metrics, name, channel)) is not None
    ]
    yield Family("trioagg_last_event_age_seconds", "gauge", "Seconds since the last event arrived.", ages)


def _judged(state: State) -> Iterable[Family]:
    if state.gaps is not None:
        gaps: list[Sample] = [({"exchange": name}, state.gaps.get(name, 0)) for name in state.exchanges]
        yield Family("trioagg_gaps_open", "gauge", "Gaps that may still be filled.", gaps)
    alerted, standing = state.alerted, Counter(one.rule for one in state.alerted.standing)
    now: list[Sample] = [({"rule": rule}, standing[rule]) for rule in alerted.rules]
    yield Family("trioagg_alerts", "gauge", "Alerts that are raised.", now)
    ever: list[Sample] = [({"rule": rule}, alerted.raised.get(rule, 0)) for rule in alerted.rules]
    yield Family("trioagg_alerts_raised_total", "counter", "Alerts that were raised.", ever)
    failed: list[Sample] = [({"road": road}, count) for road, count in alerted.failed.items()]
    yield Family("trioagg_notices_failed_total", "counter", "Notices of alerts that could not be told.", failed)
    prices: list[Sample] = [
        ({"symbol": symbol, "exchange": name}, ratio) for (symbol, name), ratio in state.deviations.items()
    ]
    says = "How much higher than the median of the other exchanges' fresh prices, 0.01 is one percent."
    yield Family("trioagg_price_deviation_ratio", "gauge", says, prices)


def _by_channel(counts: Mapping[type, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for kind, count in counts.items():
        channel = str(CHANNELS.get(kind, UNKNOWN))
        found[channel] = found.get(channel, 0) + count
    return found


def _labels(exchange: str, channel: str) -> dict[str, str]:
    return {"exchange": exchange, "channel": str(channel)}


def _json(body: object, status: int = 200) -> Answer:
    return Answer(json.dumps(body).encode() + b"\n", JSON, status)
