"""What alerts are raised about: how the run is at one moment, as numbers. What is well is left out.

``exchange``, ``stream``: seconds for which nothing, or no connection, has brought it. ``unheard``: the age of a
connection on which a stream has never brought anything. ``silence``: seconds for which a stream that did has brought
nothing, if its own past does not explain them. ``gap``, ``lag``, ``skew``: seconds.
``fill``, ``price``: shares. ``disk``: megabytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import define, field, frozen

from trioagg.exchanges import Subscription
from trioagg.integrity.alerts import Key, Subject
from trioagg.integrity.deviation import deviations
from trioagg.integrity.pulse import Heard
from trioagg.model import CHANNELS, Channel, Gap, Nanos
from trioagg.monitor.health import RARE, carried, carriers, unpolled
from trioagg.monitor.metrics import SECOND, Connection, Metrics, Plan
from trioagg.monitor.prices import Prices

FRESH = 60.0
"""Seconds for which a price says what a market is worth."""
RECENT = 10.0
"""Seconds for which what a stream brought says how late it is."""
JURY = 3
"""Exchanges that must tell a price, so that the one that is far off is known from the others."""

Values = dict[Key, float | None]
"""None: it cannot be known now."""


@frozen
class Filling:
    """One flow.

    Attributes:
        waiting: messages in it.
        peak: the most that ever were, which one burst may bring above the capacity.
    """

    name: str
    capacity: int
    waiting: int
    peak: int


@frozen
class Moment:
    """What the books do not hold.

    Attributes:
        now: our time, nanoseconds UTC.
        clock: the time by the clock of the pulses, seconds.
        gaps: those that are open.
        free: megabytes where the database is; None where that cannot be told.
    """

    now: Nanos
    clock: float
    flows: Sequence[Filling] = ()
    gaps: Sequence[Gap] = ()
    free: float | None = None


@define(eq=False)
class Vitals:
    """Looks at the books of a run, again and again.

    Attributes:
        exchanges: those that are configured.
        stall: seconds that a poll may be late.
        began: our time at the beginning, nanoseconds UTC: a gap from before is not held against this run.
        deviations: (symbol, exchange) → see ``integrity.deviation``, as it was at the last look.
    """

    metrics: Metrics
    exchanges: Sequence[str]
    stall: float
    began: Nanos
    deviations: Mapping[tuple[str, str], float] = field(factory=dict, init=False)
    _prices: Prices = field(factory=Prices, init=False)
    _lacking: dict[Key, float] = field(factory=dict, init=False)

    def look(self, moment: Moment) -> Values:
        """Everything that may be a reason for an alert."""
        prices = self._prices.look(self.metrics, self.exchanges)
        self.deviations = deviations(prices, since=moment.now - round(FRESH * SECOND))
        values: Values = {("disk", Subject()): moment.free}
        for flow in moment.flows:
            values["fill", Subject(channel=flow.name)] = flow.waiting / flow.capacity
        for name in self.exchanges:
            values |= self._feeds(name, moment)
            values["lag", Subject(name)] = _lag(self.metrics, name, moment.clock)
            values["skew", Subject(name)] = _skew(self.metrics, name)
        return values | self._gaps(moment) | self._apart()

    def _feeds(self, exchange: str, moment: Moment) -> Values:
        plan = self.metrics.plans.get(exchange)
        if plan is not None and not (plan.streamed or plan.polled):
            return {}  # told at the start, and nothing that could change
        late = unpolled(self.metrics, exchange, stall=self.stall, now=moment.now) if plan else []
        there = carried(self.metrics, exchange)
        all_late = plan is not None and not plan.streamed and len(late) == len({item.channel for item in plan.polled})
        down = plan is None or all_late or bool(plan.streamed and not there)
        lacking = [Subject(exchange, item.symbol, item.channel) for item in _streamed(plan) if item not in there]
        keys = [("stream", one) for one in [*lacking, *(Subject(exchange, "", channel) for channel in late)]]
        whole = "exchange", Subject(exchange)
        values = self._since(exchange, [whole] if down else keys, moment.clock)
        if down:
            return values | dict.fromkeys(_below(exchange, plan), None)
        return values | dict(_silences(self.metrics, exchange, plan, moment))

    def _since(self, exchange: str, keys: Iterable[Key], clock: float) -> Values:
        """For how long each of an exchange's keys has been lacking; those not named have come."""
        kept = {key: self._lacking.get(key, clock) for key in keys}
        others = {key: since for key, since in self._lacking.items() if key[1].exchange != exchange}
        self._lacking = others | kept
        return {key: clock - since for key, since in kept.items()}

    def _gaps(self, moment: Moment) -> Values:
        values: Values = {}
        for gap in moment.gaps:
            key = "gap", Subject(gap.exchange, gap.symbol, gap.channel)
            values[key] = max(values.get(key) or 0.0, (moment.now - max(gap.detected, self.began)) / SECOND)
        return values

    def _apart(self) -> Values:
        told = Counter(symbol for symbol, _ in self.deviations)
        return {
            ("price", Subject(name, symbol)): ratio
            for (symbol, name), ratio in self.deviations.items()
            if told[symbol] >= JURY
        }


