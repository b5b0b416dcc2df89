"""What a sink was told comes back as the events that they were."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from told_rows import MARKET, T0, draft, everything, expected, stored, ticker, trade

from trioagg import sinks
from trioagg.errors import WireError
from trioagg.model import Event, Instrument, Ticker, Trade, TradeId
from trioagg.store import Counts, Texts, encodable, instrument, recalled


def told_and_recalled(batch: list[Event]) -> list[Event]:
    """A batch by way of text, in the order of the text."""
    told, _ = Texts().of(batch)
    found = [recalled(one.kind, one.id, msgspec.json.encode(encodable(one.row))) for one in told]
    assert not any(isinstance(one, Instrument) for one in found)
    return [one for one in found if not isinstance(one, Instrument)]


def test_every_kind_comes_back_as_it_was() -> None:
    """To the digit; what has no id has its ordinal beside, so that twins of one instant stay two."""
    batch = everything()
    found = told_and_recalled(batch)
    assert len(found) == len(batch)
    ordinal = re.compile(r"ordinal=\d+")
    assert sorted(ordinal.sub("ordinal=None", repr(one)) for one in found) == sorted(map(repr, batch))
    assert [one.ordinal for one in found if isinstance(one, Ticker)] == [0, 1, 2]


@pytest.mark.parametrize("key", [7, "a-7", "007", 2**63 - 1, "1" * 30])
def test_a_trade_s_id_is_a_number_or_a_text_as_it_was(key: TradeId) -> None:
    """As the adapters tell them."""
    (found,) = told_and_recalled([Trade(*MARKET, key, Decimal(1), Decimal(1), "buy", None, T0)])
    assert isinstance(found, Trade) and found.trade_id == key and type(found.trade_id) is type(key)


def test_an_instrument_comes_back() -> None:
    """With what is not known of it."""
    one = Instrument(*MARKET, "BTCUSDT", "BTC", "USDT", Decimal("0.010"), None, Decimal(1), "BTC", "trading")
    assert recalled("instruments", "5", msgspec.json.encode(instrument(one))) == one


@pytest.mark.parametrize("cut", [[1] * 8, [3, 5], [8], [2, 1, 5]], ids=str)
async def test_rows_are_the_same_however_they_are_batched_again(cut: list[int], tmp_path: Path) -> None:
    """Also by two stores' worth of writers that know nothing of each other, and from the middle of an instant."""
    first = [ticker("1.50"), ticker("1.50"), ticker("1.6"), ticker("1.50"), ticker("2"), ticker("3", T0 + 1)]
    batch: list[Event] = [*first, trade(1), trade(2)]
    found, url = told_and_recalled(batch), f"sqlite:///{tmp_path / 'b.db'}"
    start = 0
    for size in cut:
        for begin in (start, max(start - 1, 0)):
            async with sinks.connect(url) as sink:
                part = found[begin : start + size]
                await sink.write(part, draft(part))
        start += size
    assert stored(tmp_path / "b.db") == expected(tmp_path / "a.db", batch)
    async with sinks.connect(url) as sink:
        assert await sink.write(found, draft(found)) == Counts(0, len(batch), 0)


@pytest.mark.parametrize(
    ("kind", "ident", "body", "reason"),
    [
        ("trades", "1", b"", "truncated"),
        ("trades", "1", b"\xff", "malformed|invalid"),
        ("trades", "1", b"[]", "Expected `object`"),
        ("trades", "1", {"exchange": "binance"}, "missing required field"),
        ("ticker", "5|x", {}, "without an ordinal"),
        ("ticker", "5|-1", {}, "without an ordinal"),
        ("ticker", "5|0", {"bid": "NaN"}, "not a number of a market"),
        ("ticker", "5|0", {"bid": "1e999999"}, "not a number of a market"),
        ("ticker", "5|0", {"bid": "-1e-999999"}, "not a number of a market"),
        ("ticker", "5|0", {"bid": True}, "Expected `decimal"),
        ("ticker", "5|0", {"bid": "1." + "1" * 300}, "not a number of a market"),
        ("ticker", "5|0", {"received": 2**70}, "not a time or a count"),
        ("ticker", f"5|{2**70}", {}, "not a time or a count"),
        ("ticker", "5|0", {"symbol": "A/" + "B" * 300}, "not a name"),
        ("ticker", "5|0", {"symbol": "A/\0"}, "not a name"),
        ("trades", "1", b'{"x":' + b"[" * 10**5, "recursion"),
        ("ticker", "5|0", {"exchange": "mtgox"}, "unknown exchange 'mtgox'"),
        ("quarantine", "5|0", b'{"exchange":"binance","received":1,"reason":"torn"}', "without its payload"),
    ],
)
def test_nonsense_is_told(kind: str, ident: str, body: bytes | dict[str, object], reason: str) -> None:
    """By one error, in one line."""
    if isinstance(body, dict) and kind == "ticker":
        (told,) = Texts().of([ticker("1")])[0]
        body = {**told.row, **body}
    with pytest.raises(WireError, match=reason) as error:
        recalled(kind, ident, body if isinstance(body, bytes) else msgspec.json.encode(body))
    assert "\n" not in str(error.value)
