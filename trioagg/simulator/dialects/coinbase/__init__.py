"""Coinbase Exchange, as its public market data speaks: ``rest`` answers requests, ``streams`` makes frames."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http.client import responses

from attrs import evolve

from trioagg.model import Nanos
from trioagg.simulator import Answer, Request, Source
from trioagg.simulator.dialects._kit import DeskDialect, Handler, text
from trioagg.simulator.dialects.coinbase import rest, streams
from trioagg.simulator.dialects.coinbase.figures import Figures, product

_ROW = re.compile(rb'"trade_id":(\d+)')
_MATCH = re.compile(rb'\{"type":"match","trade_id":(\d+),.*?"product_id":"([^"]+)"')


class Dialect(DeskDialect):
    """Coinbase Exchange's REST and WebSocket market data, without keys."""

    name = "coinbase"

    def __init__(self, source: Source) -> None:
        self._figures = Figures(source)
        super().__init__(source)

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot only."""
        return bool(re.fullmatch(r"[A-Z0-9]+/[A-Z0-9]+", symbol))

    @classmethod
    def native(cls, symbol: str) -> str:
        """``BTC-USD``."""
        return product(symbol)

    def paths(self) -> Mapping[str, Handler]:
        """Those that need no key."""
        return rest.paths(self._figures, self.symbols, lambda: self.now)

    def answer(self, request: Request, now: Nanos) -> Answer:
        """The answer; with a page of trades the cursors to its neighbours, both in headers."""
        answer = super().answer(request, now)
        rows = _ROW.findall(answer.body) if request.path.endswith("/trades") else []
        if not rows:
            return answer
        return evolve(answer, headers={"CB-BEFORE": rows[0].decode(), "CB-AFTER": rows[-1].decode()})

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """A message."""
        message = "Public rate limit exceeded" if status == 429 else responses.get(status, "Unknown error")
        return evolve(super().refusal(status, retry_after, now), body=text({"message": message}))

    def session(self, target: str) -> streams.CoinbaseSession | None:
        """A connection to ``/``."""
        return streams.CoinbaseSession(self._figures) if target.partition("?")[0] in ("", "/") else None

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The product and id of a match; a ``last_match`` may have been told before."""
        found = _MATCH.match(frame)
        return (found[2].decode(), int(found[1])) if found else None
