"""OKX, as its public market data of spot and perpetual swaps speaks: version 5.

``rest`` answers requests, ``streams`` makes frames, ``rows`` writes what both of them tell.
"""

from __future__ import annotations

import re
from itertools import count

from trioagg.model import Nanos
from trioagg.simulator import Answer, Source
from trioagg.simulator.dialects._kit import text
from trioagg.simulator.dialects.okx import rows
from trioagg.simulator.dialects.okx.rest import Desk
from trioagg.simulator.dialects.okx.streams import BUSINESS, PUBLIC, OkxSession

_TRADE = re.compile(rb'\{"arg":\{"channel":"trades(?:-all)?","instId":"([^"]+)".*?"tradeId":"(\d+)"')
_ERRORS = {
    429: ("50011", "Too Many Requests"),
    503: ("50001", "Service temporarily unavailable. Try again later."),
    504: ("50004", "API endpoint request timeout."),
}


class Dialect(Desk):
    """OKX's REST and WebSockets, without keys."""

    name = "okx"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._connections = count(0xA4D3AE55)

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot, linear swaps that are settled in USDT or USDC, and inverse ones."""
        return rows.lists(symbol)

    @classmethod
    def native(cls, symbol: str) -> str:
        """``BTC-USDT`` and ``BTC-USDT-SWAP``."""
        return rows.native(symbol)

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """OKX's code for a status; 403 is of the service that shields it."""
        if status == 403:
            return Answer(b"error code: 1015", 403, {"Content-Type": "text/plain"})
        code, reason = _ERRORS.get(status, ("50026", "System error. Try again later."))
        wait = super().refusal(status, retry_after, now).headers
        return Answer(text({"code": code, "msg": reason, "data": []}), status, wait)

    def session(self, target: str) -> OkxSession | None:
        """A connection to the public or the business socket."""
        path = target.partition("?")[0]
        if path not in (PUBLIC, BUSINESS):
            return None
        connection = f"{next(self._connections) % 2**32:08x}"
        return OkxSession(self.source, self.symbols, business=path == BUSINESS, connection=connection)

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The instrument and id of a trade frame."""
        found = _TRADE.match(frame)
        return (found[1].decode(), int(found[2])) if found else None
