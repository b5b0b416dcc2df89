"""The requests that are posted to ``/info``, each known by its ``type``, and their answers."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

from trioagg.model import Nanos
from trioagg.simulator import Pair, Source
from trioagg.simulator.dialects._kit import HOUR, MILLI, Refusal, ticks
from trioagg.simulator.dialects.hyperliquid import rows

NEWEST = 10
CANDLES, RATES = 5000, 500


class Meta(Struct, tag_field="type", tag="meta"):
    """The contracts."""

    dex: str = ""


class Contexts(Struct, tag_field="type", tag="metaAndAssetCtxs"):
    """The contracts, and the state of each at the same place."""

    dex: str = ""


class Spots(Struct, tag_field="type", tag="spotMeta"):
    """The spot markets and their tokens."""


class SpotContexts(Struct, tag_field="type", tag="spotMetaAndAssetCtxs"):
    """The spot markets, and their states by name."""


class Mids(Struct, tag_field="type", tag="allMids"):
    """Where each market is."""

    dex: str = ""


class Book(Struct, tag_field="type", tag="l2Book"):
    """The top of a book."""

    coin: str
    nSigFigs: int | None = None
    mantissa: int | None = None


class Trades(Struct, tag_field="type", tag="recentTrades"):
    """The newest trades."""

    coin: str


class Stretch(Struct):
    """Which candles."""

    coin: str
    interval: str
    startTime: int
    endTime: int | None = None


class Candles(Struct, tag_field="type", tag="candleSnapshot"):
    """Candles."""

    req: Stretch


class Funding(Struct, tag_field="type", tag="fundingHistory"):
    """Funding, as it was paid."""

    coin: str
    startTime: int
    endTime: int | None = None


class Dexs(Struct, tag_field="type", tag="perpDexs"):
    """Other builders' markets: there are none here."""


class Status(Struct, tag_field="type", tag="exchangeStatus"):
    """The time."""


Call = (
    Meta | Contexts | Spots | SpotContexts | Mids | Book | Trades | Candles | Funding | Dexs | Status
)  # what can be asked for
CALLS = msgspec.json.Decoder(Call)


class Desk:
    """What there is to ask about.

    Attributes:
        pairs: the markets by the exchange's spelling.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.pairs = {rows.coin(symbol): pair for symbol, pair in source.pairs.items()}

    def told(self, call: Call, now: Nanos) -> object:
        """The answer to one request.

        Raises:
            Refusal: there is none.
        """
        match call:
            case Meta(dex) | Contexts(dex) | Mids(dex) if dex:
                raise Refusal(None, 500)
            case Meta() | Contexts() | Spots() | SpotContexts() | Mids() | Dexs():
                return self._all(call, now)
            case Book():
                return self._book(call, now)
            case Trades():
                return self._trades(self._pair(call.coin), now)
            case Candles():
                return self._candles(call.req, now)
            case Funding():
                return self._funding(call, now)
        return {"time": now // MILLI, "specialStatuses": None}

    def mids(self, now: Nanos) -> dict[str, str]:
        """Coin → price."""
        return {coin: rows.price(rows.mid(self.source, pair.symbol, now)) for coin, pair in self.pairs.items()}

    def _all(self, call: Call, now: Nanos) -> object:
        match call:
            case Meta():
                return self._meta()
            case Contexts():
                return [self._meta(), [rows.state(self.source, pair, now) for pair in self._of(contracts=True)]]
            case Spots():
                return self._spots()
            case SpotContexts():
                listed = self._of(contracts=False)
                states = [{"coin": rows.coin(p.symbol), **rows.state(self.source, p, now)} for p in listed]
                return [self._spots(), states]
            case Mids():
                return self.mids(now)
        return [None]

    def _of(self, *, contracts: bool) -> list[Pair]:
        return [pair for pair in self.pairs.values() if (":" in pair.symbol) is contracts]

    def _pair(self, coin: str) -> Pair:
        if coin not in self.pairs:
            raise Refusal(None, 500)
        return self.pairs[coin]

    def _meta(self) -> dict[str, Any]:
        universe = [
            {"name": rows.coin(p.symbol), "szDecimals": rows.decimals(p), "maxLeverage": 40, "marginTableId": 56}
            for p in self._of(contracts=True)
        ]
        tiers = {"description": "tiered 40x", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": 40}]}
        return {"universe": universe, "marginTables": [[56, tiers]], "collateralToken": 0}

    def _spots(self) -> dict[str, Any]:
        pairs = self._of(contracts=False)
        assets = list(dict.fromkeys(["USDC", *(asset for pair in pairs for asset in (pair.base, pair.quote))]))
        finest = {asset: max((rows.decimals(p) for p in pairs if p.base == asset), default=8) for asset in assets}
        universe = [
            {
                "tokens": [assets.index(pair.base), assets.index(pair.quote)], "name": rows.coin(pair.symbol),
                "index": rows.number(pair.symbol), "isCanonical": "@" not in rows.coin(pair.symbol),
            }
            for pair in pairs
        ]  # fmt: skip
        tokens = [_token(index, asset, finest[asset]) for index, asset in enumerate(assets)]
        return {"universe": universe, "tokens": tokens}

    def _book(self, call: Book, now: Nanos) -> object:
        if call.coin not in self.pairs:
            return None
        unit = (call.nSigFigs, call.mantissa or 1) if call.nSigFigs else None
        return rows.book(self.source, self.pairs[call.coin], now, unit=unit)

    def _trades(self, pair: Pair, now: Nanos) -> list[dict[str, Any]]:
        end = self.source.before(pair.symbol, now)
        return [rows.trade(pair, told) for told in self.source.prints(pair.symbol, end - NEWEST, end)][::-1]

    def _candles(self, asked: Stretch, now: Nanos) -> list[dict[str, Any]]:
        pair, length = self._pair(asked.coin), rows.LENGTHS.get(asked.interval)
        if length is None:
            raise Refusal(None, 500)
        start = max(asked.startTime * MILLI // length * length, now - CANDLES * length)
        opens = ticks(start, min(now, (asked.endTime or now) * MILLI + 1), length)
        spans = (self.source.span(pair.symbol, at, min(at + length, now)) for at in opens)
        return [rows.candle(pair, span, asked.interval) for span in spans]

    def _funding(self, asked: Funding, now: Nanos) -> list[dict[str, Any]]:
        pair = self._pair(asked.coin)
        hours = ticks(asked.startTime * MILLI, min(now, (asked.endTime or now) * MILLI + 1), HOUR)
        return [_paid(pair, at) for at in islice(hours, RATES)]


def _token(index: int, asset: str, decimals: int) -> dict[str, Any]:
    return {
        "name": rows.TOKENS.get(asset, asset), "szDecimals": decimals, "weiDecimals": 8, "index": index,
        "tokenId": f"0x{index + 1:032x}", "isCanonical": not index, "evmContract": None, "fullName": None,
        "deployerTradingFeeShare": "0.0",
    }  # fmt: skip


def _paid(pair: Pair, at: Nanos) -> dict[str, Any]:
    rate = rows.price(rows.hourly(pair.symbol, at - 1))
    return {"coin": rows.coin(pair.symbol), "fundingRate": rate, "premium": "0.0", "time": at // MILLI + 39}
