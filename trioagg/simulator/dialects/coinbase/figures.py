"""What REST and the stream both tell of a product, and how they spell it."""

from __future__ import annotations

from typing import Any

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Pair, Print, Source, Span
from trioagg.simulator.dialects._kit import DAY, daily, iso, lately, plain, short

MONTH = 30 * DAY


def product(symbol: str) -> str:
    """``BTC-USD``."""
    return symbol.replace("/", "-")


def fixed(figure: int, step: int) -> str:
    """With as many decimals as a step of prices or amounts has."""
    return plain(figure)[: len(str(SCALE // step)) - 9 or None].rstrip(".")


def maker(trade: Print) -> str:
    """The maker's side of a trade: the other one."""
    return "sell" if trade[4] else "buy"


def order_id(number: int) -> str:
    """What names an order: always the same for the same number."""
    digits = f"{(number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Figures:
    """The days and the counts of one exchange's products."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def sequence(self, symbol: str, at: Nanos) -> int:
        """The number of the full feed's last message before a time; it grows faster than trades do."""
        return (self.source.before(symbol, at) - 1) * 4 + 1

    def days(self, symbol: str, at: Nanos) -> tuple[Span, Span]:
        """The last 24 hours and 30 days."""
        return daily(self.source, symbol, at), lately(self.source, symbol, at, MONTH)

    def ticker(self, symbol: str, trade: Print) -> dict[str, Any]:
        """What the ticker says of a trade; here ``side`` is the taker's."""
        ident, at, price, amount, buy = trade
        (today, month), pair = self.days(symbol, at), self.source.pairs[symbol]
        _, _, bid, bids, ask, asks = self.source.quote(symbol, at)
        return {
            "type": "ticker", "sequence": ident * 4, "product_id": product(symbol), "price": short(price),
            "open_24h": short(today.open), "volume_24h": short(today.volume), "low_24h": short(min(today.low, price)),
            "high_24h": short(max(today.high, price)), "volume_30d": short(month.volume),
            "best_bid": fixed(bid, pair.tick), "best_bid_size": short(bids),
            "best_ask": fixed(ask, pair.tick), "best_ask_size": short(asks), "side": "buy" if buy else "sell",
            "time": iso(at), "trade_id": ident, "last_size": short(amount),
        }  # fmt: skip


def listing(pair: Pair) -> dict[str, Any]:
    """A product, as REST and the status channel both have it."""
    return {
        "id": product(pair.symbol), "base_currency": pair.base, "quote_currency": pair.quote,
        "quote_increment": short(pair.tick), "base_increment": short(pair.step), "display_name": product(pair.symbol),
        "min_market_funds": "1", "post_only": False, "limit_only": False, "cancel_only": False,
        "status": "online", "status_message": "", "fx_stablecoin": False,
    }  # fmt: skip


def currency(code: str, message: str) -> dict[str, Any]:
    """A currency; REST and the status channel name the field of its message differently."""
    return {
        "id": code, "name": code, "min_size": "0.00000001", "status": "online", message: "",
        "max_precision": "0.00000001", "convertible_to": [], "details": {},
    }  # fmt: skip


def currencies(source: Source) -> list[str]:
    """Every asset that is traded or paid with."""
    return sorted({asset for pair in source.pairs.values() for asset in (pair.base, pair.quote)})
