"""Order books: what snapshots and changes make of them, and what is told of it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagg.errors import WireError
from trioagg.exchanges import BookPlan, Missed
from trioagg.exchanges._books import PATIENCE, ChainedBook, Change, JoinedBook, OrderBook
from trioagg.model import Book, Channel, Delta, Level, Quote

SECOND = 1_000_000_000
ALL = BookPlan(levels=2, period=SECOND, kept=frozenset({"snapshots", "best", "deltas"}))
BEST = BookPlan(kept=frozenset({"best"}))


def levels(*pairs: str) -> list[Level]:
    """``"3:1"`` as price 3, amount 1."""
    return [(Decimal(price), Decimal(amount)) for price, amount in (pair.split(":") for pair in pairs)]


def change(after: int, number: int, bids: list[Level] | None = None) -> Change:
    """A counted change."""
    return Change(after, number, bids or [], [], None)


def joined() -> JoinedBook:
    """A book that holds everything up to 10."""
    book = JoinedBook("x", "A/B", BEST)
    book.join(10, levels("3:1"), levels("4:1"), stamp=None, at=0)
    return book


def test_a_whole_book_tells_everything() -> None:
    """The raw levels, the best prices, and the best levels of each side, best first."""
    out = OrderBook("x", "A/B", ALL).replace(levels("1:1", "3:1", "2:5"), levels("6:1", "4:2", "5:1"), 7, 9)

    assert out == [
        Delta(
            "x",
            "A/B",
            tuple(levels("1:1", "3:1", "2:5")),
            tuple(levels("6:1", "4:2", "5:1")),
            whole=True,
            timestamp=7,
            received=9,
        ),
        Quote("x", "A/B", Decimal(3), Decimal(1), Decimal(4), Decimal(2), 7, 9),
        Book("x", "A/B", tuple(levels("3:1", "2:5")), tuple(levels("4:2", "5:1")), 7, 9),
    ]


def test_best_prices_are_told_when_they_change_and_snapshots_once_a_period() -> None:
    """A change deep in the book is told by neither; a side that empties has no best."""
    book = OrderBook("x", "A/B", BookPlan(levels=1, period=SECOND))
    book.replace(levels("3:1", "2:5"), levels("4:2"), None, 0)

    assert book.change(levels("2:9"), [], None, 1) == []
    assert [type(event) for event in book.change(levels("3:2"), [], None, 2)] == [Quote]
    assert [type(event) for event in book.change(levels("2:8"), [], None, SECOND)] == [Book]
    (quote,) = book.change([], levels("4:0"), None, SECOND + 1)
    assert isinstance(quote, Quote) and quote.ask is None and quote.ask_size is None


def test_levels_beyond_the_depth_are_dropped() -> None:
    """An exchange that tells so many levels does not tell when one falls out below."""
    book = OrderBook("x", "A/B", BEST, depth=2)
    book.replace(levels("3:1", "2:1"), levels("4:1", "5:1"), None, 0)
    book.change(levels("3.5:1"), levels("3.9:1"), None, 1)

    assert book.bids() == levels("3.5:1", "3:1") and book.asks() == levels("3.9:1", "4:1")


def test_a_book_that_does_not_stand_takes_no_changes_and_asks_anew_when_it_is_time() -> None:
    """One request at a time, and again when its answer did not come."""
    book = OrderBook("x", "A/B", BEST)

    assert book.change(levels("3:1"), [], None, 0) == []
    assert [book.due(at) for at in (0, 1, PATIENCE - 1, PATIENCE, PATIENCE + 1)] == [True, False, False, True, False]
    book.replace(levels("3:1"), [], None, PATIENCE + 2)
    assert not book.due(2 * PATIENCE + 2)
    book.fall()
    assert book.due(2 * PATIENCE + 2)


def test_a_book_that_falls_again_and_again_is_paced() -> None:
    """A snapshot that is wrong each time is asked for twice in a while, whatever comes."""
    book = OrderBook("x", "A/B", BEST)
    asked = []
    for at in range(0, 4 * PATIENCE, PATIENCE // 10):
        if book.due(at):
            asked.append(at)
            book.replace(levels("3:1"), [], None, at)
            book.fall()

    assert asked == [0, PATIENCE // 10, PATIENCE, PATIENCE * 11 // 10, *(PATIENCE * n // 10 for n in (20, 21, 30, 31))]


@pytest.mark.parametrize("bad", ["-1:1", "0:1", "1e999:1", "1:-1", "1:1e999"])
def test_an_impossible_level_changes_nothing(bad: str) -> None:
    """None of a message is taken, not even what is good in it."""
    book = joined()

    with pytest.raises(WireError):
        book.step(change(10, 11, [*levels("3.5:1"), *levels(bad)]), 1)
    with pytest.raises(WireError):
        book.replace(levels(bad), [], None, 1)
    assert (book.held, book.bids()) == (10, levels("3:1"))


def test_changes_wait_for_their_snapshot() -> None:
    """Those that it holds are left out, one that lies across it is taken, the others follow in order."""
    book = JoinedBook("x", "A/B", BEST)
    for waiting in (change(4, 6, levels("9:1")), change(6, 11, levels("3:7")), change(11, 12, levels("3.5:1"))):
        assert book.step(waiting, 0) == []

    out = book.join(10, levels("3:1"), levels("4:1"), stamp=None, at=5)

    assert [(quote.bid, quote.bid_size) for quote in out if isinstance(quote, Quote)] == [
        (Decimal(3), Decimal(1)),
        (Decimal(3), Decimal(7)),
        (Decimal("3.5"), Decimal(1)),
    ]
    assert book.held == 12


def test_a_snapshot_that_is_too_old_is_not_taken() -> None:
    """Neither before a waiting change that it does not reach, nor by a book that is newer."""
    book = JoinedBook("x", "A/B", BEST)
    book.step(change(12, 13), 0)

    assert book.join(10, levels("3:1"), [], stamp=None, at=0) == [] and not book.standing
    assert joined().join(9, levels("1:1"), [], stamp=None, at=0) == []


def test_a_missing_change_is_named_and_the_book_falls() -> None:
    """What is told again is left out; what comes after a hole waits for a new snapshot."""
    book = joined()

    assert book.step(change(8, 9, levels("9:1")), 1) == []
    assert book.step(change(10, 10, levels("9:1")), 1) == []
    assert book.step(change(12, 14, levels("3.5:1")), 1) == [
        Missed("A/B", Channel.BOOK, "changes of the order book are missing", 11, 12)
    ]
    assert not book.standing
    assert [type(event) for event in book.join(13, levels("3:1"), [], stamp=None, at=2)] == [Quote, Quote]
    assert book.bids() == levels("3.5:1", "3:1")


def test_a_count_that_begins_anew_is_followed() -> None:
    """An exchange may restart its numbers: the change names the one that it follows."""
    book = joined()

    assert [type(event) for event in book.step(change(10, 2, levels("3.5:1")), 1)] == [Quote]
    assert book.held == 2


def test_a_book_that_is_told_whole_each_time_tells_what_changed() -> None:
    """The first one is whole; then levels that went, came or are of another amount, and nothing of the others."""
    book = OrderBook("x", "A/B", BookPlan(kept=frozenset({"deltas"})))
    book.retold(levels("3:1", "2:1", "1:1"), levels("4:1"), None, 0)

    (delta,) = book.retold(levels("3:1", "2:5", "0.5:1"), levels("4:1"), None, 1)

    assert isinstance(delta, Delta) and not delta.whole
    assert sorted(delta.bids) == levels("0.5:1", "1:0", "2:5") and not delta.asks
    with pytest.raises(WireError):
        book.retold(levels("3:1", "0:1"), [], None, 2)
    assert book.bids() == levels("3:1", "2:5", "0.5:1")


def chained(*, counted: bool = False) -> ChainedBook:
    """A book that began with 10."""
    book = ChainedBook("x", "A/B", BEST, counted=counted)
    book.begin(change(-1, 10, levels("3:1")), 0)
    return book


def test_a_chain_is_followed_wherever_its_count_goes() -> None:
    """The change names the one that it follows: nothing is lost by a jump, one told again, or a count that restarts."""
    book = chained()

    for follows in (change(10, 17, levels("4:1")), change(10, 17, levels("5:1")), change(17, 2, levels("6:1"))):
        assert [type(event) for event in book.follow(follows, 1)] == [Quote]
    assert book.held == 2


@pytest.mark.parametrize(
    ("counted", "after", "span"), [(False, 12, (None, None)), (True, 12, (11, 12)), (True, 4, (None, None))]
)
def test_a_broken_chain_falls_and_begins_anew(
    *, counted: bool, after: int, span: tuple[int | None, int | None]
) -> None:
    """What is missing is told where numbers count by one; nothing is taken until the next snapshot, of any number."""
    book = chained(counted=counted)

    assert book.follow(change(after, after + 1, levels("4:1")), 1) == [
        Missed("A/B", Channel.BOOK, "changes of the order book are missing", *span)
    ]
    assert not book.standing and book.follow(change(after + 1, after + 2, levels("4:1")), 2) == []
    assert [type(event) for event in book.begin(change(-1, 3, levels("2:1")), 3)] == [Quote]
    assert (book.held, book.bids()) == (3, levels("2:1"))


def test_an_impossible_change_breaks_no_chain() -> None:
    """It costs itself, whatever it follows."""
    book = chained()

    for after in (10, 12):
        with pytest.raises(WireError):
            book.follow(change(after, 13, levels("-1:1")), 1)
    assert book.standing and book.held == 10


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), max_size=60), st.integers(1, 8))
def test_a_book_is_what_a_plain_dictionary_says(changes: list[tuple[int, int]], depth: int) -> None:
    """Whatever changes come, in whatever order: the best levels are those of a dictionary that was cut likewise."""
    book = OrderBook("x", "A/B", BEST, depth=depth)
    book.replace([], [], None, 0)
    model: dict[Decimal, Decimal] = {}
    for price, amount in changes:
        told = [(Decimal(price), Decimal(amount))]
        book.change(told, told, None, 1)
        model = {p: a for p, a in (model | dict(told)).items() if a}
        model = dict(sorted(model.items(), reverse=True)[:depth])
        assert book.bids() == list(model.items())
