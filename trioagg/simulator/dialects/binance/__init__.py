"""Binance spot, as its public market data speaks.

``rest`` answers requests, ``streams`` makes frames, ``captured`` reads recorded ones.
"""

from __future__ import annotations

import re

from trioagg.model import Nanos
from trioagg.simulator import Answer, Recorded, Request, Source
from trioagg.simulator import Dialect as Base
from trioagg.simulator.dialects.binance import captured, rest, streams

_TRADE = re.compile(rb'"e":"trade","E":\d+,"s":"([^"]+)","t":(\d+)')


class Dialect(Base):
    """Binance spot's REST and WebSocket market data, without keys."""

    name = "binance"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._desk = rest.Desk(source)
        self._symbols = {rest.native(symbol): symbol for symbol in source.pairs}

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot only: ``BTC/USDT``, never ``BTC/USDT:USDT``."""
        return bool(re.fullmatch(r"[A-Z0-9]+/[A-Z0-9]+", symbol))

    def answer(self, request: Request, now: Nanos) -> Answer:
        """The answer, with the weight used in this minute."""
        return self._desk.answer(request, now)

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """The error body that goes with a status."""
        return self._desk.refusal(status, retry_after, now)

    def session(self, target: str) -> streams.BinanceSession | None:
        """A connection to ``/ws…`` or ``/stream…``."""
        return streams.connect(target, self.source, self._symbols)

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The symbol (Binance's spelling) and id of a trade frame."""
        found = _TRADE.search(frame, 0, 200)
        return (found[1].decode(), int(found[2])) if found else None

    @staticmethod
    def recorded(url: str, payload: bytes) -> Recorded | None:
        """A recorded frame or REST body."""
        return captured.read(url, payload)
