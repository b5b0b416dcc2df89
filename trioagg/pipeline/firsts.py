"""First data: an acknowledgement is no evidence of any, so each subscription is waited for by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog
import trio
from attrs import define, field

from trioagg.exchanges import Subscription
from trioagg.model import CHANNELS, Channel, Event, Quarantined

log = structlog.get_logger(__name__)

RARE = {Channel.LIQUIDATIONS}
"""Channels whose silence says nothing."""
NAMED = 10
"""Markets that one line names at the most."""


@define(eq=False)
class Firsts:
    """The subscriptions of one connection that have brought nothing yet, as (symbol, channel).

    Attributes:
        awaited: all of them.
        overdue: those that were told to be silent.
    """

    awaited: set[tuple[str, Channel]]
    overdue: set[tuple[str, Channel]] = field(factory=set)

    def hear(self, events: Sequence[Event]) -> None:
        """Take note of what came."""
        if not self.awaited:
            return
        heard = {(event.symbol, CHANNELS[type(event)]) for event in events if not isinstance(event, Quarantined)}
        for symbol, channel in sorted(heard & self.overdue):
            log.info("data after all", symbol=symbol, channel=channel.value)
        self.overdue -= heard
        self.awaited -= heard

    async def watch(self, patience: float) -> None:
        """Tell those that are silent after so many seconds, a line for each channel."""
        await trio.sleep(patience)
        self.overdue |= self.awaited
        for channel in sorted({channel for _, channel in self.overdue}):
            silent = sorted(symbol for symbol, of in self.overdue if of is channel)
            more = f" and {len(silent) - NAMED} more" if len(silent) > NAMED else ""
            symbols = ", ".join(silent[:NAMED]) + more
            log.warning("subscribed, and silent", channel=channel.value, symbols=symbols, after=f"{patience:g} s")


def firsts_of(subscriptions: Iterable[Subscription]) -> Firsts:
    """Those to wait for on a new connection."""
    return Firsts({(item.symbol, item.channel) for item in subscriptions if item.channel not in RARE})
