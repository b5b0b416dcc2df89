"""HTX, as its public market data speaks: spot and USDT-margined swaps, each with REST and sockets of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Answer, Pair
from trioagg.simulator.dialects._kit import (
    MILLI,
    SECOND,
    DeskDialect,
    Handler,
    Query,
    Refusal,
    daily,
    interest,
    last_tick,
    next_funding,
    text,
)
from trioagg.simulator.dialects.htx import shapes
from trioagg.simulator.dialects.htx.streams import EVERY, SOCKETS, HtxSession

_TRADE = re.compile(rb'"ch":"market\.([^."]+)\.trade\.detail".*?(?:"tradeId"|"ts":\d+,"id"):(\d+)')


class Dialect(DeskDialect):
    """HTX's REST and WebSockets, without keys."""

    name = "htx"

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot, and swaps in USDT."""
        return bool(re.fullmatch(r"[A-Z0-9]+/([A-Z0-9]+|USDT:USDT)", symbol))

    @classmethod
    def native(cls, symbol: str) -> str:
        """``btcusdt``, ``BTC-USDT``."""
        return shapes.native(symbol)

    def paths(self) -> Mapping[str, Handler]:
        """Those of both hosts."""
        swap, both, of_all = "/linear-swap-api/v1", "(/linear-swap-ex)?/market", "/v2/linear-swap-ex/market/detail"
        handlers: Mapping[str, Callable[..., Mapping[str, Any]]] = {
            "/v1/common/symbols": lambda query: {"data": [*map(shapes.listing, self._pairs(swap=False))]},
            "/v1/common/timestamp": lambda query: {"data": self.now // MILLI},
            "/api/v1/timestamp": lambda query: {},
            f"{swap}/swap_contract_info": lambda query: {"data": [*map(shapes.contract, self._pairs(swap=True))]},
            f"{both}/detail(?:/merged)?": self._merged,
            "/market/tickers": lambda query: {"data": [*map(self._day, self._pairs(swap=False))]},
            f"{of_all}/batch_merged": lambda query: {"ticks": [*map(self._day, self._pairs(swap=True))]},
            f"{both}/depth": self._depth,
            f"{both}/history/trade": self._trades,
            f"{both}/history/kline": self._candles,
            f"{swap}/swap_funding_rate": lambda query: {"data": self._rate(self._contract(query))},
            f"{swap}/swap_batch_funding_rate": lambda query: {"data": [*map(self._rate, self._pairs(swap=True))]},
            f"{swap}/swap_open_interest": self._interest,
        }
        return {path: self._answered(handler) for path, handler in handlers.items()}

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """Too many requests are an error inside HTTP 200."""
        if status != 429:
            return super().refusal(status, retry_after, now)
        said = "The number of access exceeded the limit."
        return Answer(text(shapes.error(now, code=1032, said=said, low=True)))

    def session(self, target: str) -> HtxSession | None:
        """A connection to one of the four sockets."""
        path = target.partition("?")[0]
        return HtxSession(self.source, self.symbols, path) if path in SOCKETS else None

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The market, in HTX's spelling, and the id of a trade frame."""
        found = _TRADE.search(frame)
        return (found[1].decode(), int(found[2])) if found else None

    def _answered(self, handler: Callable[..., Mapping[str, Any]]) -> Handler:
        return lambda *asked: {"status": "ok", **handler(*asked), "ts": self.now // MILLI}

    def _pairs(self, *, swap: bool) -> list[Pair]:
        return [pair for symbol, pair in self.source.pairs.items() if shapes.is_swap(symbol) is swap]

    def _asked(self, query: Query, swap: str | None) -> Pair:
        """The market of ``symbol``, or of ``contract_code`` below the swaps' path."""
        symbol = self.symbols.get(query.get("contract_code", "").upper() if swap else query.get("symbol", ""), "")
        if not symbol or shapes.is_swap(symbol) is not bool(swap):
            said = "contract_code data error or empty" if swap else "invalid symbol"
            raise Refusal(shapes.error(self.now, code="invalid-parameter", said=said))
        return self.source.pairs[symbol]

    def _contract(self, query: Query) -> Pair:
        symbol = self.symbols.get(query.get("contract_code", "").upper(), "")
        if not shapes.is_swap(symbol):
            raise Refusal(shapes.error(self.now, code=1014, said="This contract doesnt exist.", low=True))
        return self.source.pairs[symbol]

    def _merged(self, query: Query, swap: str | None) -> dict[str, Any]:
        pair = self._asked(query, swap)
        tick = shapes.day(self.source, pair, self.now)
        return {"ch": f"market.{self.native(pair.symbol)}.detail.merged", "tick": tick}

    def _day(self, pair: Pair) -> dict[str, Any]:
        """One row of everybody's days; sizes stand beside the prices in those of spot."""
        told = shapes.day(self.source, pair, self.now)
        if shapes.is_swap(pair.symbol):
            return {"contract_code": self.native(pair.symbol), "business_type": "swap", **told}
        sides = {"bid": told["bid"][0], "bidSize": told["bid"][1], "ask": told["ask"][0], "askSize": told["ask"][1]}
        kept = {name: told[name] for name in ("open", "high", "low", "close", "amount", "vol", "count")}
        return {"symbol": self.native(pair.symbol), **kept, **sides}

    def _depth(self, query: Query, swap: str | None) -> dict[str, Any]:
        pair, kind = self._asked(query, swap), query.get("type", "step0")
        tick = shapes.book(self.source, pair, last_tick(self.now, EVERY), int(query.get("depth", "150")))
        return {
            "ch": f"market.{self.native(pair.symbol)}.depth.{kind}",
            "tick": {**tick, "version": self.now // SECOND},
        }

    def _trades(self, query: Query, swap: str | None) -> dict[str, Any]:
        pair, size = self._asked(query, swap), min(int(query.get("size", "1")), 2000)
        end = self.source.before(pair.symbol, self.now)
        rows = [shapes.deal(pair, trade, rest=True) for trade in self.source.prints(pair.symbol, end - size, end)]
        return {"ch": f"market.{self.native(pair.symbol)}.trade.detail", "data": rows[::-1]}

    def _candles(self, query: Query, swap: str | None) -> dict[str, Any]:
        pair, period = self._asked(query, swap), query.get("period", "")
        if period not in shapes.PERIODS:
            raise Refusal(shapes.error(self.now, code="invalid-parameter", said="invalid period"))
        length, size = shapes.PERIODS[period], min(int(query.get("size", "150")), 2000)
        first = shapes.begins(self.now, length)
        opens = range(first, first - size * length, -length)
        rows = [shapes.bar(self.source, pair, at, min(at + length, self.now)) for at in opens]
        return {"ch": f"market.{self.native(pair.symbol)}.kline.{period}", "data": rows}

    def _rate(self, pair: Pair) -> dict[str, Any]:
        due = str(next_funding(self.now) // MILLI)
        return {**shapes.rate(pair, self.now), "funding_time": due, "next_funding_time": None}

    def _interest(self, query: Query) -> dict[str, Any]:
        pairs = [self._contract(query)] if "contract_code" in query else self._pairs(swap=True)
        return {"data": [self._held(pair) for pair in pairs]}

    def _held(self, pair: Pair) -> dict[str, Any]:
        held = interest(self.source, pair.symbol, self.now)
        span, code = daily(self.source, pair.symbol, self.now), self.native(pair.symbol)
        return {
            "volume": held // pair.step, "amount": shapes.figure(held), "symbol": pair.base,
            "value": shapes.figure(held * span.close // SCALE), "contract_code": code,
            "trade_amount": shapes.figure(span.volume), "trade_volume": span.volume // pair.step,
            "trade_turnover": shapes.figure(span.quote_volume), "business_type": "swap", "pair": code,
            "contract_type": "swap", "trade_partition": "USDT",
        }  # fmt: skip
