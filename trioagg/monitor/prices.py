"""What each exchange says a market is worth now, and since when it has said just that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from operator import attrgetter
from typing import Any

from attrs import define, field

from trioagg.integrity.deviation import Price
from trioagg.model import Quote, Ticker, Trade
from trioagg.monitor.health import carriers
from trioagg.monitor.metrics import Metrics

Quoted = Ticker | Quote | Trade
"""What tells a price."""
SAYS: Mapping[type[Quoted], Callable[[Quoted], Any]] = {
    Trade: attrgetter("trade_id"),
    Quote: attrgetter("bid", "bid_size", "ask", "ask_size"),
    Ticker: attrgetter("bid", "bid_size", "ask", "ask_size", "last", "volume"),
}
"""What makes one of them say the same as another."""
Said = dict[tuple[str, str, type], Quoted]
"""(exchange, symbol, kind) → what was said last."""


@define(eq=False)
class Prices:
    """Looks at what the open connections, or polls where there is no stream, brought last.

    A price is as old as the first time that it was told: an exchange that stands still and goes on repeating itself
    says nothing new. One that lists a market as not trading says nothing of it.
    """

    _said: Said = field(factory=dict)

    def look(self, metrics: Metrics, exchanges: Iterable[str]) -> list[Price]:
        """One price of each exchange and market at the most."""
        before = self._said
        self._said = {key: _first(before.get(key), event) for key, event in _newest(metrics, exchanges).items()}
        told: dict[tuple[str, str], Quoted] = {}
        for event in sorted(self._said.values(), key=lambda event: event.received):
            told[event.exchange, event.symbol] = event
        return [Price(*key, price, event.received) for key, event in told.items() if (price := _worth(event))]


def _first(before: Quoted | None, event: Quoted) -> Quoted:
    """The earlier of two events that say the same, else the later."""
    says = SAYS[type(event)]
    return before if before is not None and says(before) == says(event) else event


def _newest(metrics: Metrics, exchanges: Iterable[str]) -> Said:
    found: Said = {}
    for event in (event for name in exchanges for event in _told(metrics, name)):
        key = event.exchange, event.symbol, type(event)
        found[key] = max(found.get(key, event), event, key=lambda one: one.received)
    return found


def _told(metrics: Metrics, exchange: str) -> Iterator[Quoted]:
    halted = metrics.plans[exchange].halted if exchange in metrics.plans else ()
    streamed = (
        heard.last
        for one in carriers(metrics, exchange)
        for heard in (one.carrier.pulse.streams().values() if one.carrier else ())
        if heard.first and heard.last
    )
    told = [*streamed, *metrics.polled[exchange].values()]
    yield from (event for event in told if isinstance(event, Quoted) and event.symbol not in halted and _worth(event))


def _worth(event: Quoted) -> Decimal | None:
    """The middle between bid and ask, or else the last price; None where it tells none above zero."""
    if isinstance(event, Trade):
        price: Decimal | None = event.price
    elif event.bid is None or event.ask is None:
        price = event.last if isinstance(event, Ticker) else None
    else:
        price = (event.bid + event.ask) / 2
    return price if price and price > 0 else None
