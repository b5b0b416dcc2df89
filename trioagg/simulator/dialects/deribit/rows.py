"""What Deribit's answers and notifications both tell: JSON numbers, amounts in dollars for inverse contracts."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Levels, Pair, Print, Quote, Source, Span
from trioagg.simulator.dialects._kit import DAY, HOUR, MILLI, SECOND, daily, funding, interest, lately, number, short

_SHAPE = re.compile(r"([A-Z0-9]+)/([A-Z0-9]+)(?::([A-Z0-9]+))?")
STABLE = ("USDC", "USDT")
FOREVER = 32_503_708_800_000  # ms: when a perpetual contract ends
CREATED = 1_534_167_754_000  # ms


def lists(symbol: str) -> bool:
    """Whether Deribit could list it."""
    found = _SHAPE.fullmatch(symbol)
    if found is None:
        return False
    base, quote, settled = found.groups()
    if settled is None:
        return quote in (*STABLE, "BTC")
    return (quote in STABLE and settled == quote) or (quote == "USD" and settled == base)


def native(symbol: str) -> str:
    """``BTC_USDC``, ``BTC_USDC-PERPETUAL``, ``BTC-PERPETUAL``."""
    base, _, rest = symbol.partition("/")
    quote, _, settled = rest.partition(":")
    if not settled:
        return f"{base}_{quote}"
    return f"{base}-PERPETUAL" if settled == base else f"{base}_{quote}-PERPETUAL"


def kind(symbol: str) -> str:
    """``spot`` or ``future``."""
    return "future" if ":" in symbol else "spot"


def inverse(symbol: str) -> bool:
    """Whether its amounts are dollars."""
    return kind(symbol) == "future" and not native(symbol).partition("-")[0].count("_")


def currencies(symbol: str) -> set[str]:
    """Those that it is found under: what a contract is settled in, both assets of spot."""
    pair, _, settled = symbol.partition(":")
    return {settled} if settled else set(pair.split("/"))


def index(symbol: str) -> str:
    """``btc_usd``."""
    return symbol.partition(":")[0].replace("/", "_").lower()


def real(figure: int) -> Raw:
    """A JSON number with a point."""
    told = short(figure)
    return number(told if "." in told else f"{told}.0")


def contract(pair: Pair) -> int:
    """What one contract is worth, in the unit of amounts."""
    return (10 if pair.base == "BTC" else 1) * SCALE if inverse(pair.symbol) else pair.step


def amount(pair: Pair, coins: int, price: int) -> int:
    """Coins in the unit of amounts: whole contracts' dollars of an inverse contract."""
    if not coins or not inverse(pair.symbol):
        return coins
    size = contract(pair)
    return max(1, round(coins * price / SCALE / size)) * size


def instrument(pair: Pair) -> dict[str, Any]:
    """One of ``get_instruments``; spot lacks what contracts have."""
    symbol, inverted = pair.symbol, inverse(pair.symbol)
    shape, settled = "reversed" if inverted else "linear", symbol.partition(":")[2]
    size = real(contract(pair))
    more = {
        "max_leverage": 50, "future_type": shape, "settlement_currency": settled, "settlement_period": "perpetual",
        "max_liquidation_commission": 0.0075, "block_trade_commission": 0.00025,
        "block_trade_min_trade_amount": 200_000, "block_trade_tick_size": 0.01,
    }  # fmt: skip
    return {
        "price_index": index(symbol), "kind": kind(symbol), "instrument_name": native(symbol),
        "instrument_id": 100_000 + sum(symbol.encode()), "maker_commission": 0.0, "taker_commission": 0.0005,
        "instrument_type": shape, "expiration_timestamp": FOREVER, "creation_timestamp": CREATED, "is_active": True,
        "state": "open", "tick_size": real(pair.tick), "tick_size_steps": [], "contract_size": size,
        "min_trade_amount": size, **(more if settled else {}), "base_currency": pair.base,
        "counter_currency": pair.quote, "quote_currency": pair.quote,
    }  # fmt: skip


def quote(pair: Pair, told: Quote) -> dict[str, Any]:
    """The best bid and ask."""
    _, at, bid, bids, ask, asks = told
    return {
        "timestamp": at // MILLI, "instrument_name": native(pair.symbol), "best_bid_price": real(bid),
        "best_bid_amount": real(amount(pair, bids, bid)), "best_ask_price": real(ask),
        "best_ask_amount": real(amount(pair, asks, ask)),
    }  # fmt: skip


