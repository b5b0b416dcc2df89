"""Bitstamp, as its public market data speaks: HTTP API version 2, WebSocket API version 2."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Answer, Hangup, Levels, Print, Source, Span
from trioagg.simulator.dialects._kit import (
    DAY,
    HOUR,
    MILLI,
    MINUTE,
    SECOND,
    Change,
    DeskDialect,
    Handler,
    Maker,
    Query,
    Refusal,
    TopicSession,
    books,
    daily,
    funding,
    interest,
    last_tick,
    next_funding,
    number,
    plain,
    short,
    text,
    ticks,
    timed,
    trades,
    whole,
)

STEPS = (60, 180, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 259200)  # seconds of a candle
WINDOWS = {"minute": MINUTE, "hour": HOUR, "day": DAY}
EVERY = 100 * MILLI  # between two looks at a book
DEPTH = 100  # levels of a book in the stream
CHANNELS = 1024  # on a connection; the next one closes it
LONGEST = 512  # bytes of a message
IDS = 200  # between the ids of two trades of a market, since all markets share them
HUGE = 1 << 60  # added to the ids of perpetuals' trades
WHOLE = 10_000  # levels of a book that is not cut
_CHANNEL = re.compile(r"(live_trades|(?:diff_|detail_)?order_book|funding_rate)_([a-z0-9-]+)")
_TRADE = re.compile(rb'\{"data":\{"id":(\d+).*"channel":"live_trades_([^"]+)"')


def native(symbol: str) -> str:
    """``btcusd``, ``btcusd-perp``."""
    return named(symbol).lower().replace("/", "")


def named(symbol: str) -> str:
    """``BTC/USD``, ``BTC/USD-PERP``."""
    pair, _, settled = symbol.partition(":")
    return pair + ("-PERP" if settled else "")


class Dialect(DeskDialect):
    """Bitstamp's REST and WebSocket, without keys."""

    name = "bitstamp"
    ping_every = 54.0

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._markets = {native(symbol): Market(source, symbol, n) for n, symbol in enumerate(source.pairs)}

    @classmethod
    def lists(cls, symbol: str) -> bool:
        """Spot, and linear perpetuals."""
        return bool(re.fullmatch(r"[A-Z0-9]+/([A-Z0-9]+)(:\1)?", symbol))

    @classmethod
    def native(cls, symbol: str) -> str:
        """``btcusd``, ``btcusd-perp``."""
        return native(symbol)

    def paths(self) -> Mapping[str, Handler]:
        """Below ``/api/v2/``; markets may be spelled in capitals."""
        handlers: dict[str, Handler] = {
            "markets": lambda query: [market.listing() for market in self._markets.values()],
            "ticker": lambda query: [market.ticker(self.now) for market in self._markets.values()],
            "ticker/([^/]+)": self._ticker,
            "order_book/([^/]+)": self._book,
            "transactions/([^/]+)": self._transactions,
            "ohlc/([^/]+)": self._candles,
            "funding_rate/([^/]+)": self._funding,
        }
        return {f"/api/v2/{path}/": handler for path, handler in handlers.items()}

    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """A limit has a code in its body, and no header says how long to wait; else the wall before it all answers."""
        if status in (400, 429):
            return Answer(b'{"response_code":"400.002"}', status)
        return Answer(b"<html><body>Access denied</body></html>", status, {"Content-Type": "text/html"})

    def session(self, target: str) -> BitstampSession | None:
        """A connection to ``/``."""
        return BitstampSession(self._markets) if target.partition("?")[0] in ("", "/") else None

    @staticmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The market and id of a trade frame."""
        found = _TRADE.match(frame)
        return (found[2].decode(), int(found[1])) if found else None

    def _market(self, name: str, missing: bytes = b"<html><body>404</body></html>") -> Market:
        if name.lower() not in self._markets:
            raise Refusal(Raw(missing), 404)
        return self._markets[name.lower()]

    def _ticker(self, query: Query, name: str) -> object:
        """Of an unknown market: all of them."""
        found = self._markets.get(name.lower())
        return found.ticker(self.now) if found else [market.ticker(self.now) for market in self._markets.values()]

    def _book(self, query: Query, name: str) -> dict[str, Any]:
        """Its time is the one of the last change."""
        market = self._market(name)
        changed = self.source.quote(market.symbol, self.now)[1]
        return book(whole(self.source, market.symbol, self.now, WHOLE), changed, single=query.get("group") == "2")

    def _transactions(self, query: Query, name: str) -> list[dict[str, str]]:
        """Newest first."""
        market = self._market(name)
        if (window := query.get("time", "hour")) not in WINDOWS:
            raise Refusal({"status": "error", "reason": f"{window} is not a valid choice.", "code": "400.001"}, 400)
        span = (self.source.before(market.symbol, at) for at in (self.now - WINDOWS[window], self.now))
        return [market.transaction(trade) for trade in self.source.prints(market.symbol, *span)][::-1]

    def _candles(self, query: Query, name: str) -> dict[str, Any]:
        """Oldest first, the running one last."""
        market, step, limit = self._market(name), query.get("step", ""), query.get("limit", "")
        if step not in map(str, STEPS) or not limit.isdecimal() or not 1 <= int(limit) <= 1000:
            raise Refusal({"status": "error", "reason": "step and limit must be valid.", "code": "400.001"}, 400)
        length, many = int(step) * SECOND, int(limit)
        if "start" in query and "end" not in query:
            opens = ticks(int(query["start"]) * SECOND, self.now, length)[:many]
        else:
            end = int(query["end"]) * SECOND + 1 if "end" in query else self.now
            opens = ticks(max(0, end - many * length), min(end, self.now), length)
        spans = [self.source.span(market.symbol, at, min(at + length, self.now)) for at in opens]
        return {"data": {"pair": named(market.symbol), "ohlc": [candle(span) for span in spans]}}

    def _funding(self, query: Query, name: str) -> dict[str, str]:
        """Of a market that is no perpetual: nothing at all."""
        market = self._market(name if name.lower().endswith("-perp") else "", b"")
        figures = market.funding(self.now)
        return {key: figures[key] for key in ("funding_rate", "timestamp", "next_funding_time")} | {
            "market": named(market.symbol)
        }


class Market:
    """What both REST and the stream tell of one market.

    Args:
        place: among the markets.
    """

    def __init__(self, source: Source, symbol: str, place: int) -> None:
        self.source, self.symbol, self.native, self._place = source, symbol, native(symbol), place
        self.perpetual = ":" in symbol

    def listing(self) -> dict[str, Any]:
        """One of ``markets``."""
        pair = self.source.pairs[self.symbol]
        decimals = [len(str(SCALE // size)) - 1 for size in (pair.step, pair.tick)]
        more = {
            "payoff_type": "Linear", "contract_size": "1.00000000", "max_leverage": "10.00", "asset_class": "CRYPTO",
            "has_market_hours": False,
        }  # fmt: skip
        return {
            "name": named(self.symbol), "market_symbol": self.native, "base_currency": pair.base,
            "base_decimals": decimals[0], "counter_currency": pair.quote, "counter_decimals": decimals[1],
            "instant_order_counter_decimals": 2, "minimum_order_value": "10", "trading": "Enabled",
            "instant_and_market_orders": "Enabled", "description": f"{pair.base} / {pair.quote}",
            "market_type": "PERPETUAL" if self.perpetual else "SPOT", **(more if self.perpetual else {}),
        }  # fmt: skip

    def ticker(self, now: Nanos) -> dict[str, str]:
        """The day's figures and the best prices, without sizes."""
        day, (_, _, bid, _, ask, _) = daily(self.source, self.symbol, now), self.source.quote(self.symbol, now)
        figures = {
            "open": day.open, "high": day.high, "low": day.low, "last": day.close, "vwap": day.close, "bid": bid,
            "ask": ask, "open_24": day.open,
        }  # fmt: skip
        change = (day.close - day.open) * 100 * SCALE // day.open // 10**6 * 10**6
        kind, name = "PERPETUAL" if self.perpetual else "SPOT", named(self.symbol)
        return {
            "timestamp": str(now // SECOND), **{key: short(figure) for key, figure in figures.items()},
            "volume": plain(day.volume), "side": "0", "percent_change_24": short(change), "market_type": kind,
            "pair": name, "market": name, **(self._held(now, bid) if self.perpetual else {}),
        }  # fmt: skip

    def _held(self, now: Nanos, price: int) -> dict[str, str]:
        held = interest(self.source, self.symbol, now)
        prices = {"index_price": short(price), "mark_price": short(price)}
        return {**prices, "open_interest": plain(held), "open_interest_value": plain(held * price // SCALE)}

    def funding(self, at: Nanos) -> dict[str, str]:
        """Mark, index and funding of a perpetual."""
        price = short(self.source.quote(self.symbol, at)[2])
        times = {"timestamp": str(at // SECOND), "next_funding_time": str(next_funding(at) // SECOND)}
        rate = short(funding(self.symbol, at))
        return {"market": self.native, "mark_price": price, "index_price": price, "funding_rate": rate, **times}

    def transaction(self, trade: Print) -> dict[str, str]:
        """A trade of REST, in whole seconds."""
        _, at, price, amount, buy = trade
        figures = {"price": short(price), "amount": plain(amount), "type": "0" if buy else "1"}
        return {"date": str(at // SECOND), "tid": str(self._ident(trade)), **figures}

    def trade(self, trade: Print) -> bytes:
        """A trade of the stream; the time of a perpetual's is in milliseconds."""
        _, at, price, amount, buy = trade
        ident = self._ident(trade)
        data = {
            "id": ident, "id_str": str(ident), "timestamp": str(at // (MILLI if self.perpetual else SECOND)),
            "amount": number(short(amount)), "amount_str": plain(amount), "price": number(short(price)),
            "price_str": short(price), "type": 0 if buy else 1, "microtimestamp": str(at // 1000),
            "buy_order_id": 2 * ident, "sell_order_id": 2 * ident + 1,
        }  # fmt: skip
        return _event("trade", f"live_trades_{self.native}", data)

    def _ident(self, trade: Print) -> int:
        return trade[0] * IDS + self._place + (HUGE if self.perpetual else 0)


def candle(span: Span) -> dict[str, str]:
    """One of ``ohlc``."""
    prices = {"open": span.open, "high": span.high, "low": span.low, "close": span.close}
    told = {key: short(price) for key, price in prices.items()}
    return {"timestamp": str(span.start // SECOND), **told, "volume": plain(span.volume)}


def book(sides: tuple[Levels, Levels], at: Nanos, *, single: bool = False) -> dict[str, Any]:
    """Levels of a book, or ``single`` orders with their ids: one at each price."""
    bids, asks = (
        [[short(price), plain(amount), *([str(price)] if single else [])] for price, amount in side] for side in sides
    )
    return {"timestamp": str(at // SECOND), "microtimestamp": str(at // 1000), "bids": bids, "asks": asks}


class Named(msgspec.Struct):
    """What a request is about."""

    channel: str = ""


class Call(msgspec.Struct):
    """A message of the client."""

    event: str
    data: Named = msgspec.field(default_factory=Named)


class BitstampSession(TopicSession):
    """One connection; what is not there is acknowledged as long as it is in small letters, and silent."""

    def __init__(self, markets: Mapping[str, Market]) -> None:
        super().__init__()
        self._markets = markets

    def replies(self, text: str, now: Nanos) -> Sequence[bytes]:
        """An acknowledgement or a refusal."""
        if len(text) >= LONGEST:
            raise Hangup(1009, "message too big")
        try:
            call = msgspec.json.decode(text, type=Call)
        except msgspec.DecodeError:
            return [_event("bts:error", "", {"code": None, "message": "Incorrect JSON format."})]
        channel = call.data.channel
        match call.event:
            case "bts:heartbeat":
                return [_event("bts:heartbeat", "", {"status": "success"})]
            case "bts:subscribe" if found := _CHANNEL.fullmatch(channel):
                if len(self._topics) == CHANNELS:
                    raise Hangup(1000, "")
                self.begin(channel, self._maker(found[1], channel, self._markets.get(found[2]), now))
                return [_event("bts:subscription_succeeded", channel, {})]
            case "bts:unsubscribe" if channel in self._topics:
                self.end(channel)
                return [_event("bts:unsubscription_succeeded", channel, {})]
        return [_event("bts:error", "", {"code": None, "message": "Bad subscription string."})]

    def unknown(self, now: Nanos) -> bytes:
        """An event that the documentation does not have."""
        return _event("bts:fog", "", {})

    def farewell(self, now: Nanos) -> bytes:
        """The request to connect anew."""
        return _event("bts:request_reconnect", "", "")

    def _maker(self, kind: str, channel: str, market: Market | None, now: Nanos) -> Maker:
        if market is None or (kind == "funding_rate" and not market.perpetual):
            return lambda start, end: iter(())
        if kind == "live_trades":
            return trades(market.source, market.symbol, market.trade)
        if kind == "funding_rate":
            return timed(SECOND, lambda at: _event("funding_rate_saved", channel, market.funding(at)))
        since, depth = last_tick(now, EVERY), WHOLE if kind == "diff_order_book" else DEPTH
        single = kind == "detail_order_book"

        def write(change: Change) -> bytes:
            sides = (change.bids, change.asks) if depth == WHOLE else change.book
            return _event("data", channel, book(sides, change.at, single=single))

        return books(market.source, market.symbol, EVERY, write, depth=depth, since=since)


def _event(event: str, channel: str, data: object) -> bytes:
    """In the order of their keys in which Bitstamp writes them: data first, where there are any."""
    if event.startswith("bts:"):
        return text({"event": event, "channel": channel, "data": data})
    return text({"data": data, "channel": channel, "event": event})
