"""Deribit's public methods: the same over HTTP and WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trioagg.model import Nanos
from trioagg.simulator import Pair, Print, Source
from trioagg.simulator.dialects._kit import DAY, HOUR, MILLI, MINUTE, Query, funding, ticks, whole
from trioagg.simulator.dialects.deribit import rows

LENGTHS = {str(minutes): minutes * MINUTE for minutes in (1, 3, 5, 10, 15, 30, 60, 120, 180, 360, 720)} | {"1D": DAY}
DEPTHS = (1, 5, 10, 20, 50, 100, 1000, 10000)
CANDLES = 5000
"""Rows of one answer."""
COINS = {"BTC": "Bitcoin", "ETH": "Ethereum", "USDC": "USD Coin", "USDT": "Tether USD", "SOL": "Solana", "XRP": "XRP"}
SOCKETS_ONLY = ("subscribe", "unsubscribe", "unsubscribe_all", "set_heartbeat", "disable_heartbeat", "hello")


class Complaint(Exception):
    """Deribit says no: a code of its own, a message, and maybe what it is about."""

    def __init__(self, code: int, message: str, **data: str) -> None:
        super().__init__(message)
        self.error: dict[str, Any] = {"code": code, "message": message, **({"data": data} if data else {})}


class Call(msgspec.Struct):
    """A JSON-RPC request."""

    method: str
    params: dict[str, Any] = {}
    id: int | str | None = None

    def words(self) -> dict[str, str]:
        """Its parameters as a query has them."""
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in self.params.items()
        }


def enveloped(ident: int | str | None, told: object, now: Nanos) -> dict[str, Any]:
    """A result or a complaint as it is sent, with the server's times in microseconds."""
    said = {"error": told.error} if isinstance(told, Complaint) else {"result": told}
    named = {} if ident is None else {"id": ident}
    times = {"usIn": now // 1000, "usOut": now // 1000 + 100, "usDiff": 100, "testnet": False}
    return {"jsonrpc": "2.0", **named, **said, **times}


def _invalid(name: str, reason: str) -> Complaint:
    return Complaint(-32602, "Invalid params", reason=reason, param=name)


class Methods:
    """Answers calls out of a source.

    Args:
        symbols: Deribit's spelling → the symbol.

    Attributes:
        now: the exchange's time of the call that is being answered.
    """

    def __init__(self, source: Source, symbols: Mapping[str, str]) -> None:
        self.source, self.symbols = source, symbols
        self.now: Nanos = 0
        self._table: dict[str, Callable[[Query], object]] = {
            "get_time": lambda query: self.now // MILLI,
            "status": lambda query: {"locked": "false"},
            "test": lambda query: {"version": "1.2.26"},
            "get_currencies": self._currencies,
            "get_instruments": lambda query: [rows.instrument(pair) for pair in self._several(query)],
            "get_instrument": lambda query: rows.instrument(self.pair(query)),
            "get_contract_size": lambda query: {"contract_size": rows.real(rows.contract(self.pair(query)))},
            "ticker": lambda query: rows.ticker(source, self.pair(query), self.now),
            "get_book_summary_by_currency": self._summaries,
            "get_book_summary_by_instrument": lambda query: [rows.summary(source, self.pair(query), self.now)],
            "get_order_book": self._book,
            "get_index_price": self._index,
            "get_funding_rate_history": self._rates,
            "get_funding_rate_value": lambda query: rows.real(funding(self.pair(query).symbol, self._times(query)[1])),
            "get_tradingview_chart_data": self._chart,
            "get_last_trades_by_instrument": self._trades,
            "get_last_trades_by_instrument_and_time": self._trades,
            "get_last_trades_by_currency": self._mixed,
            "get_last_trades_by_currency_and_time": self._mixed,
        }

    def call(self, method: str, query: Query, now: Nanos) -> object:
        """The result of a method.

        Raises:
            Complaint: there is none.
        """
        self.now = now
        name = method.removeprefix("public/")
        if name in SOCKETS_ONLY:
            raise Complaint(10030, "must_be_websocket_request")
        if name not in self._table or name == method:
            raise Complaint(-32601, "Method not found")
        return self._table[name](query)

    def pair(self, query: Query) -> Pair:
        """The market of ``instrument_name``.

        Raises:
            Complaint: there is none.
        """
        name = query.get("instrument_name", "")
        if name not in self.symbols:
            raise _invalid("instrument_name", "instrument not found" if name else "required")
        return self.source.pairs[self.symbols[name]]

    def pairs(self, kind: str, currency: str) -> list[Pair]:
        """Those of a kind and a currency; ``any`` stands for all."""
        pairs = [self.source.pairs[symbol] for symbol in self.symbols.values()]
        ours = [pair for pair in pairs if kind in ("any", rows.kind(pair.symbol))]
        return [pair for pair in ours if currency == "any" or currency in rows.currencies(pair.symbol)]

    def _several(self, query: Query) -> list[Pair]:
        if query.get("expired") == "true":
            return []
        return self.pairs(query.get("kind", "any"), query.get("currency", "any"))

    def _currencies(self, query: Query) -> list[dict[str, Any]]:
        fees = {"withdrawal_fee": 0.0001, "min_withdrawal_fee": 0.0001, "min_confirmations": 1, "fee_precision": 4}
        return [
            {"currency": coin, "currency_long": told, "coin_type": coin, "withdrawal_priorities": [], **fees}
            for coin, told in COINS.items()
        ]

    def _summaries(self, query: Query) -> list[dict[str, Any]]:
        if query.get("currency", "any") == "any":
            raise _invalid("currency", "value is not a valid currency")
        return [rows.summary(self.source, pair, self.now) for pair in self._several(query)]

    def _book(self, query: Query) -> dict[str, Any]:
        pair, depth = self.pair(query), _whole(query, "depth", 5)
        if depth not in DEPTHS:
            raise _invalid("depth", f"must be one of {list(DEPTHS)}")
        bids, asks = (rows.levels(pair, side) for side in whole(self.source, pair.symbol, self.now, depth))
        number = self.source.update(pair.symbol, self.now)
        return {**rows.ticker(self.source, pair, self.now), "change_id": number, "bids": bids, "asks": asks}

    def _index(self, query: Query) -> dict[str, Any]:
        name = query.get("index_name", "")
        found = next((symbol for symbol in self.symbols.values() if rows.index(symbol) == name), None)
        if found is None:
            raise _invalid("index_name", "unknown index")
        price = rows.real(rows.middle(self.source, found, self.now))
        return {"index_price": price, "estimated_delivery_price": price}

    def _times(self, query: Query) -> tuple[Nanos, Nanos]:
        """``start_timestamp``, and the instant after ``end_timestamp``, which cannot lie in the future."""
        start, end = _whole(query, "start_timestamp", 0), _whole(query, "end_timestamp", self.now // MILLI)
        if "end_timestamp" in query and start > end:
            raise _invalid("end_timestamp", "must not be before start_timestamp")
        return start * MILLI, min((end + 1) * MILLI, self.now)

    def _rates(self, query: Query) -> list[dict[str, Any]]:
        """Hour by hour, 744 of them at the most."""
        pair, (start, end) = self.pair(query), self._times(query)
        return [self._rate(pair.symbol, at) for at in ticks(max(start, end - 744 * HOUR), end, HOUR)]

    def _rate(self, symbol: str, at: Nanos) -> dict[str, Any]:
        price, before = (rows.real(rows.middle(self.source, symbol, moment)) for moment in (at, at - HOUR))
        eight = funding(symbol, at - 1)
        rates = {"interest_8h": rows.real(eight), "interest_1h": rows.real(eight // 8)}
        return {"timestamp": at // MILLI, "index_price": price, "prev_index_price": before, **rates}

    def _chart(self, query: Query) -> dict[str, Any]:
        pair, (start, end) = self.pair(query), self._times(query)
        if (length := LENGTHS.get(query.get("resolution", ""))) is None:
            raise _invalid("resolution", "unknown resolution")
        opens = ticks(max(start // length * length, end - CANDLES * length), end, length)
        told = [rows.candle(self.source.span(pair.symbol, at, min(at + length, self.now))) for at in opens]
        names = {"ticks": "tick", **{name: name for name in ("open", "high", "low", "close", "volume", "cost")}}
        columns = {column: [row[name] for row in told] for column, name in names.items()}
        return {"status": "ok" if told else "no_data", **columns}

    def _trades(self, query: Query) -> dict[str, Any]:
        """By number or time, both ends in it; ``asc`` from the oldest, else from the newest."""
        pair, count = self.pair(query), _count(query)
        first, end = self._range(pair.symbol, query)
        rising = query.get("sorting") == "asc"
        some = range(first, min(end, first + count)) if rising else range(max(first, end - count), end)
        told = list(self.source.prints(pair.symbol, some.start, max(some.start, some.stop)))
        listed = [rows.trade(self.source, pair, trade) for trade in (told if rising else told[::-1])]
        return {"trades": listed, "has_more": end - first > count}

    def _range(self, symbol: str, query: Query) -> tuple[int, int]:
        """The number of the first trade that is asked for, and the one after the last."""
        start, end = self._times(query)
        first, after = self.source.before(symbol, start), self.source.before(symbol, end)
        return max(first, _whole(query, "start_seq", 0)), min(after, _whole(query, "end_seq", after) + 1)

    def _mixed(self, query: Query) -> dict[str, Any]:
        """The newest, or from the oldest on, of all instruments of a currency."""
        count, rising, found = _count(query), query.get("sorting") == "asc", list[tuple[Print, Pair]]()
        more = False
        for pair in self.pairs(query.get("kind", "any"), query.get("currency", "any")):
            first, end = self._range(pair.symbol, query)
            some = range(first, min(end, first + count)) if rising else range(max(first, end - count), end)
            more = more or end - first > count
            prints = self.source.prints(pair.symbol, some.start, max(some.start, some.stop))
            found += [(trade, pair) for trade in prints]
        found.sort(key=lambda item: item[0][1], reverse=not rising)
        listed = [rows.trade(self.source, pair, trade) for trade, pair in found[:count]]
        return {"trades": listed, "has_more": more or len(found) > count}


def _whole(query: Query, name: str, usual: int) -> int:
    """A whole number of the query."""
    told = query.get(name, str(usual))
    if not (told.isascii() and told.isdecimal() and len(told) < 20):
        raise _invalid(name, "must be an integer")
    return int(told)


def _count(query: Query) -> int:
    count = _whole(query, "count", 10)
    if not 1 <= count <= 1000:
        raise _invalid("count", "must be between 1 and 1000")
    return count
