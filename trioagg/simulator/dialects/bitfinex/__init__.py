"""Bitfinex, as version 2 of its public market data speaks.

``rows`` makes the arrays of JSON numbers that everything is, ``stream`` numbers the channels and the frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trioagg.model import Nanos
from trioagg.simulator import Answer, Source
from trioagg.simulator.dialects._kit import MILLI, DeskDialect, Handler, Query, Refusal, whole
from trioagg.simulator.dialects.bitfinex.rows import CODES, FRAMES, LENGTHS, Teller, native, rows
from trioagg.simulator.dialects.bitfinex.stream import BitfinexSession

_TRADE = re.compile(rb'\[(\d+),"te",\[(\d+),')


class Dialect(DeskDialect):
    """Bitfinex's REST and WebSocket, without keys."""

    name = "bitfinex"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._tellers = {native(symbol): Teller(source, symbol, place) for place, symbol in enumerate(source.pairs)}

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot, and perpetuals in USDT."""
        return bool(re.fullmatch(r"[A-Z0-9]+/([A-Z0-9]+|USDT:USDT)", symbol))

    @classmethod
    def native(cls, symbol: str) -> str:
        """``tBTCUST``, ``tDOGE:USD``, ``tBTCF0:USTF0``."""
        return native(symbol)

    def paths(self) -> Mapping[str, Handler]:
        """Below ``/v2/``."""
        return {
            "/v2/platform/status": lambda query: [1],
            "/v2/conf/(.+)": lambda query, keys: [self._conf(key) for key in keys.split(",")],
            "/v2/tickers": self._tickers,
            "/v2/ticker/([^/]+)": lambda query, name: self._ticker(self._teller(name)),
            "/v2/trades/([^/]+)/hist": self._trades,
            "/v2/candles/trade:([^:]+):([^/]+)/(hist|last)": self._candles,
            "/v2/book/([^/]+)/P0": self._book,
            "/v2/status/deriv": self._statuses,
        }

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """Too many requests shut an address out for a minute, which no header says; else it is maintenance."""
        if status == 429:
            return Answer(b'{"error":"ERR_RATE_LIMIT"}', status)
        return Answer(b'["error",20060,"maintenance"]', status)

    def session(self, target: str) -> BitfinexSession | None:
        """A connection to ``/ws/2``."""
        return BitfinexSession(self._tellers) if target.partition("?")[0] == "/ws/2" else None

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The channel and id of a ``te`` frame, which does not name its symbol."""
        found = _TRADE.match(frame)
        return (found[1].decode(), int(found[2])) if found else None

    def _teller(self, name: str) -> Teller:
        if name not in self._tellers:
            raise Refusal(["error", 10020, "symbol: invalid"], 500)
        return self._tellers[name]

    def _conf(self, key: str) -> list[Any]:
        pairs = {name.removeprefix("t"): ":" in teller.symbol for name, teller in self._tellers.items()}
        info = [None, None, None, "0.00004", "2000.0", None, None, None, None, None, None, None]
        match key.split(":"):
            case ["pub", "list", "pair", kind]:
                return [pair for pair, future in pairs.items() if future == (kind == "futures")]
            case ["pub", "info", "pair", *kind]:
                return [[pair, info] for pair, future in pairs.items() if future == bool(kind)]
            case ["pub", "map", "currency", "sym"]:
                return [[code, asset] for asset, code in CODES.items()]
        return []

    def _ticker(self, teller: Teller) -> list[Any]:
        return teller.ticker(self.source.quote(teller.symbol, self.now))

    def _tickers(self, query: Query) -> list[Any]:
        names = list(self._tellers) if query.get("symbols") == "ALL" else query.get("symbols", "").split(",")
        return [[name, *self._ticker(self._tellers[name])] for name in names if name in self._tellers]

    def _window(self, query: Query) -> tuple[Nanos, Nanos, int, bool]:
        """From when to when, how many, and whether the oldest first."""
        start, end = int(query.get("start", "0")) * MILLI, int(query.get("end", self.now // MILLI)) * MILLI + MILLI
        oldest = query.get("sort") == "1"
        if not 0 < (limit := int(query.get("limit", "100"))) <= 10_000:
            raise Refusal(["error", 10020, "limit: invalid"], 500)
        return start, min(end, self.now), limit, oldest

    def _trades(self, query: Query, name: str) -> list[Any]:
        teller = self._teller(name)
        start, end, limit, oldest = self._window({"limit": "125", **query})
        first, after = (self.source.before(teller.symbol, at) for at in (start, end))
        span = (first, min(after, first + limit)) if oldest else (max(first, after - limit), after)
        found = [teller.trade(trade) for trade in self.source.prints(teller.symbol, *span)]
        return found if oldest else found[::-1]

    def _candles(self, query: Query, frame: str, name: str, section: str) -> list[Any]:
        if frame not in FRAMES:
            raise Refusal(["error", 10020, "time_interval: invalid"], 500)
        length, teller = FRAMES[frame], self._teller(name)
        start, end, limit, oldest = self._window(query)
        span = (start, min(end, start + limit * length)) if oldest else (max(start, end - limit * length), end)
        found = teller.candles(length, *span, now=self.now)
        if section == "last":
            return found[-1]
        return found if oldest else found[::-1]

    def _book(self, query: Query, name: str) -> list[Any]:
        if (length := int(query.get("len", "25"))) not in LENGTHS:
            raise Refusal(["error", 10020, "len: invalid"], 500)
        return rows(*whole(self.source, self._teller(name).symbol, self.now, length))

    def _statuses(self, query: Query) -> list[Any]:
        wanted = query.get("keys", "ALL").split(",")
        tellers = [teller for name, teller in self._tellers.items() if ":" in teller.symbol]
        ours = [teller for teller in tellers if teller.native in wanted or wanted == ["ALL"]]
        return [[teller.native, *teller.status(self.now)] for teller in ours]
