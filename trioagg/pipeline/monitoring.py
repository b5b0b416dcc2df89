"""The monitor of a run: keeps books beside the flows, and serves them; nothing in the run ever waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import structlog
import trio
from attrs import define, evolve, field, frozen

from trioagg.errors import StoreError
from trioagg.integrity.continuity import Run
from trioagg.integrity.deviation import Price, deviations
from trioagg.integrity.ledger import Draft
from trioagg.model import Event, Instrument, Nanos
from trioagg.monitor.metrics import SECOND, Metrics
from trioagg.monitor.pages import Filling, State, Stored, health_page, metrics_page, status_page
from trioagg.monitor.web import Answer, Page, Web, listen, public, url_of
from trioagg.pipeline.flow import Gauge
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.storing import Stores
from trioagg.pipeline.supervise import supervise
from trioagg.pipeline.tally import Tally
from trioagg.settings import Settings
from trioagg.sinks import Database
from trioagg.store import Counts, Look, database, open_gaps_of, summary
from trioagg.transport.backoff import Attempts, Backoff

log = structlog.get_logger(__name__)

FRESH = 60.0
"""Seconds for which a price says what a market is worth."""
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
        """See ``Sink.around``."""
        return await self.sink.around(exchange, symbol, run)

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        """See ``Sink.describe``."""
        await self.sink.describe(instruments)


@define(eq=False)
class Looks:
    """Asks the database in a thread, once a second at the most; None where it cannot be read."""

    settings: Settings
    _found: Stored | None = None
    _due: float = field(factory=trio.current_time)
    _turn: trio.Lock = field(factory=trio.Lock)

    async def look(self) -> Stored | None:
        """What it tells."""
        async with self._turn:
            if trio.current_time() >= self._due:
                self._found = await trio.to_thread.run_sync(self._read)
                self._due = trio.current_time() + LOOK
            return self._found

    def _read(self) -> Stored | None:
        run = self.settings.run
        try:
            with database(Path(run.database)) as db:
                prices = _prices(summary(db, run.exchanges, run.symbols))
                return Stored(open_gaps_of(db), deviations(prices, since=time.time_ns() - round(FRESH * SECOND)))
        except StoreError as error:
            log.warning("the monitor cannot read the database", reason=str(error))
            return None


@define(eq=False)
class Monitor:
    """Books of one run, and the pages that show them.

    Attributes:
        tally: the account of the database.
    """

    settings: Settings
    tally: Tally
    metrics: Metrics = field(factory=Metrics)
    _gauges: dict[str, Gauge] = field(factory=dict)

    def measured(self, stores: Stores) -> Stores:
        """The same stores; of the database the books are kept."""
        return evolve(stores, database=Measured(stores.database, self.metrics))

    def attach(self, intake: Intake) -> None:
        """Keep books of what comes in, and know the flows by names that tell no secret of their URLs."""
        intake.metrics = self.metrics
        for number, inlet in enumerate(intake.sinks):
            scheme, colon, _ = inlet.gauge.name.partition(":")  # a sink with a name of its own has none
            self._gauges[(f"{scheme}-{number}" if colon else scheme) if number else "database"] = inlet.gauge
        if intake.captures:
            self._gauges["recorder"] = intake.captures.gauge

    async def serve(self, host: str, listeners: list[trio.SocketListener]) -> None:
        """Answer until cancelled; a bug in a page costs the connections that are open then.

        Args:
            host: as the user named it.
            listeners: on its addresses.
        """
        port = listeners[0].socket.getsockname()[1]
        looks, left = Looks(self.settings), [listeners]
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

    def _state(self, stored: Stored | None) -> State:
        run = self.settings.run
        return State(
            metrics=self.metrics,
            exchanges=run.exchanges,
            counts=self.tally.counts(),
            flows=[Filling(name, of.capacity, of.waiting, of.peak) for name, of in self._gauges.items()],
            stall=run.stall_timeout,
            now=time.time_ns(),
            clock=trio.current_time(),
            stored=stored,
        )


def _prices(looks: Iterable[Look]) -> Iterable[Price]:
    for look in looks:
        price = _worth(look)
        if price is not None and price > 0:
            yield Price(look.exchange, look.symbol, price, look.received)


def _worth(look: Look) -> Decimal | None:
    """The middle between bid and ask, or else the last price."""
    return look.last if look.bid is None or look.ask is None else (look.bid + look.ask) / 2