def middle(source: Source, symbol: str, at: Nanos) -> int:
    """The index and mark price: between bid and ask."""
    told = source.quote(symbol, at)
    return (told[2] + told[4]) // 2


def ticker(source: Source, pair: Pair, at: Nanos) -> dict[str, Any]:
    """A ticker; contracts have an open interest and funding beside."""
    symbol, fair = pair.symbol, real(middle(source, pair.symbol, at))
    span, best = daily(source, symbol, at), quote(pair, source.quote(symbol, at))
    edges = {"min_price": real(span.close * 98 // 100), "max_price": real(span.close * 102 // 100)}
    held = interest(source, symbol, at)
    more = {
        "open_interest": real(amount(pair, held, span.close)), "interest_value": real(funding(symbol, at)),
        "current_funding": real(funding(symbol, at)), "funding_8h": real(funding(symbol, at - 8 * HOUR)),
        "settlement_price": real(lately(source, symbol, at, at // SECOND * SECOND % DAY).open),
    }  # fmt: skip
    return {
        **best, "timestamp": at // MILLI, "state": "open", "last_price": real(span.close), "mark_price": fair,
        "index_price": fair, "estimated_delivery_price": fair, **edges,
        **(more if kind(symbol) == "future" else {}), "stats": _stats(span),
    }  # fmt: skip


def _stats(span: Span) -> dict[str, Any]:
    """The day; volumes in coins and in dollars."""
    turnover = real(span.quote_volume)
    return {
        "high": real(span.high), "low": real(span.low), "price_change": _change(span), "volume": real(span.volume),
        "volume_usd": turnover, "volume_notional": turnover,
    }  # fmt: skip


def _change(span: Span) -> Raw:
    """In percent, with four digits."""
    return real(round((span.close / span.open - 1) * 1_000_000) * (SCALE // 10_000))


def summary(source: Source, pair: Pair, at: Nanos) -> dict[str, Any]:
    """One of ``get_book_summary_by_currency``."""
    told = ticker(source, pair, at)
    named = {"bid_price": "best_bid_price", "ask_price": "best_ask_price", "last": "last_price"}
    same = ("mark_price", "open_interest", "current_funding", "funding_8h", "estimated_delivery_price")
    return {
        "instrument_name": told["instrument_name"], "base_currency": pair.base, "quote_currency": pair.quote,
        **{name: told[there] for name, there in named.items()}, **{name: told[name] for name in same if name in told},
        "mid_price": told["mark_price"], **told["stats"], "creation_timestamp": at // MILLI,
    }  # fmt: skip


def trade(source: Source, pair: Pair, told: Print) -> dict[str, Any]:
    """A trade; every 101st closes its taker's position by force."""
    seq, at, price, coins, buy = told
    symbol, worth, fair = pair.symbol, amount(pair, coins, price), real(price)
    before = next((row[2] for row in source.prints(symbol, seq - 1, seq)), price)
    prefix = "" if symbol == "BTC/USD:BTC" else f"{native(symbol).partition('-')[0]}-"
    contracts = {"contracts": real(worth * SCALE // contract(pair))} if kind(symbol) == "future" else {}
    forced = {"liquidation": "T"} if contracts and not seq % 101 else {}
    return {
        "trade_seq": seq, "trade_id": f"{prefix}{2 * seq + (kind(symbol) == 'spot')}", "timestamp": at // MILLI,
        "tick_direction": _direction(price, before, buy=buy), "price": fair, "mark_price": fair, "index_price": fair,
        "instrument_name": native(symbol), "direction": "buy" if buy else "sell", **contracts, "amount": real(worth),
        **forced,
    }  # fmt: skip


def _direction(price: int, before: int, *, buy: bool) -> int:
    """Plus 0, zero-plus 1, minus 2, zero-minus 3."""
    if price == before:
        return 1 if buy else 3
    return 0 if price > before else 2


def levels(pair: Pair, side: Levels) -> list[tuple[Raw, Raw]]:
    """Prices and amounts."""
    return [(real(price), real(amount(pair, coins, price))) for price, coins in side]


def candle(span: Span) -> dict[str, Any]:
    """A candle; ``volume`` in coins, ``cost`` in the quote currency."""
    return {
        "tick": span.start // MILLI, "open": real(span.open), "high": real(span.high), "low": real(span.low),
        "close": real(span.close), "volume": real(span.volume), "cost": real(span.quote_volume),
    }  # fmt: skip
