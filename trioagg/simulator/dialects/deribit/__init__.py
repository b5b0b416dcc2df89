"""Deribit, as its public market data of perpetual contracts and spot speaks: JSON-RPC over HTTP and WebSocket.

``methods`` answers calls, whichever way they come, ``streams`` makes notifications, ``rows`` writes what both tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from attrs import evolve

from trioagg.model import Nanos
from trioagg.simulator import Answer, Request, Source
from trioagg.simulator.dialects._kit import DeskDialect, Handler, Query, Refusal, text
from trioagg.simulator.dialects.deribit import rows
from trioagg.simulator.dialects.deribit.methods import Call, Complaint, Methods, enveloped
from trioagg.simulator.dialects.deribit.streams import DeribitSession

_TRADE = re.compile(rb'"channel":"trades\.[^"]+","data":\[\{"trade_seq":(\d+).*?"instrument_name":"([^"]+)"')
_ERRORS = {429: Complaint(10028, "too_many_requests"), 503: Complaint(13028, "temporarily_unavailable")}


class Dialect(DeskDialect):
    """Deribit's JSON-RPC, without keys."""

    name = "deribit"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._methods = Methods(source, self.symbols)
        self._ident: int | str | None = None

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot in stablecoins or bitcoin, linear contracts in stablecoins, inverse ones."""
        return rows.lists(symbol)

    @classmethod
    def native(cls, symbol: str) -> str:
        """``BTC_USDC``, ``BTC_USDC-PERPETUAL``, ``BTC-PERPETUAL``."""
        return rows.native(symbol)

    def paths(self) -> Mapping[str, Handler]:
        """Every method is a path."""
        return {r"/api/v2/(public/\w+)": self._called}

    def answer(self, request: Request, now: Nanos) -> Answer:
        """The answer to a GET of a method's path, or to a call that is posted."""
        self._ident = None
        if request.method == "POST":
            try:
                call = msgspec.json.decode(request.body, type=Call)
            except msgspec.DecodeError:
                return Answer(text(enveloped(None, Complaint(-32700, "Parse error"), now)), 400)
            self._ident = call.id
            request = evolve(request, path=f"/api/v2/{call.method}", query=call.words())
        return super().answer(request, now)

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """Deribit's code for a status."""
        complaint = _ERRORS.get(status, Complaint(11051, "system_maintenance"))
        wait = super().refusal(status, retry_after, now).headers
        return Answer(text(enveloped(None, complaint, now)), status, wait)

    def session(self, target: str) -> DeribitSession | None:
        """A connection to ``/ws/api/v2``."""
        return DeribitSession(self._methods) if target.partition("?")[0].rstrip("/") == "/ws/api/v2" else None

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The instrument and number of the first trade in a frame of trades."""
        found = _TRADE.search(frame)
        return (found[2].decode(), int(found[1])) if found else None

    def _called(self, query: Query, method: str) -> object:
        try:
            return enveloped(self._ident, self._methods.call(method, query, self.now), self.now)
        except Complaint as complaint:
            raise Refusal(enveloped(self._ident, complaint, self.now), 400) from None
