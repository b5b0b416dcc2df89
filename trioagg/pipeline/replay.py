"""Replay: raw captures through the same adapters, intake and writers, as fast as it goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import structlog
import trio
from attrs import define, evolve, field, frozen

from trioagg import exchanges
from trioagg.errors import RateLimited, SinkError, StoreError
from trioagg.exchanges import GARBLED, BookPlan, Exchange, Feed, Fetch
from trioagg.model import CHANNELS, Channel, Event, Instrument, Loss, Quarantined
from trioagg.pipeline.account import account
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.signals import stopping
from trioagg.pipeline.storing import Causes, Stores, open_stores, storing
from trioagg.pipeline.tally import Outcome
from trioagg.settings import Settings
from trioagg.store import database, rows
from trioagg.transport.capture import Captured, Torn, read
from trioagg.transport.frames import Frames

log = structlog.get_logger(__name__)

CAUSES = Causes(before="not recorded", within="not recorded", road="replay")
LINES = 2000
"""Lines read at a time."""

Progress = Callable[[int], None]
"""Told how many lines were read since it was told last."""


@frozen
class Choice:
    """What to take out of the captures; an empty collection takes all."""

    exchanges: Collection[str] = ()
    symbols: Collection[str] = ()
    channels: Collection[Channel] = ()

    def keeps(self, event: Event | Loss) -> bool:
        """Whether an event, or the loss of one, was chosen."""
        if isinstance(event, Quarantined):
            return True
        channel = event.channel if isinstance(event, Loss) else CHANNELS[type(event)]
        if self.channels and channel not in self.channels:
            return False
        return not self.symbols or event.symbol in self.symbols


async def replay(files: Sequence[Path], settings: Settings, *, choice: Choice, progress: Progress) -> Outcome:
    """Store what captures hold, and say what became of it.

    Args:
        files: in the order to read them.
        settings: where to store it.

    Raises:
        SettingsError, StoreError: a file or a sink cannot be used.
    """
    outcome = Outcome()
    async with stopping() as stop:
        with stop.everything:
            async with open_stores(settings) as stores:
                async with storing(stores, settings, outcome, causes=CAUSES) as producing:
                    producing.intake.keep = choice.keeps
                    stop.gauges.extend(producing.intake.gauges())
                    player = Player(producing.intake, choice, outcome, settings.book.plan)
                    with stop.receiving:
                        await _play(files, player, progress)
                await _describe(player, Path(settings.run.database), stores)
        account(outcome, Path(settings.run.database))
    if stop.receiving.cancelled_caught:
        outcome.failures.append("stopped before the end of the captures")
    return outcome


async def _play(files: Sequence[Path], player: Player, progress: Progress) -> None:
    for file in files:
        with closing(read(file)) as lines:
            while batch := await trio.to_thread.run_sync(_next, lines):
                player.play(batch)
                progress(len(batch))
                await player.intake.room()


async def _describe(player: Player, path: Path, stores: Stores) -> None:
    """Keep what the captures' instrument lists told of the markets that are stored; the database comes first."""
    with database(path) as db:
        there = {(row["exchange"], row["symbol"]) for row in rows(db, "instruments", limit=sys.maxsize)}
    told = [item for item in player.listed() if (item.exchange, item.symbol) in there]
    await stores.database.describe(told)
    for store, sink in stores.beside.items():
        try:
            await sink.describe(told)
        except (SinkError, StoreError) as error:
            log.error("instruments were not kept", sink=store.name, reason=str(error))
            player.outcome.failures.append(f"instruments were not stored: {error}")


def _next(lines: Iterable[Captured | Torn]) -> list[Captured | Torn]:
    return list(islice(lines, LINES))


@define(eq=False)
class Player:
    """Gives each line to the adapter of the connection that it came over; those of one exchange share a board."""

    intake: Intake
    choice: Choice
    outcome: Outcome
    plan: BookPlan
    _feeds: dict[str, Feed] = field(factory=dict)
    _adapters: dict[tuple[str, str], Exchange] = field(factory=dict)
    _asked: dict[tuple[str, str], set[str]] = field(factory=dict)
    _unknown: set[str] = field(factory=set)

    def play(self, batch: Sequence[Captured | Torn]) -> None:
        """Take some lines; one that is no capture line is told and passed over."""
        for line in batch:
            if isinstance(line, Torn):
                log.warning("unreadable line passed over", where=line.where, reason=line.reason)
            elif not self.choice.exchanges or line.exchange in self.choice.exchanges:
                self._line(line)

    def listed(self) -> list[Instrument]:
        """The instruments that the captures told of."""
        return [instrument for feed in self._feeds.values() for instrument in feed.instruments]

    def _line(self, line: Captured) -> None:
        if line.exchange not in exchanges.names():
            self._strange(line.exchange)
        elif line.source.startswith("http"):
            self._answer(line)
        else:
            adapter = self._adapter(line.exchange, line.source.partition("?")[0])
            _, actions = self.intake.frames(adapter, line.source, Frames(line.received, [line.payload]))
            for action in actions:
                if isinstance(action, Fetch):
                    self._asked.setdefault((line.exchange, _path(action)), set()).add(adapter.feed.source)

    def _answer(self, line: Captured) -> None:
        adapter, url = self._adapter(line.exchange, ""), urlsplit(line.source)
        fetch = Fetch(f"{url.path}?{url.query}" if url.query else url.path)
        listings = {listing.path.partition("?")[0] for listing in adapter.listing()}
        with suppress(RateLimited):  # the run that recorded it kept the silence
            if url.path not in listings or not self._listing(adapter, fetch, line.payload):
                for asker in self._askers(adapter, url.path):
                    self.intake.answer(asker, fetch, line)

    def _askers(self, adapter: Exchange, path: str) -> list[Exchange]:
        """Whom an answer is for: a snapshot of a book is for the streams that asked, anything else for who polls."""
        if not path.startswith(adapter.joined):
            return [adapter]
        streams = {source: other for (name, source), other in self._adapters.items() if name == adapter.name and source}
        asked = self._asked.get((adapter.name, path), streams.keys())
        return [streams[source] for source in streams if source in asked] or [adapter]

    def _listing(self, adapter: Exchange, fetch: Fetch, body: bytes) -> bool:
        """Take an instrument list: from here on it tells the symbols' spelling; False for what is none."""
        try:
            listed = adapter.instruments(fetch, body)
        except GARBLED:
            return False
        feed = self._feeds[adapter.name]
        if not set(listed) - set(feed.instruments):
            return True
        self._feeds[adapter.name] = evolve(feed, instruments=[*feed.instruments, *listed])
        for place in [place for place in self._adapters if place[0] == adapter.name]:
            del self._adapters[place]
        return True

    def _adapter(self, exchange: str, source: str) -> Exchange:
        if (exchange, source) not in self._adapters:
            feed = self._feeds.setdefault(exchange, Feed(book=self.plan))
            self._adapters[exchange, source] = exchanges.load(exchange)(evolve(feed, source=source))
        return self._adapters[exchange, source]

    def _strange(self, exchange: str) -> None:
        if exchange not in self._unknown:
            self._unknown.add(exchange)
            log.error("lines of an unknown exchange passed over", exchange=exchange)
            self.outcome.failures.append(f"lines of an unknown exchange passed over: {exchange}")


def _path(fetch: Fetch) -> str:
    return fetch.path.partition("?")[0]
