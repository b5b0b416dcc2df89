"""All feeds of one exchange: its instrument list first, then its pollers and streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog
import trio
from attrs import define, field, frozen

from trioagg.errors import SettingsError
from trioagg.exchanges import Board, Exchange, Feed, Fetch, Subscription, load
from trioagg.model import Channel, Instrument
from trioagg.pipeline.clocks import Clock
from trioagg.pipeline.connections import Connections
from trioagg.pipeline.heap import Heap
from trioagg.pipeline.listing import Listing
from trioagg.pipeline.poll import poll
from trioagg.pipeline.repair import Repair
from trioagg.pipeline.rest import Rest, rest_of
from trioagg.pipeline.storing import Producing
from trioagg.pipeline.stream import Stream
from trioagg.pipeline.supervise import supervise
from trioagg.pipeline.watch import Questions
from trioagg.settings import Settings, nearest_symbol
from trioagg.transport.backoff import Attempts, Backoff
from trioagg.transport.clock import Stamps
from trioagg.transport.http import Http

log = structlog.get_logger(__name__)

CONTRACTS = {Channel.FUNDING, Channel.OPEN_INTEREST}
"""Channels of contracts alone: a spot market would never bring anything on them."""
HINT = {"offline": "`trioagg run --simulated` needs no network"}


@define
class Roll:
    """Which exchanges lack which symbols, so that one that none of them has can be told from one that some lack."""

    exchanges: int
    missing: dict[str, set[str]] = field(factory=dict)

    def lacks(self, exchange: str, symbol: str, message: str) -> None:
        """Note it.

        Raises:
            SettingsError: the message, where no exchange is left that could have the symbol.
        """
        self.missing.setdefault(symbol, set()).add(exchange)
        if len(self.missing[symbol]) == self.exchanges:
            raise SettingsError(message)


Lacks = Callable[[str, str, str], None]
"""Told that an exchange lacks a symbol, and how that is said; raises SettingsError if that ends the run."""


@frozen
class Place:
    """What the feeds of all exchanges share.

    Attributes:
        lacks: told of symbols that an exchange does not have.
        producing: where they deliver.
    """

    http: Http
    stamps: Stamps
    lacks: Lacks
    producing: Producing


@define(eq=False)
class Feeds:
    """Everything that the feeds of one exchange need.

    Attributes:
        settings: what is wanted by now.
        hint: what to add to a failure's line: a way out, the first time.
        questions: about silent streams.
        heap: of what means nothing.
    """

    adapter: type[Exchange]
    settings: Settings
    rest: Rest
    place: Place
    hint: Callable[[], Mapping[str, str]]
    questions: Questions = field(factory=Questions)
    heap: Heap = field(factory=Heap)
    _listed: Sequence[Instrument] | None = field(default=None, init=False)
    _board: Board = field(factory=dict, init=False)
    _changed: trio.Event = field(factory=trio.Event, init=False)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that are ours here."""
        return self.settings.symbols_of(self.adapter.name)

    async def run(self) -> None:
        """Collect until cancelled; a bug in the adapter begins anew, and no other exchange notices.

        Raises:
            SettingsError: none of the exchanges has one of the symbols.
        """
        structlog.contextvars.bind_contextvars(exchange=self.adapter.name)
        await supervise(self._live, self._attempts(), hint=self.hint)

    def change(self, settings: Settings, place: Place) -> None:
        """Collect from now on what these settings want."""
        self.settings, self.place = settings, place
        self._notice()

    def _notice(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _live(self) -> None:
        intake = self.place.producing.intake
        listing = Listing(self.rest, intake, self.settings.retry.max_delay, self.hint)
        self._listed = await listing.soon()
        connections = Connections(
            adapter=self.adapter,
            stream=self._stream,
            attempts=self._attempts,
            redundancy=self.settings.run.redundancy,
            intake=intake,
            hint=self.hint,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._clock, name=f"{self.adapter.name} clock")
            if self._listed is None:
                nursery.start_soon(self._list_later, listing, name=f"{self.adapter.name} list")
            while True:
                changed, feed = self._changed, await self._wanted()
                connections.carry(feed, nursery)
                async with trio.open_nursery() as asking:
                    self._ask(feed, asking)
                    await changed.wait()
                    asking.cancel_scope.cancel()

    async def _wanted(self) -> Feed:
        """What is to be collected, as far as it is known to be there."""
        known = self._known(self._listed) if self._listed else list(self.symbols)
        ours = [item for item in self._listed or () if item.symbol in known]
        await self.place.producing.describe(ours)
        feed = self._feed(known, ours)
        if metrics := self.place.producing.intake.metrics:
            metrics.configured(self.adapter, feed)
        return feed

    def _ask(self, feed: Feed, nursery: trio.Nursery) -> None:
        """Begin what asks REST for it."""
        if self.settings.repair.backfill_limit:
            nursery.start_soon(self._repair, feed, name=f"{self.adapter.name} repair")
        for fetch in self.adapter(feed).polls():
            path = fetch.path.partition("?")[0]
            nursery.start_soon(self._poll, feed, fetch, name=f"{self.adapter.name} poll {path}")

    async def _list_later(self, listing: Listing) -> None:
        self._listed = await listing.later()
        self._notice()

    def _known(self, listed: Sequence[Instrument]) -> list[str]:
        there = {item.symbol: item for item in listed}
        known = []
        for symbol in self.symbols:
            if symbol in there:
                known.append(symbol)
                if there[symbol].status != "trading":
                    log.warning("not trading now", symbol=symbol, status=there[symbol].status)
            else:
                self._unknown(symbol, there)
        return known

    def _unknown(self, symbol: str, there: Iterable[str]) -> None:
        message = f"{self.adapter.name} has no symbol {symbol!r}; {nearest_symbol(symbol, there)}"
        self.place.lacks(self.adapter.name, symbol, message)
        log.error(message)

    def _feed(self, symbols: Sequence[str], listed: Sequence[Instrument]) -> Feed:
        natives = {item.symbol: item.native for item in listed}
        run = self.settings.run
        for channel in set(run.channels) - self.adapter.channels():
            log.warning("channel not offered here", channel=channel.value)
        subscriptions = [
            Subscription(symbol, channel, natives.get(symbol) or self.adapter.native(symbol))
            for symbol in symbols
            for channel in run.channels
            if channel in self.adapter.channels() and (":" in symbol or channel not in CONTRACTS)
        ]
        plan = self.settings.book.plan
        return Feed(subscriptions, listed, interval=run.interval, candle=run.candle, book=plan, board=self._board)

    async def _poll(self, feed: Feed, fetch: Fetch) -> None:
        structlog.contextvars.bind_contextvars(connection="rest")
        live = partial(poll, self.adapter(feed), fetch, rest=self.rest, intake=self.place.producing.intake)
        await supervise(live, self._attempts(), hint=self.hint)

    async def _clock(self) -> None:
        structlog.contextvars.bind_contextvars(connection="clock")
        clock = Clock(self.adapter, self.rest, self.place.producing.intake, self.place.stamps)
        await supervise(clock.run, self._attempts(), hint=self.hint)

    async def _repair(self, feed: Feed) -> None:
        structlog.contextvars.bind_contextvars(connection="repair")
        mend = Repair(
            adapter=self.adapter,
            feed=feed,
            rest=self.rest,
            intake=self.place.producing.intake,
            holes=self.place.producing.holes,
            stamps=self.place.stamps,
            limit=self.settings.repair.backfill_limit,
        )
        await supervise(mend.run, self._attempts(), hint=self.hint)

    def _stream(self, feed: Feed, name: str) -> Stream:
        venue = self.settings.venue(self.adapter.name)
        return Stream(
            adapter=self.adapter,
            feed=feed,
            ws_url=venue.ws_url or "",
            stall_timeout=self.settings.run.stall_timeout,
            name=name,
            rest=self.rest,
            intake=self.place.producing.intake,
            stamps=self.place.stamps,
            questions=self.questions,
            heap=self.heap,
        )

    def _attempts(self) -> Attempts:
        retry = self.settings.retry
        return Attempts(Backoff(retry.reconnect_delay, retry.max_delay))


def feeds_of(name: str, settings: Settings, place: Place, *, hint: bool) -> Feeds:
    """The feeds of one exchange under the user's settings.

    Args:
        hint: whether the first failure's line names the built-in exchange.
    """
    adapter = load(name)
    venue = settings.venue(name)
    hints = [HINT] if hint else []
    return Feeds(
        adapter=adapter,
        settings=settings,
        rest=rest_of(adapter, venue, settings.retry, http=place.http, stamps=place.stamps),
        place=place,
        hint=lambda: hints.pop() if hints else {},
    )


def check_channels(settings: Settings) -> None:
    """Refuse channels that none of the exchanges offers.

    Raises:
        SettingsError: naming the first of them.
    """
    offered = {channel for name in settings.run.exchanges for channel in load(name).channels()}
    for channel in settings.run.channels:
        if channel not in offered:
            who, what = ", ".join(settings.run.exchanges), ", ".join(sorted(offered))
            raise SettingsError(f"--channel: {who} does not offer {channel.value!r}; known: {what}")
