"""The monitor of a run: keeps books beside the flows, for alerts and to serve; nothing in the run ever waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog
import trio
from attrs import define, evolve, field, frozen

from trioagg.errors import StoreError
from trioagg.integrity.alerts import Alarms
from trioagg.integrity.continuity import Run
from trioagg.integrity.ledger import Draft
from trioagg.model import Event, Instrument, Nanos
from trioagg.monitor.metrics import Metrics
from trioagg.monitor.pages import Alerted, State, health_page, metrics_page, status_page
from trioagg.monitor.vitals import Filling, Moment, Vitals
from trioagg.monitor.web import Answer, Page, Web, listen, public, url_of
from trioagg.pipeline.alerting import Alerting
from trioagg.pipeline.flow import Gauge
from trioagg.pipeline.holes import Holes
from trioagg.pipeline.space import Space
from trioagg.pipeline.storing import Producing, Stores
from trioagg.pipeline.supervise import supervise
from trioagg.pipeline.tally import Tally
from trioagg.pipeline.telling import Tellers
from trioagg.settings import Settings
from trioagg.sinks import Database
from trioagg.store import Counts, database, open_gaps_of
from trioagg.transport.backoff import Attempts, Backoff

log = structlog.get_logger(__name__)

LOOK = 1.0
"""Seconds for which what the database told is told again, however often somebody asks."""


@frozen
class Measured:
    """A database in front of another that enters into the books what became durable, and when."""

    sink: Database
    metrics: Metrics

    async def write(self, batch: Sequence[Event], draft: Draft, /) -> Counts:
        """See ``Sink.write``."""
        written = await self.sink.write(batch, draft)
        self.metrics.wrote(batch, written, time.time_ns())
        return written

    async def around(self, exchange: str, symbol: str, run: Run, /) -> tuple[Nanos | None, Nanos | None]:
        """See ``Database.around``."""
        return await self.sink.around(exchange, symbol, run)

    async def tend(self) -> None:
        """See ``Database.tend``."""
        await self.sink.tend()

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        """See ``Sink.describe``."""
        await self.sink.describe(instruments)


@define(eq=False)
class Looks:
    """Asks the database in a thread, once a second at the most; None where it cannot be read."""

    database: Path
    _found: Mapping[str, int] | None = None
    _due: float = field(factory=trio.current_time)
    _turn: trio.Lock = field(factory=trio.Lock)

    async def look(self) -> Mapping[str, int] | None:
        """How many gaps are open, by exchange."""
        async with self._turn:
            if trio.current_time() >= self._due:
                self._found = await trio.to_thread.run_sync(self._read)
                self._due = trio.current_time() + LOOK
            return self._found

    def _read(self) -> Mapping[str, int] | None:
        try:
            with database(self.database) as db:
                return open_gaps_of(db)
        except StoreError as error:
            log.warning("the monitor cannot read the database", reason=str(error))
            return None


@define(eq=False)
class Monitor:
    """Books of one run, what they are a reason to alarm about, and the pages that show them.

    Attributes:
        tally: the account of the database.
        space: what is free on its disk.
        tellers: tell of alerts.
        now: tells the time, nanoseconds UTC.
    """

    settings: Settings
    tally: Tally
    space: Space
    tellers: Tellers
    now: Callable[[], Nanos]
    metrics: Metrics = field(factory=Metrics)
    _gauges: dict[str, Gauge] = field(factory=dict)
    _alerting: Alerting = field(init=False)

    def __attrs_post_init__(self) -> None:
        run = self.settings.run
        vitals = Vitals(self.metrics, self.settings.exchanges, run.stall_timeout, self.now())
        self._alerting = Alerting(Alarms(self.settings.rules), vitals, self.tellers.put)

    def show(self, settings: Settings) -> None:
        """Show from now on what these settings want."""
        self.settings = settings
        self._alerting.vitals.exchanges = settings.exchanges

    def measured(self, stores: Stores) -> Stores:
        """The same stores; of the database the books are kept."""
        return evolve(stores, database=Measured(stores.database, self.metrics))

    def attach(self, producing: Producing) -> None:
        """Keep books of what comes in, and know the flows by names that tell no secret of their URLs."""
        intake = producing.intake
        intake.metrics = self.metrics
        for number, inlet in enumerate(intake.sinks):
            scheme, colon, _ = inlet.gauge.name.partition(":")  # a sink with a name of its own has none
            self._gauges[(f"{scheme}-{number}" if colon else scheme) if number else "database"] = inlet.gauge
        if intake.captures:
            self._gauges["recorder"] = intake.captures.gauge

    async def watch(self, holes: Holes) -> None:
        """Raise and resolve alerts until cancelled; a bug in that costs no more than it.

        Args:
            holes: what the database lacks.
        """

        def look() -> Moment:
            gaps = [gap for name in self.settings.exchanges for gap in holes.of(name)]
            return Moment(self.now(), trio.current_time(), self._flows(), gaps, self.space.free)

        await supervise(partial(self._alerting.watch, look), Attempts(Backoff(1, 60)), hint=dict)

    async def serve(self, host: str, listeners: list[trio.SocketListener]) -> None:
        """Answer until cancelled; a bug in a page costs the connections that are open then.

        Args:
            host: as the user named it.
            listeners: on its addresses.
        """
        port = listeners[0].socket.getsockname()[1]
        looks, left = Looks(Path(self.settings.run.database)), [listeners]
        web = Web(
            {
                "/metrics": self._page(metrics_page, looks),
                "/healthz": self._page(health_page, None),
                "/status": self._page(status_page, looks),
            },
            host,
        )
        for listener in listeners:
            log.info("serving /metrics, /healthz and /status", url=url_of(listener))
            if public(listener):
                log.warning("whoever reaches this address can read how the run is", url=url_of(listener))

        async def live() -> None:
            await trio.serve_listeners(web.client, left.pop() if left else await listen((host, port)))

        await supervise(live, Attempts(Backoff(0.1, 5)), hint=dict)

    def _page(self, page: Callable[[State], Answer], looks: Looks | None) -> Page:
        async def answer() -> Answer:
            return page(self._state(await looks.look() if looks else None))

        return answer

    def _flows(self) -> list[Filling]:
        return [Filling(name, of.capacity, of.waiting, of.peak) for name, of in self._gauges.items()]

    def _alerted(self) -> Alerted:
        alarms, failed = self._alerting.alarms, self.tellers.failed
        return Alerted(alarms.rules, list(alarms.standing.values()), self._alerting.raised, failed)

    def _state(self, gaps: Mapping[str, int] | None) -> State:
        run = self.settings.run
        return State(
            metrics=self.metrics,
            exchanges=self.settings.exchanges,
            counts=self.tally.counts(),
            flows=self._flows(),
            stall=run.stall_timeout,
            now=self.now(),
            clock=trio.current_time(),
            alerted=self._alerted(),
            deviations=self._alerting.vitals.deviations,
            gaps=gaps,
        )
