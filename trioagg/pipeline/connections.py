"""The connections of one exchange, and how they change with what is wanted of it: nothing that stays is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog
import trio
from attrs import define, evolve, field, frozen

from trioagg.exchanges import Exchange, Feed, Subscription
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.lead import Lead
from trioagg.pipeline.relay import Relay
from trioagg.pipeline.stream import Stream
from trioagg.pipeline.supervise import supervise
from trioagg.transport.backoff import Attempts

PATHS = "", "b", "c", "d"
"""What the names of connections that carry the same subscriptions end in."""
CHANGED = "its subscriptions changed"


@frozen
class Line:
    """One connection, or with redundancy so many that carry the same.

    Attributes:
        subscriptions: what it carries.
        relays: by the name of each.
        scope: ends it.
    """

    subscriptions: Sequence[Subscription]
    relays: dict[str, Relay]
    scope: trio.CancelScope = field(factory=trio.CancelScope)


@define(eq=False)
class Connections:
    """What carries the streams of one exchange.

    Attributes:
        stream: what it takes to hold one, by its feed and name.
        attempts: a new account of a connection's failures.
        redundancy: how many carry the same.
        intake: the door for one that runs alone.
        hint: see ``supervise``.
    """

    adapter: type[Exchange]
    stream: Callable[[Feed, str], Stream]
    attempts: Callable[[], Attempts]
    redundancy: int
    intake: Intake
    hint: Callable[[], Mapping[str, str]]
    _lines: list[Line] = field(factory=list, init=False)

    def carry(self, wanted: Feed, nursery: trio.Nursery) -> None:
        """Carry what is streamed of it from now on; one whose part changes is given a successor before it ends."""
        streamed = [item for item in wanted.subscriptions if item.channel in self.adapter.streamed]
        parts = rearranged(self.adapter, [line.subscriptions for line in self._lines], streamed)
        for place, some in enumerate(parts):
            feed = evolve(wanted, subscriptions=some)
            if place == len(self._lines):
                self._lines.append(self._begun(feed, f"ws-{place + 1}", nursery))
            elif some != self._lines[place].subscriptions:
                self._lines[place] = self._changed(self._lines[place], feed)

    def _begun(self, feed: Feed, name: str, nursery: trio.Nursery) -> Line:
        lead = Lead(self.intake)
        paths = [name + letter for letter in PATHS[: self.redundancy]]
        relays = {path: Relay(self.stream(feed, path), self.attempts(), lead) for path in paths}
        line = Line(feed.subscriptions, relays)
        nursery.start_soon(self._live, line, name=f"{self.adapter.name} {name}")
        return line

    def _changed(self, line: Line, feed: Feed) -> Line:
        for name, relay in line.relays.items():
            if feed.subscriptions:
                relay.change(self.stream(feed, name), CHANGED)
            else:
                relay.give_up()
                line.scope.cancel()
        return evolve(line, subscriptions=feed.subscriptions)

    async def _live(self, line: Line) -> None:
        with line.scope:
            async with trio.open_nursery() as nursery:
                for name, relay in line.relays.items():
                    nursery.start_soon(self._carry, name, relay, name=f"{self.adapter.name} {name} supervised")

    async def _carry(self, name: str, relay: Relay) -> None:
        structlog.contextvars.bind_contextvars(connection=name)
        await supervise(relay.live, relay.attempts, hint=self.hint)


def rearranged(
    adapter: type[Exchange], carried: Sequence[Sequence[Subscription]], wanted: Sequence[Subscription]
) -> list[Sequence[Subscription]]:
    """What each connection carries from now on, and then what new ones do.

    What stays, stays where it is, since nothing would carry it while it moves. All that is new goes on the first
    connection that has room for it.

    Args:
        carried: what each carries; empty where it has ended.
        wanted: all that is wanted, of streamed channels.
    """
    parts: list[Sequence[Subscription]] = [[item for item in some if item in wanted] for some in carried]
    there = {item for some in parts for item in some}
    new = [item for item in wanted if item not in there]
    for place, some in enumerate(parts):
        if some and new and len(adapter.connections([*some, *new])) == 1:
            parts[place], new = [*some, *new], []
    return [*parts, *adapter.connections(new)]
