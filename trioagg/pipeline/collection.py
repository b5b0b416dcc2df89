"""What a run collects: the feeds of all its exchanges, and how they change while they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
import trio
from attrs import define, evolve, field

from trioagg.errors import SettingsError
from trioagg.pipeline.feeds import Feeds, Place, check_channels, feeds_of
from trioagg.settings import Settings

log = structlog.get_logger(__name__)


@define(eq=False)
class Collection:
    """The feeds of a run.

    Attributes:
        settings: what is wanted by now.
        place: what the feeds share.
        nursery: where they run.
        hint: whether a first failure's line names the built-in exchange.
        watchers: told the settings after each change.
    """

    settings: Settings
    place: Place
    nursery: trio.Nursery
    hint: bool
    watchers: Sequence[Callable[[Settings], None]] = ()
    _feeds: dict[str, tuple[Feeds, trio.CancelScope]] = field(factory=dict, init=False)

    def begin(self) -> None:
        """Collect from each exchange."""
        self._follow()

    def reread(self, read: Callable[[], Settings]) -> None:
        """Read the settings again, and collect from now on what they want; if they are wrong, all goes on as it was."""
        try:
            told = read()
            check_channels(told)
        except SettingsError as error:
            log.error("the settings are not read again", reason=str(error))
            return
        self._change(told)

    def _change(self, told: Settings) -> None:
        new = {name: getattr(told.run, name) for name in ("exchanges", "symbols", "channels")}
        wanted = evolve(self.settings, run=evolve(self.settings.run, **new))
        log.info("the settings were read again", **{name: ", ".join(words) for name, words in new.items()})
        if wanted != told:
            log.warning("only exchanges, symbols and channels change in a run; what else changed waits for the next")
        self.settings = wanted
        self.place = evolve(self.place, lacks=_borne)
        self._follow()
        for tell in self.watchers:
            tell(wanted)

    def _follow(self) -> None:
        for name in self._feeds.keys() - set(self.settings.exchanges):
            self._feeds.pop(name)[1].cancel()
        for feeds, _ in self._feeds.values():
            feeds.change(self.settings, self.place)
        for name in self.settings.exchanges:
            if name not in self._feeds:
                self._start(name)
        if not self._feeds:
            log.warning("no market is in this shard; nothing is collected", shard=str(self.settings.run.shard))

    def _start(self, name: str) -> None:
        feeds, scope = feeds_of(name, self.settings, self.place, hint=self.hint), trio.CancelScope()
        self._feeds[name] = feeds, scope
        self.nursery.start_soon(self._live, feeds, scope, name=name)

    async def _live(self, feeds: Feeds, scope: trio.CancelScope) -> None:
        with scope:
            await feeds.run()


def _borne(exchange: str, symbol: str, message: str) -> None:
    """A run that collects already goes on, whoever lacks what."""
