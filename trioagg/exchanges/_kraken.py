"""How Kraken spells markets and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from trioagg.errors import WireError
from trioagg.exchanges._numbers import nanos
from trioagg.model import Nanos

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)

CANONICAL = {"XBT": "BTC", "XDG": "DOGE"}
KRAKENS = {asset: spelled for spelled, asset in CANONICAL.items()}
CLASSIC = {
    **{f"X{asset}": asset for asset in "ETH ETC LTC MLN REP XLM XMR XRP ZEC".split()},
    **{f"X{spelled}": asset for spelled, asset in CANONICAL.items()},
    **{f"Z{asset}": asset for asset in "USD EUR GBP CAD JPY AUD".split()},
}
"""The assets that keys of REST's answers spell with a letter before them; ``XTZ`` and ``ZRX`` are none of these."""

QUOTES = (
    "PYUSD RLUSD USDT USDC USDG USDQ USDR USD1 EURC EURQ EURR XBT BTC ETH EUR USD GBP CAD JPY AUD CHF AED DAI DOT SOL"
).split()
"""The second assets of markets, longer ones before those that they end with."""


def unified(name: str) -> str:
    """The symbol of a market in any spelling; ``name`` itself where unclear."""
    base, slash, quote = name.partition("/")
    if not slash:
        base, quote = _parted(name)
    return f"{CANONICAL.get(base, base)}/{CANONICAL.get(quote, quote)}" if base and quote else name


def altname(native: str) -> str:
    """``BTC/USD`` as REST takes it: ``XBTUSD``."""
    return "".join(KRAKENS.get(asset, asset) for asset in native.split("/"))


def rfc3339(text: str) -> Nanos:
    """A time in UTC, ``2026-03-02T10:15:30.123456Z``, exact to the nanosecond.

    Raises:
        WireError: it is none.
    """
    fraction = text[20:-1]
    if text[19:] == "Z":
        return _second(text[:19])
    if text[19:20] == "." and text.endswith("Z") and fraction.isascii() and fraction.isdecimal():
        return _second(text[:19]) + int(fraction[:9].ljust(9, "0"))
    raise WireError(f"impossible time: {text[:40]}")


def _parted(name: str) -> tuple[str, str]:
    """``XXBTZUSD`` or ``XBTUSD`` as its two assets; the second is empty where unclear."""
    if len(name) == 8 and name[4:] in CLASSIC:
        return CLASSIC.get(name[:4], name[:4]), CLASSIC[name[4:]]
    for asset in QUOTES:
        if name.endswith(asset):
            return name.removesuffix(asset), asset
    return name, ""


@lru_cache(maxsize=256)
def _second(text: str) -> Nanos:
    """The time of a whole second: many trades share one."""
    try:
        moment = datetime.fromisoformat(f"{text}+00:00")
    except ValueError:
        raise WireError(f"impossible time: {text}") from None
    return nanos((moment - EPOCH) // SECOND * 1000)
