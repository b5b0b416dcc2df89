"""Bybit v5, as its public market data speaks: spot and linear perpetual contracts; there are no others here."""

from __future__ import annotations

import re

from trioagg.model import Nanos
from trioagg.simulator import Answer, Source
from trioagg.simulator.dialects._kit import MILLI, text
from trioagg.simulator.dialects.bybit.markets import listed, told
from trioagg.simulator.dialects.bybit.rest import Desk
from trioagg.simulator.dialects.bybit.streams import BybitSession

PRODUCTS = ("spot", "linear", "inverse", "option")


class Dialect(Desk):
    """Bybit's REST and WebSocket, without keys."""

    name = "bybit"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.markets = {product: listed(source, product) for product in PRODUCTS}

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot in anything but dollars, and perpetual contracts that are settled in USDT or USDC."""
        return bool(re.fullmatch(r"[A-Z0-9]+/(?!USD$)[A-Z0-9]+|[A-Z0-9]+/(USD[TC]):\1", symbol))

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """Too many visits are an error inside HTTP 200, with the time of their end in a header; a ban is plain text."""
        if status == 403:
            return Answer(b"403, access too frequent", 403, {"Content-Type": "text/plain"})
        if status != 429:
            return super().refusal(status, retry_after, now)
        reset = {"X-Bapi-Limit-Reset-Timestamp": str(now // MILLI + round((retry_after or 1) * 1000))}
        return Answer(text(self.wrapped({}, 10006, "Too many visits!", now)), 200, reset)

    def session(self, target: str) -> BybitSession | None:
        """A connection to one product."""
        product = target.partition("?")[0].removeprefix("/v5/public/")
        return BybitSession(self.markets[product], product) if product in PRODUCTS else None

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The symbol and number of a trade frame; a contract's id is made of the number."""
        return told(frame)
