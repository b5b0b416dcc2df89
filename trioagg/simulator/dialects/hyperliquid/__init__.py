"""Hyperliquid, as its public market data speaks: perpetual contracts and spot.

Prices have the built-in market's own steps, which may be finer than the five significant figures of the exchange. Books
come every half second, as the documentation says; they were measured to come more rarely.
"""

from __future__ import annotations

import re

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import Answer, Request, Source
from trioagg.simulator import Dialect as Base
from trioagg.simulator.dialects._kit import Refusal, text
from trioagg.simulator.dialects.hyperliquid.info import CALLS, Desk
from trioagg.simulator.dialects.hyperliquid.stream import HyperliquidSession

PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
_TRADE = re.compile(rb'"channel":"trades".*?"coin":"([^"]+)".*?"tid":(\d+)')


class Dialect(Base):
    """Everything is posted to ``/info`` or streamed from ``/ws``."""

    name = "hyperliquid"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._desk = Desk(source)

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Linear contracts in USDC, spot in USDC and in bridged USDT."""
        return bool(re.fullmatch(r"[A-Z0-9]+/(USDC|USDT|USDC:USDC)", symbol))

    def answer(self, request: Request, now: Nanos) -> Answer:
        """What was asked for, without an envelope; errors are plain text."""
        if problem := _problem(request):
            return problem
        try:
            return Answer(text(self._desk.told(CALLS.decode(request.body), self.source.now(now))))
        except msgspec.ValidationError:
            return Answer(b"Failed to deserialize the JSON body into the target type", 422, PLAIN)
        except msgspec.DecodeError:
            return Answer(b"Failed to parse the request body as JSON", 400, PLAIN)
        except Refusal as refusal:
            return Answer(text(refusal.body), refusal.status)

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """``null`` with a status."""
        wait = {} if retry_after is None else {"Retry-After": str(-int(-retry_after // 1))}
        return Answer(b"null", status, wait)

    def session(self, target: str) -> HyperliquidSession | None:
        """A connection to ``/ws``."""
        return HyperliquidSession(self._desk) if target.partition("?")[0] == "/ws" else None

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The coin and the ``tid`` of a trade frame."""
        found = _TRADE.search(frame)
        return (found[1].decode(), int(found[2])) if found else None


def _problem(request: Request) -> Answer | None:
    if request.path != "/info":
        return Answer(b"", 404)
    if request.method != "POST":
        return Answer(b"", 405)
    if "json" not in request.headers.get("content-type", "json"):
        return Answer(b"Expected request with `Content-Type: application/json`", 415, PLAIN)
    return None
