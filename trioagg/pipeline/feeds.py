"""All feeds of one exchange: its instrument list first, then its pollers and streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog
import trio
from attrs import define, evolve, field, frozen

from trioagg.errors import RateLimited, Rejected, SettingsError, TrioaggError, WireError
from trioagg.exchanges import Exchange, Feed, Fetch, Subscription, load
from trioagg.model import Channel, Instrument
from trioagg.pipeline.clocks import Clock
from trioagg.pipeline.lead import Lead
from trioagg.pipeline.poll import poll
from trioagg.pipeline.relay import Relay
from trioagg.pipeline.repair import Repair
from trioagg.pipeline.rest import Rest, instruments, rest_of
from trioagg.pipeline.storing import Producing
from trioagg.pipeline.stream import Stream
from trioagg.pipeline.supervise import supervise
from trioagg.pipeline.watch import Questions
from trioagg.settings import Settings, nearest_symbol
from trioagg.transport.backoff import Attempts, Backoff
from trioagg.transport.clock import Stamps
from trioagg.transport.http import Http

log = structlog.get_logger(__name__)

PATIENCE = 5.0
"""Seconds that the streams wait for the instrument list; after that, symbols are spelled by rule and checked later."""
PATHS = "", "b", "c", "d"
"""What the names of connections that carry the same subscriptions end in."""
CONTRACTS = {Channel.FUNDING, Channel.OPEN_INTEREST}
"""Channels of contracts alone: a spot market would never bring anything on them."""
HINT = {"offline": "`trioagg run --simulated` needs no network"}


@define
class Roll:
    """Which exchanges lack which symbols, so that one that none of them has can be told from one that some lack."""

    exchanges: int
    missing: dict[str, set[str]] = field(factory=dict)

    def lacks(self, exchange: str, symbol: str) -> bool:
        """Note it; True when no exchange is left that could have the symbol."""
        self.missing.setdefault(symbol, set()).add(exchange)
        return len(self.missing[symbol]) == self.exchanges


@frozen
class Place:
    """What the feeds of all exchanges share.

    Attributes:
        producing: where they deliver.
    """

    http: Http
    stamps: Stamps
    roll: Roll
    producing: Producing


@frozen
class Feeds:
    """Everything that the feeds of one exchange need.

    Attributes:
        hint: what to add to a failure's line: a way out, the first time.
        questions: about silent streams.
    """

    adapter: type[Exchange]
    settings: Settings
    rest: Rest
    place: Place
    hint: Callable[[], Mapping[str, str]]
    questions: Questions = field(factory=Questions)

    async def run(self) -> None:
        """Collect until cancelled; a bug in the adapter begins anew, and no other exchange notices.

        Raises:
            SettingsError: none of the exchanges has one of the symbols.
        """
        structlog.contextvars.bind_contextvars(exchange=self.adapter.name)
        await supervise(self._live, self._attempts(), hint=self.hint)

    async def _live(self) -> None:
        listed = await self._list_soon()
        known = self._known(listed) if listed else list(self.settings.run.symbols)
        ours = [item for item in listed or () if item.symbol in known]
        await self.place.producing.describe(ours)
        feed = self._feed(known, ours)
        if metrics := self.place.producing.intake.metrics:
            metrics.configured(self.adapter, feed)
        async with trio.open_nursery() as nursery:
            if listed is None:
                nursery.start_soon(self._list_later)
            if self.settings.repair.backfill_limit:
                nursery.start_soon(self._repair, feed)
            nursery.start_soon(self._clock)
            for fetch in self.adapter(feed).polls():
                nursery.start_soon(self._poll, feed, fetch)
            streamed = [item for item in feed.subscriptions if item.channel in self.adapter.streamed]
            for number, some in enumerate(self.adapter.connections(streamed), 1):
                lead = Lead(self.place.producing.intake)
                for letter in PATHS[: self.settings.run.redundancy]:
                    nursery.start_soon(self._stream, evolve(feed, subscriptions=some), f"ws-{number}{letter}", lead)

    async def _list_soon(self) -> list[Instrument] | None:
        """The instruments; None where they cannot be had now, which must not keep the streams from starting."""
        with trio.move_on_after(PATIENCE):
            while True:
                try:
                    return await self._list()
                except RateLimited as error:
                    log.warning("asked to wait before the instrument list", reason=str(error))
                except (Rejected, WireError) as error:
                    log.warning("no instrument list; going on with symbols as spelled", reason=str(error))
                    return None
                except TrioaggError as error:
                    log.warning("cannot be reached; trying on", reason=str(error), **self.hint())
                    return None
        log.warning("cannot be reached; trying on", reason=f"no instrument list in {PATIENCE:g} s", **self.hint())
        return None

    async def _list_later(self) -> None:
        while True:
            await trio.sleep(self.settings.retry.max_delay)
            try:
                listed = await self._list()
            except TrioaggError as error:
                log.warning("still no instrument list", reason=str(error))
            else:
                await self.place.producing.describe(
                    [item for item in listed if item.symbol in self.settings.run.symbols]
                )
                self._known(listed)
                return

    async def _list(self) -> list[Instrument]:
        return await instruments(self.rest, note=self.place.producing.intake.capture)

    def _known(self, listed: Sequence[Instrument]) -> list[str]:
        there = {item.symbol: item for item in listed}
        known = []
        for symbol in self.settings.run.symbols:
            if symbol in there:
                known.append(symbol)
                if there[symbol].status != "trading":
                    log.warning("not trading now", symbol=symbol, status=there[symbol].status)
            else:
                self._unknown(symbol, there)
        return known

    def _unknown(self, symbol: str, there: Iterable[str]) -> None:
        message = f"{self.adapter.name} has no symbol {symbol!r}; {nearest_symbol(symbol, there)}"
        if self.place.roll.lacks(self.adapter.name, symbol):
            raise SettingsError(message)
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
        return Feed(subscriptions, listed, interval=run.interval, candle=run.candle, book=plan)

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

    async def _stream(self, feed: Feed, name: str, lead: Lead) -> None:
        structlog.contextvars.bind_contextvars(connection=name)
        venue = self.settings.venue(self.adapter.name)
        stream = Stream(
            adapter=self.adapter,
            feed=feed,
            ws_url=venue.ws_url or "",
            stall_timeout=self.settings.run.stall_timeout,
            name=name,
            rest=self.rest,
            intake=self.place.producing.intake,
            stamps=self.place.stamps,
            questions=self.questions,
        )
        attempts = self._attempts()
        await supervise(Relay(stream, attempts, lead).live, attempts, hint=self.hint)

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
