"""Events and instruments out of numbers that are checked on the way, and what requests and words are read by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NoReturn
from urllib.parse import parse_qsl, urlsplit

from msgspec.structs import replace

from trioagg.errors import WireError
from trioagg.exchanges import Fetch, Output
from trioagg.exchanges._numbers import positive, quantities
from trioagg.model import Candle, Instrument, Nanos

Market = tuple[str, str]
"""(symbol, interval)."""

Prices = tuple[Decimal, Decimal, Decimal, Decimal]
"""Open, high, low and close."""


def candle(
    exchange: str, market: Market, opens: Nanos, *, prices: Prices, volume: Decimal, closed: bool, at: Nanos
) -> Candle:
    """One candle.

    Raises:
        WireError: a price is not positive, or the volume is negative.
    """
    for price in prices:
        positive(price)
    quantities(volume)
    return Candle(exchange, *market, opens, *prices, volume, closed, at)


class Newest(dict[Market, Candle]):
    """The newest candle of each market, for exchanges that do not say when one is over: it is when the next begins."""

    def told(self, states: Iterable[Candle]) -> list[Candle]:
        """What new states mean: each once, the one that a newer one follows once more, closed; a late one is closed."""
        out: dict[tuple[Market, Nanos], Candle] = {}
        for new in states:
            market = (new.symbol, new.interval)
            before = self.get(market)
            if before and new.open_time < before.open_time:
                out[market, new.open_time] = replace(new, closed=True)
                continue
            if before and before.open_time < new.open_time:
                out[market, before.open_time] = replace(before, closed=True, received=new.received)
            self[market] = out[market, new.open_time] = new
        return list(out.values())


class Changed(dict[str, Mapping[Nanos, Candle]]):
    """What each poll of candles told last, for exchanges that tell many at each: most of them did not change."""

    def told(self, poll: str, candles: Sequence[Candle]) -> list[Candle]:
        """Those that differ from what the poll before told."""
        before, now = self.get(poll, {}), {candle.open_time: replace(candle, received=0) for candle in candles}
        self[poll] = now
        return [candle for candle in candles if before.get(candle.open_time) != now[candle.open_time]]


def spot(
    exchange: str, pair: tuple[str, str], native: str, *, tick: Decimal | None, step: Decimal | None, status: str
) -> Instrument:
    """A spot market.

    Args:
        pair: the canonical base and quote.
        tick, step: the smallest steps of price and amount; None or 0 where there is no rule.

    Raises:
        WireError: one of them cannot be.
    """
    base, quote = pair
    quantities(tick, step)
    return Instrument(
        exchange=exchange,
        symbol=f"{base}/{quote}",
        native=native,
        base=base,
        quote=quote,
        tick_size=tick or None,
        amount_step=step or None,
        contract_size=Decimal(1),
        amount_unit=base,
        status=status,
    )


class Query(dict[str, str]):
    """The parameters of a request that an answer is read by; one that it needs and that is not there garbles it."""

    def __missing__(self, name: str) -> NoReturn:
        raise WireError(f"the request names no {name}")


def asked(fetch: Fetch) -> tuple[str, Query]:
    """A request's path, and its parameters."""
    url = urlsplit(fetch.path)
    return url.path, Query(parse_qsl(url.query))


def known(word: str, words: Mapping[str, str], what: str) -> str:
    """What an exchange's word means to us.

    Raises:
        WireError: nothing.
    """
    if word not in words:
        raise WireError(f"unknown {what} {word[:40]!r}")
    return words[word]


def unused(*_: object) -> Sequence[Output]:
    """The route of what is known and not collected."""
    return ()


def parted(pair: str, quotes: Iterable[str]) -> tuple[str, str] | None:
    """A market's base and quote where nothing stands between them, by what it ends with; None where unclear."""
    return next(((pair.removesuffix(quote), quote) for quote in quotes if pair.endswith(quote) and pair != quote), None)
