"""The watchdog: tells a connection, or one stream on it, that is dead from one that has nothing to bring.

What a stream brought before says how long it may be silent. Silence beyond that is a suspicion, and REST is asked
before anything is replaced: a stream is dead if the exchange has something newer than what it brought.
"""

from __future__ import annotations

import math
from typing import Literal

import structlog
import trio
from attrs import define, evolve, field, frozen

from trioagg.errors import LinkError
from trioagg.exchanges import Exchange, Feed, Fetch, Hole, Subscription, counts
from trioagg.integrity.pulse import Key, Pulse, newer
from trioagg.model import CHANNELS, Channel, Event, Nanos, Trade
from trioagg.monitor.health import RARE
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.rest import Rest
from trioagg.transport.clock import Stamps

log = structlog.get_logger(__name__)

Verdict = Literal["dead", "quiet", "unknown"]

GRACE = 2.0
"""Seconds that a stream has to bring by itself what REST told just now."""
AGAIN = 60.0
"""Seconds between two questions about one stream."""
LOOKS = 3
"""How often the streams are looked at in the time that none of them may be silent without having been looked at."""


@define(eq=False)
class Questions:
    """The questions about the silent streams of one exchange.

    Attributes:
        turn: held while one is under way.
        told: when each stream was asked about last, and what that means for a connection that lives now.
    """

    turn: trio.Lock = field(factory=trio.Lock)
    told: dict[Key, tuple[float, Verdict]] = field(factory=dict)


@frozen
class Probe:
    """Asks REST about the streams of one connection, cheaply: one question at a time per exchange."""

    adapter: type[Exchange]
    feed: Feed
    rest: Rest
    stamps: Stamps
    questions: Questions

    def question(self, key: Key, last: Event | None) -> Fetch | None:
        """The request that tells what a stream should have brought after ``last``; None where there is none."""
        symbol, kind = key
        ours = [item for item in self.feed.subscriptions if (item.symbol, item.channel) == (symbol, CHANNELS[kind])]
        if last is None or not ours:
            return None
        if isinstance(last, Trade):
            return self.adapter(evolve(self.feed, subscriptions=())).missing(self._hole(ours[0], last))
        if ours[0].channel is Channel.TICKER:
            return next(iter(self.adapter(evolve(self.feed, subscriptions=ours)).polls()), None)
        return None

    async def ask(self, key: Key, pulse: Pulse, intake: Intake) -> Verdict:
        """Whether a silent stream is dead; what REST tells is kept, like everything that it tells."""
        last = pulse.streams()[key].last
        fetch = self.question(key, last)
        if fetch is None or last is None:
            return "unknown"
        async with self.questions.turn:
            try:
                told = await self.rest.consult(self.adapter(evolve(self.feed, subscriptions=())), fetch, intake)
            except LinkError as error:
                log.warning("no answer about a silent stream", symbol=key[0], reason=str(error))
                return "unknown"
        await intake.room()
        newest = newer(last, told, counted=counts(self.adapter.name))
        if newest is None:
            return "quiet"
        await trio.sleep(GRACE)
        heard = pulse.streams()[key]
        if heard.last is not last:
            return "quiet"
        heard.last = newest  # what the next connection is measured by
        return "dead"

    def _hole(self, subscription: Subscription, last: Trade) -> Hole:
        since: Nanos = last.timestamp or last.received
        following = last.trade_id + 1 if counts(self.adapter.name) and isinstance(last.trade_id, int) else None
        return Hole(subscription.symbol, subscription.native, following, following, since, self.stamps.take())


@define(eq=False)
class Watch:
    """Watches one connection from its opening to its end.

    Attributes:
        stall: seconds without data after which it, or a stream on it, is doubted.
        intake: where to put what REST tells.
    """

    pulse: Pulse
    probe: Probe
    stall: float
    intake: Intake
    _excused: dict[Key, tuple[float, float]] = field(factory=dict)

    async def connection(self) -> None:
        """Wait until the connection is dead: silent for too long, and by its own past or by REST not just quiet.

        Raises:
            LinkError: it is.
        """
        if all(item.channel in RARE for item in self.probe.feed.subscriptions):
            return  # the pings tell whether it lives
        whole = self.pulse.whole
        since, patience = whole.last, self.stall
        while True:
            await trio.sleep_until(min(since + patience, trio.current_time() + self.stall))
            if whole.last != since:
                since, patience = whole.last, self.stall
            elif trio.current_time() < since + patience:
                continue
            elif self.pulse.deaf:
                self.pulse.forgive(trio.current_time())
            elif await self._merely_quiet():
                patience = max(2 * patience, whole.patience)
            elif whole.last == since:
                raise LinkError(f"no data for {self.stall:g} s")

    async def streams(self) -> None:
        """Wait until a stream is dead though others on the connection flow.

        Raises:
            LinkError: one is.
        """
        while True:
            await trio.sleep(self.stall / LOOKS)
            now = trio.current_time()
            if not self.pulse.deaf and now - self.pulse.whole.last < self.stall:
                for key in self.pulse.strange(now, self.stall):
                    await self._doubt(key)

    async def _merely_quiet(self) -> bool:
        """Whether it was as silent before, and REST tells nothing newer of its liveliest stream."""
        if self.pulse.whole.patience < self.stall:
            return False
        for key in self.pulse.liveliest():
            if self.probe.question(key, self.pulse.streams()[key].last):
                return await self._ask(key) == "quiet"
        return False

    async def _doubt(self, key: Key) -> None:
        heard = self.pulse.streams()[key]
        since, silence = heard.rhythm.last, trio.current_time() - heard.rhythm.last
        if self._excused.get(key, (-math.inf, 0.0)) >= (since, silence):
            return
        if await self._ask(key) == "dead":
            raise LinkError(f"nothing of {key[0]} {CHANNELS[key[1]]} for {silence:.0f} s, but REST has newer")
        self._excused[key] = since, 2 * silence

    async def _ask(self, key: Key) -> Verdict:
        """What REST tells of a stream, or told less than a minute ago."""
        told = self.probe.questions.told
        at, verdict = told.get(key, (-AGAIN, "unknown"))
        if trio.current_time() - at >= AGAIN:
            verdict = await self.probe.ask(key, self.pulse, self.intake)
            told[key] = trio.current_time(), "quiet" if verdict == "dead" else verdict
        return verdict
