"""A recording as a source: its frames play onto a tape, its trades answer REST as far as they were played.

The file is read twice, line by line, and never held whole: once for an index of its trades (33 bytes each) and
the first answer to each REST request, once to play.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from math import gcd
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import trio

from trioagg.errors import SettingsError, StoreError
from trioagg.model import Nanos
from trioagg.simulator import SCALE, Levels, Pair, Print, Quote, Recorded, Source, Span, key
from trioagg.simulator.feeds import Tape
from trioagg.transport.capture import Captured, read

_BATCH = 256  # lines between two looks at what else is to do
_NEAR = 0.002  # seconds that a frame may be early
_BLOCK = 4096  # trades that are summed up together

Read = Callable[[str, bytes], Recorded | None]
"""How a dialect reads a line: its URL and payload."""


def lines(path: str, exchange: str) -> Iterator[Captured]:
    """The lines of one exchange; what is no line of a capture is passed over.

    Raises:
        SettingsError: the file cannot be read.
    """
    try:
        for line in read(Path(path)):
            if isinstance(line, Captured) and line.exchange == exchange:
                yield line
    except StoreError as error:
        raise SettingsError(f"capture {error}") from None


class Trades:
    """The trades of one symbol in a file, by id."""

    def __init__(self) -> None:
        self.ids, self.times, self.prices, self.amounts = array("q"), array("q"), array("q"), array("q")
        self.buys = bytearray()
        self.tick = self.step = 0
        self.end = 0
        """After the highest id that was played."""
        self._sums: list[Span] = []

    def add(self, trade: Print) -> None:
        """Take one, in any order."""
        number, at, price, amount, buy = trade
        self.ids.append(number)
        self.times.append(at)
        self.prices.append(price)
        self.amounts.append(amount)
        self.buys.append(buy)
        self.tick, self.step = gcd(self.tick, price), gcd(self.step, amount)

    def sort(self) -> None:
        """By id, each once."""
        ids = self.ids
        if all(ids[i] < ids[i + 1] for i in range(len(ids) - 1)):
            return
        first = {number: place for place, number in reversed(list(enumerate(ids)))}
        order = [first[number] for number in sorted(first)]
        for name in ("ids", "times", "prices", "amounts"):
            setattr(self, name, array("q", (getattr(self, name)[place] for place in order)))
        self.buys = bytearray(self.buys[place] for place in order)

    def played(self, trade: Print) -> None:
        """It was heard now."""
        self.end = max(self.end, trade[0] + 1)

    def before(self, at: Nanos) -> int:
        """The id of the first one at or after ``at``, of those that were played."""
        place = bisect_left(self.times, at)
        return min(self.ids[place], self.end) if place < len(self.ids) else self.end

    def between(self, first: int, end: int) -> Iterator[Print]:
        """Those with ids from ``first`` to before ``end`` that were played."""
        for place in range(bisect_left(self.ids, first), bisect_left(self.ids, min(end, self.end))):
            yield self._at(place)

    def _at(self, place: int) -> Print:
        return (
            self.ids[place], self.times[place], self.prices[place], self.amounts[place], bool(self.buys[place])
        )  # fmt: skip

    def price(self) -> int:
        """The last one that was played, or the first of all."""
        return self.prices[max(0, bisect_left(self.ids, self.end) - 1)] if self.ids else SCALE

    def span(self, start: Nanos, end: Nanos) -> Span:
        """What happened from ``start`` to before ``end``, as far as it was played."""
        low, high = bisect_left(self.times, start), bisect_left(self.ids, self.before(end))
        if low >= high:
            price = self.price()
            return Span(start, end, self.end, self.end - 1, price, price, price, price, 0, 0, 0, 0)
        return _joined(start, end, list(self._parts(low, high)))

    def _parts(self, low: int, high: int) -> Iterator[Span]:
        """The stretch in pieces: whole blocks are summed up only once."""
        while low < high:
            block = low // _BLOCK
            top = min(high, (block + 1) * _BLOCK)
            yield self._block(block) if top - low == _BLOCK else self._sum(low, top)
            low = top

    def _block(self, block: int) -> Span:
        while len(self._sums) <= block:
            start = len(self._sums) * _BLOCK
            self._sums.append(self._sum(start, start + _BLOCK))
        return self._sums[block]

    def _sum(self, low: int, high: int) -> Span:
        prices, amounts, buys = self.prices[low:high], self.amounts[low:high], self.buys[low:high]
        worth = [price * amount // SCALE for price, amount in zip(prices, amounts, strict=True)]
        bought = sum(amount for amount, buy in zip(amounts, buys, strict=True) if buy)
        quoted = sum(value for value, buy in zip(worth, buys, strict=True) if buy)
        figures = prices[0], max(prices), min(prices), prices[-1], sum(amounts), sum(worth), bought, quoted
        return Span(self.times[low], self.times[high - 1] + 1, self.ids[low], self.ids[high - 1], *figures)


def _joined(start: Nanos, end: Nanos, parts: list[Span]) -> Span:
    return Span(
        start, end, parts[0].first, parts[-1].last, parts[0].open,
        max(part.high for part in parts), min(part.low for part in parts), parts[-1].close,
        sum(part.volume for part in parts), sum(part.quote_volume for part in parts),
        sum(part.bought for part in parts), sum(part.quote_bought for part in parts),
    )  # fmt: skip


class Recording(Source):
    """What a capture tells of one exchange, as far as it has been played.

    Args:
        path: the capture, plain or gzip.
        exchange: whose lines.
        read: how its messages are read.

    Raises:
        SettingsError: it cannot be read, or holds nothing of the exchange.
    """

    def __init__(self, path: str, exchange: str, read: Read) -> None:
        self.path, self.exchange, self._read = path, exchange, read
        self._trades: dict[str, Trades] = {}
        self._quotes: dict[str, Quote] = {}
        self._answers: dict[str, bytes] = {}
        self._now = 0
        self._index()
        self.pairs = {symbol: self._pair(symbol) for symbol in self._trades.keys() | self._quotes.keys()}
        self._quotes.clear()

    def _index(self) -> None:
        for line in lines(self.path, self.exchange):
            self._now = self._now or line.received
            found = self._read(line.source, line.payload)
            if found is not None:
                self._learn(line, found)
        if not self._now:
            raise SettingsError(f"capture {self.path} holds nothing of {self.exchange}")
        for trades in self._trades.values():
            trades.sort()

    def _learn(self, line: Captured, found: Recorded) -> None:
        if found.stream is None:
            self._answers.setdefault(_key(line.source), found.data)
        if found.quote:
            self._quotes.setdefault(*found.quote)
        for symbol, trade in found.prints:
            self._trades.setdefault(symbol, Trades()).add(trade)

    def _pair(self, symbol: str) -> Pair:
        trades = self._trades.setdefault(symbol, Trades())
        quote = self._quotes.get(symbol, (0,) * 6)
        tick, step = gcd(trades.tick, quote[2], quote[4]), gcd(trades.step, quote[3], quote[5])
        return Pair(symbol, tick or 1, step or 1)

    async def play(self, tape: Tape, rate: float | None) -> None:
        """Play every frame onto the tape: ``rate`` a second, or at the pace it was recorded at."""
        began, first, count = trio.current_time(), self._now, 0
        for number, line in enumerate(lines(self.path, self.exchange)):
            due = began + (count / rate if rate else (line.received - first) / 1e9)
            if due > trio.current_time() + _NEAR:
                await trio.sleep_until(due)
            elif not number % _BATCH:
                await trio.lowlevel.checkpoint()
            count += self._hear(line, tape)

    def _hear(self, line: Captured, tape: Tape) -> bool:
        """Play one line; whether it was a frame."""
        found = self._read(line.source, line.payload)
        self._now = max(self._now, line.received)
        if found is None:
            return False
        for symbol, trade in found.prints if found.stream is not None else ():
            self._trades[symbol].played(trade)
            self._now = max(self._now, trade[1] + 1)
        if found.quote:
            self._quotes[found.quote[0]] = found.quote[1]
        if found.stream is None:
            self._answers[_key(line.source)] = found.data
            return False
        tape.add(found.stream, found.data)
        return True

    def now(self, wall: Nanos) -> Nanos:
        """The recorded time that the play has come to."""
        return self._now

    def before(self, symbol: str, at: Nanos) -> int:
        """The id of the first trade at or after ``at``, or after the last one played."""
        return self._trades[symbol].before(at)

    def prints(self, symbol: str, first: int, end: int) -> Iterable[Print]:
        """The trades with these ids that were played."""
        return self._trades[symbol].between(first, end)

    def quotes(self, symbol: str, start: Nanos, end: Nanos) -> Iterable[Quote]:
        """None: the tape has them."""
        return ()

    def quote(self, symbol: str, at: Nanos) -> Quote:
        """The best prices played last, or the last price where none were."""
        price = self._trades[symbol].price()
        return self._quotes.get(symbol, (0, at, price - self.pairs[symbol].tick, 0, price, 0))

    def update(self, symbol: str, at: Nanos) -> int:
        """The last change of the best prices."""
        return self.quote(symbol, at)[0]

    def book(self, symbol: str, update: int) -> tuple[Levels, Levels]:
        """The best prices; recorded answers have the rest."""
        _, _, bid, bids, ask, asks = self.quote(symbol, self._now)
        return [(bid, bids)], [(ask, asks)]

    def changes(self, symbol: str, before: int, after: int) -> tuple[Levels, Levels]:
        """None: the tape has them."""
        return [], []

    def span(self, symbol: str, start: Nanos, end: Nanos) -> Span:
        """What happened in a stretch of time, as far as it was played."""
        return self._trades[symbol].span(start, end)

    def recorded(self, request: str) -> bytes | None:
        """The last answer that the play came by, or the first of the file."""
        return self._answers.get(request)


def _key(url: str) -> str:
    split = urlsplit(url)
    return key(split.path, dict(parse_qsl(split.query, keep_blank_values=True)))
