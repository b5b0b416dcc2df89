"""Recorded Binance messages: which stream they belong to, and what trades and best prices they tell."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from trioagg.simulator import SCALE, Print, Quote, Recorded, pairs

_MILLI = 10**6
_LATEST = 2**63 // _MILLI  # milliseconds
_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY", "USD", "DAI")
_KINDS = {"24hrTicker": "ticker", "24hrMiniTicker": "miniTicker", "depthUpdate": "depth@100ms"}


class Envelope(msgspec.Struct):
    """A combined frame."""

    stream: str
    data: msgspec.Raw


class Candle(msgspec.Struct):
    """The part of a candle that names its stream."""

    i: str


class Message(msgspec.Struct):
    """The fields of any frame's payload that are needed here."""

    e: str = ""
    s: str = ""
    k: Candle | None = None
    id: object = msgspec.UNSET
    t: int = 0
    T: int = 0
    p: str = ""
    q: str = ""
    m: bool = False


class Best(msgspec.Struct):
    """``bookTicker``."""

    u: int
    s: str
    b: str
    B: str
    a: str
    A: str


class Row(msgspec.Struct):
    """A trade in a REST answer."""

    id: int
    price: str
    qty: str
    time: int
    isBuyerMaker: bool


_ENVELOPE, _MESSAGE = msgspec.json.Decoder(Envelope), msgspec.json.Decoder(Message)
_BEST, _ROWS = msgspec.json.Decoder(Best), msgspec.json.Decoder(list[Row])


def read(url: str, payload: bytes) -> Recorded | None:
    """A recorded frame or REST body; a frame that means nothing goes to everybody as it came."""
    try:
        if url.startswith("http"):
            return Recorded(None, payload, prints=_rows(url, payload))
        return _frame(url, payload)
    except (msgspec.DecodeError, InvalidOperation, ValueError, OverflowError):
        return None if url.startswith("http") else Recorded("", payload)


def _rows(url: str, payload: bytes) -> list[tuple[str, Print]]:
    split = urlsplit(url)
    if not re.search(r"/(historicalT|t)rades$", split.path):
        return []
    symbol = unified(parse_qs(split.query)["symbol"][0])
    return [
        (symbol, (row.id, row.time * _MILLI, _scaled(row.price), _scaled(row.qty), not row.isBuyerMaker))
        for row in _ROWS.decode(payload)
    ]


def _frame(url: str, payload: bytes) -> Recorded | None:
    path = urlsplit(url).path
    if not path.endswith("/stream"):
        return _payload(unquote(path).rpartition("/")[2], payload)
    if not payload.startswith(b'{"stream"'):
        message = _MESSAGE.decode(payload)
        return None if message.id is not msgspec.UNSET else Recorded("", payload)
    envelope = _ENVELOPE.decode(payload)
    found = _payload(envelope.stream, bytes(envelope.data))
    known = found is not None and re.fullmatch(_KNOWN, found.stream or "")
    return found if known else Recorded("", payload)


_KNOWN = r"[^@]+@(trade|aggTrade|bookTicker|(mini)?[tT]icker|kline_\w+|depth\d*(@\d+ms)?)"


def _payload(stream: str, data: bytes) -> Recorded | None:
    """A bare payload; the path it came by names its stream, if it held only one."""
    if data.startswith(b'{"u":') and b'"e"' not in data:
        best = _BEST.decode(data)
        return Recorded(f"{best.s.lower()}@bookTicker", data, quote=(unified(best.s), _quote(best)))
    message = _MESSAGE.decode(data)
    if message.id is not msgspec.UNSET and not message.e:
        return None
    stream = stream if "@" in stream else _named(message)
    return Recorded(stream, data, prints=[_print(message)] if message.e == "trade" else ())


def _named(message: Message) -> str:
    kind = f"kline_{message.k.i}" if message.k else _KINDS.get(message.e, message.e)
    return f"{message.s.lower()}@{kind}" if message.s else ""


def _print(message: Message) -> tuple[str, Print]:
    figures = _scaled(message.p), _scaled(message.q)
    if not message.t > 0 or not 0 < message.T < _LATEST or not message.s:
        raise ValueError("no trade")
    return unified(message.s), (message.t, message.T * _MILLI, *figures, not message.m)


def _quote(best: Best) -> Quote:
    return best.u, 0, _scaled(best.b), _scaled(best.B), _scaled(best.a), _scaled(best.A)


def _scaled(figure: str) -> int:
    whole, _, part = figure.partition(".")
    plain = part.isdigit() and whole.isdigit() and len(part) <= 8
    value = int(whole + part.ljust(8, "0")) if plain else int(Decimal(figure) * SCALE)
    if not 0 <= value < 2**63:
        raise ValueError("no figure")
    return value


@lru_cache(maxsize=10_000)
def unified(native: str) -> str:
    """``BTC/USDT`` for ``BTCUSDT``: by the markets that are known, else by the quote currencies."""
    for symbol in pairs.listed():
        if symbol.replace("/", "") == native:
            return symbol
    quote = next((quote for quote in _QUOTES if native.endswith(quote) and native != quote), native[-3:])
    return f"{native.removesuffix(quote)}/{quote}"
