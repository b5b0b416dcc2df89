"""The books: what came in, what became of it, and which connections there are. Knows no clock and never waits."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Protocol

from attrs import define, evolve, field, frozen

from trioagg.exchanges import Exchange, Feed, Subscription
from trioagg.integrity.pulse import Pulse
from trioagg.model import Channel, ClockCheck, Event, Nanos, Note, Quarantined, Session, Ticker
from trioagg.store import Counts

SECOND = 1_000_000_000
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Seconds: the upper ends of the histogram's buckets."""
RECEIVED = attrgetter("received")


@define(eq=False)
class Histogram:
    """How long events took from their arrival until they were durable.

    Attributes:
        buckets: how many took at most as long as the bound of the same place says.
        count: how many there were.
        total: seconds of all of them.
    """

    buckets: list[int] = field(factory=lambda: [0] * len(BOUNDS))
    count: int = 0
    total: float = 0.0

    def add(self, events: Sequence[Event], at: Nanos) -> None:
        """Events that became durable together."""
        arrivals = sorted(map(RECEIVED, events))
        self.count += len(arrivals)
        self.total += (at * len(arrivals) - sum(arrivals)) / SECOND
        for place, bound in enumerate(BOUNDS):
            self.buckets[place] += len(arrivals) - bisect_left(arrivals, at - round(bound * SECOND))


class Carrier(Protocol):
    """Has the pulse of one connection."""

    @property
    def pulse(self) -> Pulse:
        """What it brought."""
        ...


@frozen
class Connection:
    """One connection, or the last one of its name.

    Attributes:
        subscriptions: what it is to bring.
        carrier: knows what it brought; None once it has ended.
    """

    session: Session
    subscriptions: Sequence[Subscription] = ()
    carrier: Carrier | None = None


@frozen
class Plan:
    """What an exchange's feeds are to bring.

    Attributes:
        streamed, polled: by WebSocket, and by REST alone.
        period: the longest time between two polls, seconds.
        halted: symbols that the exchange lists as not trading.
    """

    streamed: Sequence[Subscription]
    polled: Sequence[Subscription]
    period: float
    halted: frozenset[str] = frozenset()


@define(eq=False)
class Metrics:
    """The books of one run.

    Attributes:
        plans: exchange → what it is to bring, once its symbols are known.
        messages: exchange → kind of event → how many came.
        heard: exchange → kind of event → when the last one came, nanoseconds UTC.
        lags: exchange → how much after its time by the exchange the newest event came, nanoseconds.
        polled: exchange → symbol → the newest ticker, where no stream brings one.
        rows: (exchange, kind of event) → rows added to the database.
        quarantined: exchange → frames that are in quarantine.
        commits: from arrival to the database.
        opened: exchange → connections that were opened.
        connections: (exchange, name, when it was opened) → each that lives, and the last ended one of a name.
        clocks: exchange → the last check.
    """

    plans: dict[str, Plan] = field(factory=dict)
    messages: defaultdict[str, Counter[type]] = field(factory=lambda: defaultdict(Counter))
    heard: defaultdict[str, dict[type, Nanos]] = field(factory=lambda: defaultdict(dict))
    lags: dict[str, Nanos] = field(factory=dict)
    polled: defaultdict[str, dict[str, Ticker]] = field(factory=lambda: defaultdict(dict))
    rows: Counter[tuple[str, type]] = field(factory=Counter)
    quarantined: Counter[str] = field(factory=Counter)
    commits: Histogram = field(factory=Histogram)
    opened: Counter[str] = field(factory=Counter)
    connections: dict[tuple[str, str, Nanos], Connection] = field(factory=dict)
    clocks: dict[str, ClockCheck] = field(factory=dict)
    _named: set[tuple[str, str]] = field(factory=set)
    _newest: dict[str, Nanos] = field(factory=dict)

    def configured(self, adapter: type[Exchange], feed: Feed) -> None:
        """An exchange's feeds begin."""
        wanted = [item for item in feed.subscriptions if item.channel in adapter.streamed]
        streamed = [item for some in adapter.connections(wanted) for item in some]  # not each market has each channel
        polled = [item for item in feed.subscriptions if item.channel not in adapter.streamed]
        period = max((fetch.every or feed.interval for fetch in adapter(feed).polls()), default=feed.interval)
        halted = frozenset(item.symbol for item in feed.instruments if item.status != "trading")
        self.plans[adapter.name] = Plan(streamed, polled, period, halted)

    def took(self, exchange: str, events: Sequence[Event], at: Nanos) -> None:
        """What one read or answer of an exchange brought."""
        if not events:
            return
        kinds = Counter(map(type, events)) if len(events) > 1 else {type(events[0]): 1}
        counts, heard = self.messages[exchange], self.heard[exchange]
        for kind, count in kinds.items():
            counts[kind] += count
            heard[kind] = at
        told = getattr(events[-1], "timestamp", None)
        if told is not None and told > self._newest.get(exchange, 0):  # an older one was asked for, and is no measure
            self._newest[exchange] = min(at, told)  # an impossible one must not stand for ever
            self.lags[exchange] = events[-1].received - told

    def answered(self, exchange: str, events: Sequence[Event]) -> None:
        """What an answer of REST brought, beside ``took``."""
        plan = self.plans.get(exchange)
        if plan and any(item.channel is Channel.TICKER for item in plan.polled):
            self.polled[exchange] |= {event.symbol: event for event in events if isinstance(event, Ticker)}

    def wrote(self, events: Sequence[Event], written: Counts, at: Nanos) -> None:
        """What became durable in the database, and when."""
        self.rows.update(written.added)
        self.commits.add(events, at)
        if written.quarantined:
            self.quarantined.update(event.exchange for event in events if isinstance(event, Quarantined))

    def noted(self, notes: Sequence[Note]) -> None:
        """What the ledger is told."""
        for note in notes:
            if isinstance(note, ClockCheck):
                self.clocks[note.exchange] = note
            elif isinstance(note, Session):
                self._session(note)

    def carries(self, session: Session, subscriptions: Sequence[Subscription], carrier: Carrier) -> None:
        """What a connection is to bring, and who knows what it brought."""
        self.connections[_key(session)] = Connection(session, subscriptions, carrier)

    def reconnects(self, exchange: str) -> int:
        """Connections that were opened in the place of earlier ones, or beside them to take their place."""
        return self.opened[exchange] - sum(1 for name, _ in self._named if name == exchange)

    def of(self, exchange: str) -> Mapping[str, Sequence[Connection]]:
        """The connections of an exchange, by name."""
        found: dict[str, list[Connection]] = {}
        for (where, name, _), connection in self.connections.items():
            if where == exchange:
                found.setdefault(name, []).append(connection)
        return found

    def _session(self, session: Session) -> None:
        if session.closed is None:
            self.opened[session.exchange] += 1
            self._named.add((session.exchange, session.connection))
            self.connections[_key(session)] = Connection(session)
            return
        for other in self.of(session.exchange).get(session.connection, ()):
            if other.session.closed is not None:
                del self.connections[_key(other.session)]
        ended = self.connections.get(_key(session), Connection(session))
        self.connections[_key(session)] = evolve(ended, session=session, carrier=None)


def _key(session: Session) -> tuple[str, str, Nanos]:
    return session.exchange, session.connection, session.opened
