"""The completeness ledger of one sink: which numbered trades are missing, kept in step with its rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from attrs import define, field

from trioagg.exchanges import Proof, load
from trioagg.integrity.continuity import Continuity
from trioagg.model import Channel, Event, Gap, Nanos, Trade
from trioagg.sinks import Sink

Market = tuple[str, str]
"""(exchange, symbol)."""


@define(eq=False)
class Ledger:
    """Watches the trades that a sink is about to store.

    Attributes:
        cause: why a trade of a market may be missing that was there before in this run.
        first_cause: the same between what is stored from earlier and what comes first.
    """

    sink: Sink
    cause: str
    first_cause: str
    _markets: dict[Market, Continuity] = field(factory=dict, init=False)

    async def take(self, batch: Sequence[Event]) -> list[Gap]:
        """The gaps that a batch opens, fills or changes.

        Raises:
            SinkError, StoreError: the sink cannot tell what it has; nothing was taken.
        """
        numbered = _numbered(batch)
        begun = {market for market in numbered if market not in self._markets}
        for market in begun:
            self._markets[market] = await self._known(market)
        at = max(event.received for event in batch)
        changed: dict[tuple[Market, int], Gap] = {}
        for market, ids in numbered.items():
            if market in begun:
                changed |= self._see(market, ids[:1], at, self.first_cause)
            changed |= self._see(market, ids, at, self.cause)
        return list(changed.values())

    def _see(self, market: Market, ids: Sequence[int], at: Nanos, cause: str) -> dict[tuple[Market, int], Gap]:
        return {(market, gap.first): gap for gap in self._markets[market].see(ids, at, cause)}

    async def _known(self, market: Market) -> Continuity:
        known = await self.sink.known(*market)
        return Continuity(*market, Channel.TRADES, known.lowest, known.highest, list(known.gaps))


def _numbered(batch: Sequence[Event]) -> dict[Market, list[int]]:
    """The trade ids of markets whose exchange counts them up by one."""
    markets: dict[Market, list[int]] = {}
    for event in batch:
        if type(event) is Trade and isinstance(event.trade_id, int) and _counts(event.exchange):
            markets.setdefault((event.exchange, event.symbol), []).append(event.trade_id)
    return markets


@cache
def _counts(exchange: str) -> bool:
    return load(exchange).proofs.get(Channel.TRADES) is Proof.ID
