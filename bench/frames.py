"""Binance's frames, prepared as bytes, and the answers of its REST that a client wants before them.

Ids count up by one per symbol. Frames are prepared with a mark in the place of the digits that advance, so a block of
100 ids per symbol costs one ``bytes.replace``. A live feed's frames tell the microsecond in which they were sent, where
trades have the time of the match.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

IDS = 100  # per symbol and block: two digits
MARK = "#######"  # seven digits that advance from block to block
STAMP = "@" * 16  # microseconds
HEAD = 4  # bytes of a frame before its payload, as long as those are here
FIRST_ID = 3_000_000_000
LEVELS = 5  # of a side, in a change of a book
MIX = ("trade", "bookTicker", "depth")
"""What symbols are about in turn, where the shape is ``mixed``."""


class Turn(NamedTuple):
    """One message to come: whose, which, and when, as text."""

    native: str
    place: int
    n: int
    when: str

    @property
    def id(self) -> str:
        """Its number."""
        return f"3{MARK}{self.n:02}"

    def price(self, steps: int = 0) -> str:
        """A price, so many steps away from the symbol's."""
        return f"{1000 + 997 * self.place + (self.n + steps) / 100:.8f}"

    def amount(self, step: int = 0) -> str:
        """An amount."""
        return f"0.{(7919 * self.n + self.place + step) % 100000 + 1:06}00"

    @property
    def maker(self) -> str:
        """Whether the buyer was the maker."""
        return "true" if self.n * self.n % 3 else "false"


def _trade(turn: Turn) -> str:
    event = f'"e":"trade","E":1723{MARK}{turn.n:02},"s":"{turn.native}","t":{turn.id}'
    price = f'"p":"{turn.price()}","q":"{turn.amount()}"'
    return f'{{{event},{price},"T":{turn.when},"m":{turn.maker},"M":true}}'


def _aggregate(turn: Turn) -> str:
    event = f'"e":"aggTrade","E":1723{MARK}{turn.n:02},"s":"{turn.native}","a":{turn.id}'
    price = f'"p":"{turn.price()}","q":"{turn.amount()}","f":{turn.id},"l":{turn.id}'
    return f'{{{event},{price},"T":{turn.when},"m":{turn.maker},"M":true}}'


def _quote(turn: Turn) -> str:
    bid = f'"b":"{turn.price(-1)}","B":"{turn.amount()}"'
    ask = f'"a":"{turn.price(1)}","A":"{turn.amount(7)}"'
    return f'{{"u":{turn.id},"s":"{turn.native}",{bid},{ask}}}'


def _depth(turn: Turn) -> str:
    bids = ",".join(f'["{turn.price(-step)}","{turn.amount(step)}"]' for step in range(1, LEVELS + 1))
    asks = ",".join(f'["{turn.price(step)}","{turn.amount(step)}"]' for step in range(IDS, IDS + LEVELS))
    event = f'"e":"depthUpdate","E":1723{MARK}{turn.n:02},"s":"{turn.native}","U":{turn.id},"u":{turn.id}'
    return f'{{{event},"b":[{bids}],"a":[{asks}]}}'


SHAPES: Mapping[str, tuple[str, Callable[[Turn], str]]] = MappingProxyType(
    {
        "trade": ("trade", _trade),
        "aggTrade": ("aggTrade", _aggregate),
        "bookTicker": ("bookTicker", _quote),
        "depth": ("depth@100ms", _depth),
    }
)
"""Kinds of messages: how their streams' names end, and what they say."""


def natives(count: int, first: int = 0) -> dict[str, str]:
    """The markets that are served: Binance's spelling → the unified one."""
    return {f"C{number:02}USDT": f"C{number:02}/USDT" for number in range(first, first + count)}


def kinds(shape: str, symbols: Collection[str]) -> dict[str, str]:
    """What each market's messages are: its native spelling → the kind."""
    mix = MIX if shape == "mixed" else (shape,)
    return {native: mix[place % len(mix)] for place, native in enumerate(symbols)}


def pattern(shape: str, symbols: Collection[str], when: str = "") -> list[bytes]:
    """One block of frames, the symbols in turn, with ``MARK`` where digits advance; ``when`` instead of such a time."""
    told = kinds(shape, symbols)
    turns = (
        Turn(native, place, n, when or f"1723{MARK}{n:02}") for n in range(IDS) for place, native in enumerate(symbols)
    )
    return [_frame(turn, *SHAPES[told[turn.native]]) for turn in turns]


def _frame(turn: Turn, stream: str, says: Callable[[Turn], str]) -> bytes:
    payload = f'{{"stream":"{turn.native.lower()}@{stream}","data":{says(turn)}}}'.encode()
    return b"\x81\x7e" + len(payload).to_bytes(2) + payload


def blocks(frames: list[bytes], count: int) -> Iterator[bytes]:
    """``count`` frames with distinct ids, in large pieces."""
    whole = b"".join(frames)
    for number, start in enumerate(range(0, count, len(frames))):
        piece = whole if count - start >= len(frames) else b"".join(frames[: count - start])
        yield piece.replace(MARK.encode(), b"%07d" % number)


def single(frames: list[bytes], count: int) -> Iterator[bytes]:
    """The same frames one by one."""
    for number in range(count):
        block, place = divmod(number, len(frames))
        yield frames[place].replace(MARK.encode(), b"%07d" % block)


def answer(path: str, symbols: Mapping[str, str]) -> bytes:
    """What REST answers to a path of Binance's."""
    name = path.partition("?")[0].rpartition("/")[2]
    return json.dumps(ANSWERS.get(name, _nothing)(symbols)).encode()


def _listing(symbols: Mapping[str, str]) -> Any:
    return {"timezone": "UTC", "serverTime": 1, "rateLimits": [], "symbols": [_listed(native) for native in symbols]}


def _listed(native: str) -> dict[str, Any]:
    return {
        "symbol": native,
        "status": "TRADING",
        "baseAsset": native.removesuffix("USDT"),
        "quoteAsset": "USDT",
        "baseAssetPrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00000100", "maxQty": "9000.00000000", "stepSize": "0.00000100"},
        ],
    }


def _snapshot(symbols: Mapping[str, str]) -> Any:
    """A book, just before the first change."""
    sides = [
        [[f"{price:.8f}", "1.00000000"] for price in range(*span)] for span in ((900, 880, -1), (1_000_000, 1_000_020))
    ]
    return {"lastUpdateId": FIRST_ID - 1, "bids": sides[0], "asks": sides[1]}


def _days(symbols: Mapping[str, str]) -> Any:
    return [_day(Turn(native, place, 0, "")) for place, native in enumerate(symbols)]


def _day(turn: Turn) -> dict[str, Any]:
    best = {"bidPrice": turn.price(-1), "bidQty": turn.amount(), "askPrice": turn.price(1), "askQty": turn.amount(7)}
    return {
        "symbol": turn.native,
        "lastPrice": turn.price(),
        "volume": "12345.67800000",
        "closeTime": 1723000000000,
        **best,
    }


def _time(symbols: Mapping[str, str]) -> Any:
    return {"serverTime": time.time_ns() // 1_000_000}


def _nothing(symbols: Mapping[str, str]) -> Any:
    """No trades, no candles."""
    return []


ANSWERS: Mapping[str, Callable[[Mapping[str, str]], Any]] = MappingProxyType(
    {"exchangeInfo": _listing, "depth": _snapshot, "24hr": _days, "time": _time}
)
