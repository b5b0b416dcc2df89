"""A made-up market: every trade, quote and candle is a function of (seed, symbol, number), and of nothing else.

Trade ``n`` of a symbol happens ``n / rate`` seconds after 1970, so ids are contiguous, keep growing from one run to the
next at the same rate, and any stretch of history can be told at once. The price is a walk made of a few
stretches of 1,024 steps in a long shuffled order, each stretch as often upwards as mirrored, so that it comes back to
where it began after a million trades; sums and extremes of any number of trades are therefore cheap and exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import accumulate
from operator import mul
from random import Random

from trioagg.model import Nanos
from trioagg.simulator import SCALE, Levels, Print, Quote, Source, Span, pairs
from trioagg.simulator.books import Books
from trioagg.simulator.pairs import Listing

SECOND = 10**9
_LENGTH = 1024  # steps in a stretch, and stretches in the walk
_AMOUNTS = 997  # a prime, so that amounts and prices do not repeat together
_QUIET = Fraction(1, 10)  # trades per second of a symbol that is listed only
_NOTIONAL = {"BTC": 0.008}  # what a typical trade is worth, where it is not 500 of the quote currency
_EXACT = 512  # trades up to which quote volumes are summed exactly: 300 candles do not hold the loop


@lru_cache(maxsize=4)
def _shapes(seed: int) -> list[list[float]]:
    """Eight random walks of unit steps, shared by all symbols."""
    random = Random(f"{seed} shapes")
    return [list(accumulate(random.gauss(0, 1) for _ in range(_LENGTH))) for _ in range(8)]


class Walk:
    """The price of one symbol by trade number."""

    def __init__(self, seed: int, listing: Listing) -> None:
        random = Random(f"{seed} {listing.symbol} walk")
        step = max(listing.price * 1e-5 / listing.tick, 0.05)
        up = [[round(x * step) * listing.tick for x in shape] for shape in random.sample(_shapes(seed), 4)]
        down = [[-x for x in stretch] for stretch in up]
        order = (up + down) * (_LENGTH // 8)
        random.shuffle(order)
        self.stretches = order
        self.levels = list(accumulate((stretch[-1] for stretch in order[:-1]), initial=listing.price))
        self._figures = {id(s): (max(s), min(s), sum(s) / _LENGTH) for s in up + down}

    def at(self, number: int) -> int:
        """The price of one trade."""
        block = number // _LENGTH % _LENGTH
        return self.levels[block] + self.stretches[block][number % _LENGTH]

    def extremes(self, first: int, end: int) -> tuple[int, int, float]:
        """Highest, lowest and mean price of a stretch of at least one trade, exactly."""
        parts = [self._part(block, first, end) for block in self._blocks(first, end)]
        count = sum(part[3] for part in parts)
        mean = sum(part[2] * part[3] for part in parts) / count
        return max(part[0] for part in parts), min(part[1] for part in parts), mean

    def _blocks(self, first: int, end: int) -> Iterable[int]:
        blocks = range(first // _LENGTH, (end - 1) // _LENGTH + 1)
        return blocks if len(blocks) <= _LENGTH + 1 else blocks[: _LENGTH + 1]

    def _part(self, block: int, first: int, end: int) -> tuple[int, int, float, int]:
        low, high = max(first - block * _LENGTH, 0), min(end - block * _LENGTH, _LENGTH)
        level, stretch = self.levels[block % _LENGTH], self.stretches[block % _LENGTH]
        if high - low == _LENGTH:
            top, bottom, mean = self._figures[id(stretch)]
        else:
            part = stretch[low:high]
            top, bottom, mean = max(part), min(part), sum(part) / len(part)
        return level + top, level + bottom, level + mean, high - low


class Series:
    """One symbol: its walk, its amounts, and when its trades happen.

    Args:
        rate: trades per second; as many changes of the best prices come between them.
        phase: how far into the time between two trades its trades lie, 0 to 1, so that symbols take turns.
    """

    def __init__(self, seed: int, listing: Listing, rate: Fraction, phase: Fraction) -> None:
        self._seed, self._listing = seed, listing
        shared = (rate.denominator * phase.denominator) * SECOND
        self._every, self._per = shared, rate.numerator * phase.denominator
        self._shift = shared * phase.numerator // phase.denominator
        self.spread = listing.tick * max(1, round(listing.price * 2e-6 / listing.tick))

    @cached_property
    def _walk(self) -> Walk:
        return Walk(self._seed, self._listing)

    @cached_property
    def _amounts(self) -> list[int]:
        random, listing = Random(f"{self._seed} {self._listing.symbol} amounts"), self._listing
        typical = _NOTIONAL.get(listing.quote, 500.0) * SCALE / listing.price * SCALE / listing.step
        return [max(1, round(random.lognormvariate(0, 1.2) * typical)) * listing.step for _ in range(_AMOUNTS)]

    @cached_property
    def _buys(self) -> list[bool]:
        random = Random(f"{self._seed} {self._listing.symbol} sides")
        return [random.random() < 0.5 for _ in range(_AMOUNTS)]

    @cached_property
    def _repeated(self) -> tuple[list[int], list[int]]:
        """All amounts, and those that takers bought: so often that any stretch of the walk finds its own in a row."""
        bought = [a if b else 0 for a, b in zip(self._amounts, self._buys, strict=True)]
        return self._amounts * 3, bought * 3

    @cached_property
    def books(self) -> Books:
        """Its order books."""
        gap = self._listing.tick * max(1, round(self._listing.price * 2e-5 / self._listing.tick))
        return Books(self._listing.tick, gap, self._amounts, self._bare)

    @cached_property
    def _sums(self) -> list[int]:
        return list(accumulate(self._amounts, initial=0))

    @cached_property
    def _bought(self) -> list[int]:
        return list(accumulate((a if b else 0 for a, b in zip(self._amounts, self._buys, strict=True)), initial=0))

    def time(self, number: int) -> Nanos:
        """When trade ``number`` happens."""
        return (number * self._every + self._shift) // self._per

    def before(self, at: Nanos) -> int:
        """The first trade at or after ``at``."""
        return max(0, -((self._shift - at * self._per) // self._every))

    def prints(self, first: int, end: int) -> Iterator[Print]:
        """Trades ``first`` to before ``end``."""
        levels, stretches = self._walk.levels, self._walk.stretches
        amounts, buys, every, shift, per = self._amounts, self._buys, self._every, self._shift, self._per
        for n in range(first, end):
            block, turn = n // _LENGTH % _LENGTH, n % _AMOUNTS
            price = levels[block] + stretches[block][n % _LENGTH]
            yield n, (n * every + shift) // per, price, amounts[turn], buys[turn]

    def quotes(self, first: int, end: int) -> Iterator[Quote]:
        """Quotes ``first`` to before ``end``, number ``n`` half-way between trades ``n`` and ``n + 1``."""
        size = self.books.size
        for n, time, bid, _, ask, _ in self._bare(first, end):
            yield n, time, bid, size(bid, n), ask, size(ask, n)

    def _bare(self, first: int, end: int) -> Iterator[Quote]:
        """``quotes`` without amounts."""
        half, spread = self._every // (2 * self._per), self.spread
        for n, time, price, _, buy in self.prints(first, end):
            bid = price - spread if buy else price
            yield n, time + half, bid, 0, bid + spread, 0

    def quoted(self, at: Nanos) -> int:
        """The first quote at or after ``at``."""
        return self.before(at - self._every // (2 * self._per))

    def span(self, start: Nanos, end: Nanos) -> Span:
        """What happened in a stretch of time; all but the quote volumes of long ones is exact."""
        first, after = self.before(start), self.before(end)
        if first >= after:
            price = self._walk.at(max(0, first - 1))
            return Span(start, end, first, first - 1, price, price, price, price, 0, 0, 0, 0)
        high, low, mean = self._walk.extremes(first, after)
        volume, bought = self._sum(self._sums, first, after), self._sum(self._bought, first, after)
        quote = self._turnover(first, after, volume=volume, bought=bought, mean=mean)
        prices = self._walk.at(first), high, low, self._walk.at(after - 1)
        return Span(start, end, first, after - 1, *prices, volume, quote[0], bought, quote[1])

    def _turnover(self, first: int, end: int, *, volume: int, bought: int, mean: float) -> tuple[int, int]:
        if end - first > _EXACT:
            return round(volume * mean / SCALE), round(bought * mean / SCALE)
        whole, buys = self._repeated
        return self._worth(whole, self._sums, first, end) // SCALE, self._worth(buys, self._bought, first, end) // SCALE

    def _worth(self, amounts: Sequence[int], sums: Sequence[int], first: int, end: int) -> int:
        """Prices times amounts, stretch by stretch: one by one they would hold the loop."""
        total, levels, stretches = 0, self._walk.levels, self._walk.stretches
        for low in (first, *range((first // _LENGTH + 1) * _LENGTH, end, _LENGTH)):
            high = min(end, (low // _LENGTH + 1) * _LENGTH)
            block, place, turn = low // _LENGTH % _LENGTH, low % _LENGTH, low % _AMOUNTS
            steps = stretches[block][place : place + high - low]
            total += levels[block] * self._sum(sums, low, high)
            total += sum(map(mul, steps, amounts[turn : turn + len(steps)]))
        return total

    @staticmethod
    def _sum(sums: Sequence[int], first: int, end: int) -> int:
        def until(number: int) -> int:
            return number // _AMOUNTS * sums[-1] + sums[number % _AMOUNTS]

        return until(end) - until(first)


class Market(Source):
    """All symbols of one made-up exchange.

    Args:
        seed: what everything follows from.
        symbols: those that trade briskly; unknown ones are listed too. Empty for a handful.
        lists: which symbols the exchange could list; others are not there.
        rate: messages per second in all: shared evenly by ``symbols``, half trades, half best prices.

    Raises:
        SettingsError: a symbol is not spelled as one.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        symbols: Sequence[str] = (),
        rate: float = 100.0,
        lists: Callable[[str], bool] = lambda symbol: True,
    ) -> None:
        active = tuple(filter(lists, dict.fromkeys(symbols or pairs.ACTIVE)))
        listed = {symbol: listing for symbol, listing in pairs.listed().items() if lists(symbol)}
        self.pairs = listed | {symbol: listed.get(symbol) or pairs.invent(symbol) for symbol in active}
        each = Fraction(rate).limit_denominator(10**6) / (2 * max(len(active), 1)) or Fraction(1, 10**6)
        self._series = {
            symbol: Series(seed, listing, each if symbol in active else _QUIET, _phase(symbol, active))
            for symbol, listing in self.pairs.items()
        }

    def now(self, wall: Nanos) -> Nanos:
        """The exchange's clock is right."""
        return wall

    def before(self, symbol: str, at: Nanos) -> int:
        """The id of the first trade at or after ``at``."""
        return self._series[symbol].before(at)

    def prints(self, symbol: str, first: int, end: int) -> Iterable[Print]:
        """The trades with these ids."""
        return self._series[symbol].prints(max(first, 0), end)

    def quotes(self, symbol: str, start: Nanos, end: Nanos) -> Iterable[Quote]:
        """The best prices of a stretch of time."""
        series = self._series[symbol]
        return series.quotes(series.quoted(start), series.quoted(end))

    def quote(self, symbol: str, at: Nanos) -> Quote:
        """The best prices at ``at``."""
        update = self.update(symbol, at)
        return next(self._series[symbol].quotes(update, update + 1))

    def update(self, symbol: str, at: Nanos) -> int:
        """The last change of the book before ``at``."""
        return max(0, self._series[symbol].quoted(at) - 1)

    def book(self, symbol: str, update: int) -> tuple[Levels, Levels]:
        """The book after a change."""
        return self._series[symbol].books.at(update)

    def changes(self, symbol: str, before: int, after: int) -> tuple[Levels, Levels]:
        """What changed in the book."""
        return self._series[symbol].books.changes(before, after)

    def span(self, symbol: str, start: Nanos, end: Nanos) -> Span:
        """What happened in a stretch of time."""
        return self._series[symbol].span(start, end)


def _phase(symbol: str, active: Sequence[str]) -> Fraction:
    place = active.index(symbol) if symbol in active else Random(symbol).randrange(max(len(active), 1))
    return Fraction(place, 2 * max(len(active), 1))