def _streamed(plan: Plan | None) -> Sequence[Subscription]:
    return plan.streamed if plan else ()


def _below(exchange: str, plan: Plan | None) -> Iterator[Key]:
    """What nobody can tell of an exchange that is away."""
    for item in _streamed(plan):
        yield "stream", Subject(exchange, item.symbol, item.channel)
        yield "unheard", Subject(exchange, item.symbol, item.channel)
        yield "silence", Subject(exchange, item.symbol, item.channel)
    for channel in {item.channel for item in plan.polled} if plan else ():
        yield "stream", Subject(exchange, "", channel)


def _silences(metrics: Metrics, exchange: str, plan: Plan | None, moment: Moment) -> Iterator[tuple[Key, float]]:
    """Of connections with the same subscriptions, the one that was silent for the shortest time counts."""
    found: dict[Subscription, tuple[float, str]] = {}
    for one in carriers(metrics, exchange):
        for item, told in _quiet(one, moment):
            found[item] = min(told, found.get(item, told))
    halted = plan.halted if plan else ()
    for item, (seconds, rule) in found.items():
        if seconds and item.symbol not in halted:
            yield (rule, Subject(exchange, item.symbol, item.channel)), seconds


def _quiet(one: Connection, moment: Moment) -> Iterator[tuple[Subscription, tuple[float, str]]]:
    """The seconds for which each stream of a connection has been silent though it should not, and by which rule."""
    heard: dict[tuple[str, Channel], float] = {}
    for (symbol, kind), stream in one.carrier.pulse.streams().items() if one.carrier else ():
        key, seconds = (symbol, CHANNELS[kind]), _unusual(stream, moment.clock)
        heard[key] = min(seconds, heard.get(key, seconds))
    age = (moment.now - one.session.opened) / SECOND
    for item in one.subscriptions:
        if item.channel not in RARE:
            known = heard.get((item.symbol, item.channel))
            yield item, (age, "unheard") if known is None else (known, "silence")


def _unusual(heard: Heard, clock: float) -> float:
    seconds = clock - heard.rhythm.last
    return seconds if seconds > heard.rhythm.usual else 0.0


def _lag(metrics: Metrics, exchange: str, clock: float) -> float | None:
    """That of the connection that is latest."""
    lags = [least for one in carriers(metrics, exchange) if (least := min(_lags(one, clock), default=None)) is not None]
    return max(lags, default=None)


def _lags(one: Connection, clock: float) -> Iterator[float]:
    """How late each stream of a connection is; what happened before the connection was there is a backlog."""
    for heard in one.carrier.pulse.streams().values() if one.carrier else ():
        told = getattr(heard.last, "timestamp", None)
        if heard.first and heard.last and clock - heard.rhythm.last < RECENT and (told or 0) >= one.session.opened:
            yield max(heard.last.received - (told or 0), 0) / SECOND


def _skew(metrics: Metrics, exchange: str) -> float | None:
    """By how much the exchange's clock is surely ahead of ours; less than zero: behind."""
    check = metrics.clocks.get(exchange)
    if check is None or check.offset is None or check.uncertainty is None:
        return None
    surely = max(abs(check.offset) - check.uncertainty, 0) / SECOND
    return surely if check.offset > 0 else -surely
