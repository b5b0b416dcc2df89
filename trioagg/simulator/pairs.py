"""The markets that the built-in exchange lists: real names, plausible prices and steps, nothing else."""

from __future__ import annotations

import re
from random import Random

from attrs import evolve, frozen

from trioagg.errors import SettingsError
from trioagg.simulator import SCALE, Pair

ACTIVE = (
    *("BTC/USDT", "ETH/USDT", "SOL/USDT", "BNB/USDT", "XRP/USDT", "DOGE/USDT", "BTC/USD", "ETH/USD"),
    *("BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USDC:USDC", "ETH/USDC:USDC", "BTC/USD:BTC", "ETH/USD:ETH"),
)
"""What trades briskly when nobody asks for anything, as far as an exchange lists it."""

PERPETUALS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "BNB", "ADA", "AVAX", "LINK", "LTC")
"""What has perpetual contracts beside its spot market in USDT: linear ones, and inverse ones."""

_SHAPE = re.compile(r"[A-Z0-9]{1,20}/[A-Z0-9]{1,20}(:[A-Z0-9]{1,20})?")

# symbol, start price, decimals of the price, decimals of the amount
_TABLE = """
BTC/USDT 64210.5 2 5    ETH/USDT 3150.25 2 4    SOL/USDT 148.6 2 3      BNB/USDT 582.4 2 3      XRP/USDT 0.6125 4 1
DOGE/USDT 0.12345 5 0   ADA/USDT 0.4312 4 1     AVAX/USDT 27.35 2 2     DOT/USDT 6.215 3 2      LINK/USDT 13.84 2 2
LTC/USDT 71.25 2 3      BCH/USDT 398.1 1 3      TRX/USDT 0.1245 4 1     ATOM/USDT 6.83 3 2      UNI/USDT 7.412 3 2
ETC/USDT 22.71 2 2      XLM/USDT 0.1034 4 0     NEAR/USDT 5.128 3 1     FIL/USDT 4.567 3 2      APT/USDT 6.92 2 2
ARB/USDT 0.7831 4 1     OP/USDT 1.742 3 2       INJ/USDT 23.14 2 2      SUI/USDT 0.8975 4 1     SEI/USDT 0.3411 4 1
TIA/USDT 6.351 3 2      AAVE/USDT 102.3 2 3     ALGO/USDT 0.1387 4 0    VET/USDT 0.02712 5 1    ICP/USDT 9.432 3 2
HBAR/USDT 0.0641 5 0    GRT/USDT 0.1893 4 0     SAND/USDT 0.3154 4 0    MANA/USDT 0.3312 4 0    AXS/USDT 5.931 3 2
RUNE/USDT 4.213 3 1     FTM/USDT 0.4125 4 0     XTZ/USDT 0.7512 4 1     CRV/USDT 0.2873 4 1     LDO/USDT 1.342 3 2
SHIB/USDT 0.00001712 8 0    PEPE/USDT 0.00000912 8 0    WIF/USDT 1.873 3 2      TON/USDT 6.421 3 2
STX/USDT 1.634 3 1      IMX/USDT 1.413 3 2      RENDER/USDT 6.231 3 2   ENS/USDT 21.43 2 2      ZEC/USDT 29.71 2 3
USDC/USDT 0.9998 4 0    ETH/BTC 0.04906 5 4     BNB/BTC 0.00907 6 3     SOL/BTC 0.002314 7 3    XRP/BTC 0.00000954 8 0
LTC/BTC 0.00111 6 3     LINK/BTC 0.0002155 7 2  BTC/USDC 64205.1 2 5    ETH/USDC 3149.9 2 4     SOL/USDC 148.55 2 3
BTC/USD 64208.3 1 5     ETH/USD 3150.1 2 4      SOL/USD 148.58 2 3      XRP/USD 0.6124 4 1      DOGE/USD 0.12344 5 0
BTC/EUR 58910.4 2 5     ETH/EUR 2890.15 2 4     BTC/FDUSD 64215 2 5     ETH/FDUSD 3150.9 2 4
"""


@frozen
class Listing(Pair):
    """A pair with the price that its walk goes around."""

    price: int


def listed() -> dict[str, Listing]:
    """The markets that are always there."""
    words = _TABLE.split()
    rows = zip(words[::4], words[1::4], words[2::4], words[3::4], strict=True)
    spot = {row[0]: _listing(row[0], float(row[1]), int(row[2]), int(row[3])) for row in rows}
    return spot | {symbol: evolve(spot[f"{base}/USDT"], symbol=symbol) for base in PERPETUALS for symbol in _of(base)}


def _of(base: str) -> tuple[str, ...]:
    """The perpetual contracts of an asset."""
    return f"{base}/USDT:USDT", f"{base}/USDC:USDC", f"{base}/USD:USD", f"{base}/USD:{base}"


def invent(symbol: str) -> Listing:
    """A market that was asked for and is not listed, at a price that its name decides.

    Raises:
        SettingsError: it is not spelled as a market.
    """
    if not _SHAPE.fullmatch(symbol):
        raise SettingsError(f"symbol {symbol!r} is not spelled like BTC/USDT")
    price = 10 ** Random(symbol).uniform(-2, 3)
    return _listing(symbol, price, 2 if price > 100 else 5, 3)


def _listing(symbol: str, price: float, decimals: int, places: int) -> Listing:
    tick = SCALE // 10**decimals
    return Listing(symbol, tick, SCALE // 10**places, round(price * SCALE) // tick * tick)
