"""One market on several exchanges: the best of what is fresh, and what it is worth on the whole."""

from __future__ import annotations

import json
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from trioagg.integrity.consolidation import Venue, consolidated
from trioagg.model import Quote, Ticker
from trioagg.store import Writer, database
from trioagg.views.best import show_best

SECOND = 1_000_000_000


def number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def venue(exchange: str, bid: str | None, ask: str | None, at: int = 0, **day: str) -> Venue:
    last, volume = number(day.get("last")), number(day.get("volume"))
    one = Decimal(1)
    sides = {"bid": number(bid), "bid_size": one, "ask": number(ask), "ask_size": one}
    return Venue(exchange=exchange, symbol="A/B", **sides, last=last, volume=volume, received=at)


def test_the_best_sides_come_from_wherever_they_are() -> None:
    """The highest bid and the lowest ask, with their exchanges; a spread may be negative."""
    (best,) = consolidated([venue("a", "10.1", "10.4"), venue("b", "10.0", "10.05"), venue("c", None, None)], 30)

    assert (best.bid, best.bid_exchange, best.ask, best.ask_exchange) == (Decimal("10.1"), "a", Decimal("10.05"), "b")
    assert best.spread == Decimal("-0.05") and best.venues == ("a", "b", "c")


def test_stale_quotes_are_expired() -> None:
    """Those that are older than the newest by more than so much; a symbol is never without any."""
    (best,) = consolidated([venue("a", "10", "11", at=0), venue("b", "9", "12", at=31 * SECOND)], 30)
    assert (best.bid_exchange, best.venues, best.expired) == ("b", ("b",), ("a",))

    (best,) = consolidated([venue("a", "10", "11", at=1 * SECOND), venue("b", "9", "12", at=31 * SECOND)], 30)
    assert (best.bid_exchange, best.expired) == ("a", ())


def test_one_sided_markets() -> None:
    """Where nobody bids, there is no bid and no spread."""
    (best,) = consolidated([venue("a", None, "11")], 30)

    assert (best.bid, best.bid_size, best.bid_exchange, best.spread, best.ask) == (None, None, None, None, Decimal(11))


def test_the_price_is_weighted_by_volume() -> None:
    """By exchanges that tell both, to the finest of their steps."""
    told = [
        venue("a", "1", "2", last="100.00", volume="3"),
        venue("b", "1", "2", last="103", volume="1"),
        venue("c", "1", "2", last="9999"),
    ]
    (best,) = consolidated(told, 30)

    assert str(best.vwap) == "100.75"


def test_tickers_and_books_are_looked_at_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest of a market's ticker and quote tells its best prices; decimals come exact."""
    one = Decimal("1.0")
    with closing(Writer.open(tmp_path / "a.db")) as writer:
        writer.write([Ticker("kraken", "A/B", Decimal("9.10"), one, Decimal(10), one, one, one, None, 5)])
        writer.write([Quote("kraken", "A/B", Decimal("9.20"), one, Decimal(10), one, None, 6)])
        writer.write([Quote("okx", "A/B", Decimal("9.150"), one, None, None, None, 7)])

    with database(tmp_path / "a.db") as db:
        show_best(db, "json", exchanges=(), symbols=(), limit=None, stale=30)

    told = json.loads(capsys.readouterr().out)
    assert (told["bid"], told["bid_exchange"], told["venues"]) == ("9.20", "kraken", "kraken, okx")
    assert told["received"] == 7
