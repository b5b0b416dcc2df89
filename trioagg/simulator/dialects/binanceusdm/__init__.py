"""Binance USD-M futures, as their public market data speak.

``rest`` answers requests, ``streams`` makes frames, ``text`` writes what both print. Fills are told one by one: each is
an aggregated trade of its own, whose number is the market's; raw trades have another count.
"""

from __future__ import annotations

import re

from trioagg.model import Nanos
from trioagg.simulator import Answer, Request, Source
from trioagg.simulator.dialects._kit import DeskDialect, Handler
from trioagg.simulator.dialects.binanceusdm import rest, streams, text

_TRADE = re.compile(rb'"e":"aggTrade","E":\d+,"s":"([^"]+)","a":(\d+)')


class Dialect(DeskDialect):
    """Binance USD-M's REST and WebSocket market data, without keys."""

    name = "binanceusdm"
    ping_every = 180.0

    def __init__(self, source: Source) -> None:
        self._desk = rest.Desk(source, {self.native(symbol): symbol for symbol in source.pairs})
        super().__init__(source)

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Perpetual contracts that are margined in a stablecoin."""
        return bool(re.fullmatch(r"[A-Z0-9]+/(USDT|USDC):\1", symbol))

    @classmethod
    def native(cls, symbol: str) -> str:
        """``BTCUSDT``."""
        return text.native(symbol)

    def paths(self) -> dict[str, Handler]:
        """Everything below ``/fapi/`` and ``/futures/data/``."""
        return self._desk.paths()

    def answer(self, request: Request, now: Nanos) -> Answer:
        """The answer, with the weight used in this minute."""
        self._desk.now = self.source.now(now)
        if not self._desk.afford(request):
            return self.refusal(429, None, now)
        return self._desk.weighed(super().answer(request, now))

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """The error body that goes with a status; ``Retry-After`` is there only when asked for."""
        wait = {} if retry_after is None else {"Retry-After": str(-int(-retry_after // 1))}
        return self._desk.weighed(Answer(rest.fault(status, retry_after, now), status, wait))

    def session(self, target: str) -> streams.UsdmSession | None:
        """A connection to ``/public``, ``/market`` or no root, and there to ``/ws…`` or ``/stream…``."""
        return streams.connect(target, self.source, self.symbols)

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The symbol (Binance's spelling) and id of an aggregated trade's frame."""
        found = _TRADE.search(frame, 0, 200)
        return (found[1].decode(), int(found[2])) if found else None
