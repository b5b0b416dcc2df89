"""One market on several exchanges as one: the best bid and ask of those that are fresh, a volume-weighted price."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from fractions import Fraction
from operator import itemgetter

from attrs import frozen

from trioagg.model import Nanos

SECOND = 1_000_000_000
EXACT = Context(prec=200)
NOBODY = (None, None, None)


@frozen
class Venue:
    """What one exchange said last of a market; None where it is not known.

    Attributes:
        bid, ask, last: quote currency.
        bid_size, ask_size, volume: base currency; ``volume`` of the last 24 hours.
        received: when its best prices arrived, nanoseconds UTC.
    """

    exchange: str
    symbol: str
    bid: Decimal | None
    bid_size: Decimal | None
    ask: Decimal | None
    ask_size: Decimal | None
    last: Decimal | None
    volume: Decimal | None
    received: Nanos


@frozen
class Best:
    """One symbol across exchanges.

    Attributes:
        bid, ask: the best of them, with what stands there and where.
        spread: ask less bid; negative where one exchange bids more than another asks.
        vwap: the last prices, weighted by the 24 hours' volumes, to the finest of their steps; None where none tells.
        venues: the exchanges that count.
        expired: those whose prices are too old.
        received: when the newest of it arrived, nanoseconds UTC.
    """

    symbol: str
    bid: Decimal | None
    bid_size: Decimal | None
    bid_exchange: str | None
    ask: Decimal | None
    ask_size: Decimal | None
    ask_exchange: str | None
    spread: Decimal | None
    vwap: Decimal | None
    venues: tuple[str, ...]
    expired: tuple[str, ...]
    received: Nanos


def consolidated(venues: Iterable[Venue], stale: float) -> list[Best]:
    """Each symbol, by name.

    Args:
        stale: seconds that a venue's prices may be older than the newest ones of the symbol.
    """
    symbols: dict[str, list[Venue]] = {}
    for venue in venues:
        symbols.setdefault(venue.symbol, []).append(venue)
    return [_best(symbol, symbols[symbol], round(stale * SECOND)) for symbol in sorted(symbols)]


def _best(symbol: str, venues: Sequence[Venue], stale: Nanos) -> Best:
    newest = max(venue.received for venue in venues)
    fresh = [venue for venue in venues if newest - venue.received <= stale]
    bids = [(venue.bid, venue.bid_size, venue.exchange) for venue in fresh if venue.bid]
    asks = [(venue.ask, venue.ask_size, venue.exchange) for venue in fresh if venue.ask]
    bid, bid_size, bidder = max(bids, key=itemgetter(0), default=NOBODY)
    ask, ask_size, asker = min(asks, key=itemgetter(0), default=NOBODY)
    return Best(
        symbol=symbol,
        bid=bid,
        bid_size=bid_size,
        bid_exchange=bidder,
        ask=ask,
        ask_size=ask_size,
        ask_exchange=asker,
        spread=None if bid is None or ask is None else EXACT.subtract(ask, bid),
        vwap=_weighted(fresh),
        venues=tuple(venue.exchange for venue in fresh),
        expired=tuple(venue.exchange for venue in venues if venue not in fresh),
        received=newest,
    )


def _weighted(venues: Iterable[Venue]) -> Decimal | None:
    told = [(venue.last, venue.volume) for venue in venues if venue.last and venue.volume]
    if not told:
        return None
    mean = sum(Fraction(last) * Fraction(volume) for last, volume in told) / sum(Fraction(volume) for _, volume in told)
    places = max(_places(last) for last, _ in told)
    return Decimal(round(mean * Fraction(10) ** places)).scaleb(-places, EXACT)


def _places(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0
