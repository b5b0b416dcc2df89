"""Stretches between connections, of trades that an exchange does not count: nothing proves that none is missing there.

While a connection carries a market, what it brings is taken for all there is. Once it is down, whatever happens until
the next one brings a trade may be missing, and only an overlap with what REST tells can bridge that.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from msgspec import Struct

from trioagg.integrity.continuity import Run
from trioagg.model import Gap, Nanos, Part, Trade, TradeId

Newest = tuple[Nanos, TradeId]
"""The time of a trade, by our clock where the exchange tells none, and its id."""


class Stretches(Struct):
    """What connections carried of one market and channel.

    Attributes:
        exchange, symbol, channel: whose.
        newest: the newest trade of them; at first, of what is stored from earlier. None before the first ever.
        broken: why the next trade may not be the one that followed; empty while a connection carries on.
        open: stretches that may still be bridged; copies share the list, which is never changed.
    """

    exchange: str
    symbol: str
    channel: str
    newest: Newest | None = None
    broken: str = ""
    open: list[Gap] = []

    def copy(self) -> Stretches:
        """The same, to be changed apart from this."""
        return Stretches(self.exchange, self.symbol, self.channel, self.newest, self.broken, self.open)

    def end(self, cause: str) -> None:
        """No connection carries it any more."""
        if self.newest is not None:
            self.broken = self.broken or cause

    def see(self, trades: Sequence[Trade]) -> list[Gap]:
        """Take trades that connections brought; late ones, and those of the newest one's instant, end no stretch.

        Returns:
            The stretches that they end.
        """
        gaps = []
        for trade in trades:
            at = trade.received if trade.timestamp is None else trade.timestamp
            if self.broken:
                if self.newest and at > self.newest[0]:
                    gaps.append(self._begin(self.newest, (at, trade.trade_id), trade.received))
            elif self.newest is None or at >= self.newest[0]:
                self.newest = (at, trade.trade_id)
        return gaps

    def bridge(self, run: Run, at: Nanos) -> list[Gap]:
        """Close what lies in a stretch that REST told all of.

        Returns:
            The gaps that are changed, whole.
        """
        return self._close(Part(*run, "filled", at, "rest"))

    def forgo(self, run: Run, at: Nanos) -> list[Gap]:
        """Give up what lies in a stretch that REST does not tell any more.

        Returns:
            The gaps that are changed, whole.
        """
        return self._close(Part(*run, "unfillable", at))

    def _begin(self, before: Newest, after: Newest, detected: Nanos) -> Gap:
        run = before[0], after[0]
        between = str(before[1]), str(after[1])
        parts = (Part(*run, "open", None),)
        gap = Gap(self.exchange, self.symbol, self.channel, *run, self.broken, detected, parts, between)
        self.open = [*self.open, gap]
        self.newest, self.broken = after, ""
        return gap

    def _close(self, fate: Part) -> list[Gap]:
        found = [gap for gap in self.open if fate.first <= gap.first and gap.last <= fate.last]
        self.open = [gap for gap in self.open if gap not in found]
        return [evolve(gap, parts=(_of(gap, fate),)) for gap in found]


def _of(gap: Gap, fate: Part) -> Part:
    """All of a gap, with a fate."""
    return evolve(fate, first=gap.first, last=gap.last, closed=max(fate.closed or 0, gap.detected))
