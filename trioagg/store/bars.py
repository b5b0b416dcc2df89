"""Prices of equal lengths of time, for charts: the candles that exchanges sent, or what trades or tickers add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Context, Decimal

from attrs import define, evolve, field, frozen

from trioagg.errors import SettingsError
from trioagg.model import Nanos
from trioagg.store.order import Found, Lane, Part, Row
from trioagg.store.readable import Readable
from trioagg.store.seek import demand, markets, newest, parts
from trioagg.store.times import backwards

EXACT = Context(prec=200)
"""Adds without rounding anything that a market could trade."""


@define
class Bar:
    """What happened in one interval.

    Attributes:
        open_time: its first instant, nanoseconds UTC.
        first, last: when the opening and the closing price were made.
    """

    open_time: Nanos
    first: Nanos
    last: Nanos
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@frozen
class Series:
    """The newest bars of a market, oldest first; an interval without any is left out.

    Attributes:
        interval: its length as the user names it.
        length: the same in nanoseconds.
        source: the kind of rows that the bars come from.
    """

    exchange: str
    symbol: str
    interval: str
    length: Nanos
    source: str
    bars: Sequence[Bar]

    @property
    def slots(self) -> int:
        """How many intervals there are from the first bar to the last, those without one included."""
        return self.slot(self.bars[-1]) + 1

    def slot(self, bar: Bar) -> int:
        """Which of them is a bar's."""
        return (bar.open_time - self.bars[0].open_time) // self.length

    def tail(self, slots: int) -> Series:
        """The last so many intervals of it."""
        return evolve(self, bars=[bar for bar in self.bars if self.slots - self.slot(bar) <= slots])


@frozen
class Scale:
    """How long a bar is, and how many intervals are wanted.

    Attributes:
        interval: as the user names it, and as stored candles are named.
        length: the same in nanoseconds.
        limit: the newest so many, those in which nothing happened included.
    """

    interval: str
    length: Nanos
    limit: int


def series(db: Readable, symbol: str, scale: Scale, exchanges: Sequence[str] = ()) -> list[Series]:
    """The newest bars of a symbol on each exchange that has prices of it, by exchange.

    They are the stored candles of that interval, else made from the trades, else from the last prices of tickers.

    Raises:
        SettingsError: the database knows nothing of the symbol or an exchange, or there are no prices.
        StoreError: it cannot be read.
    """
    demand(db, "candles", exchanges, [symbol])
    found = [one for market in markets(db, exchanges, [symbol]) if (one := _series(db, market, scale)).bars]
    silent = sorted({*exchanges} - {one.exchange for one in found})
    if silent or not found:
        raise SettingsError(_missing(db, symbol, scale, silent))
    return found


def _missing(db: Readable, symbol: str, scale: Scale, silent: Sequence[str]) -> str:
    there = sorted({str(part.key[-1]) for _, part in parts(db, "candles", silent, [symbol])})
    where = f" of {', '.join(silent)}" if silent else ""
    what = f"neither {scale.interval} candles, trades nor tickers of {symbol!r}{where} in {db.shown}"
    return f"{what}; there are candles of {', '.join(there)}" if there else what


def _series(db: Readable, market: Part, scale: Scale) -> Series:
    source, bars = "candles", _candles(db, market, scale)
    if not bars:
        source, bars = "trades", _made(db, "trades", market, Making(scale, _trade))
    if not bars:
        source, bars = "ticker", _made(db, "ticker", market, Making(scale, _ticker))
    whole = Series(market.exchange, market.symbol, scale.interval, scale.length, source, bars)
    return whole.tail(scale.limit) if bars else whole


def _candles(db: Readable, market: Part, scale: Scale) -> list[Bar]:
    places = parts(db, "candles", [market.exchange], [market.symbol])
    chosen = [place for place in places if place[1].key[-1] == scale.interval]
    return [_bar(one.row) for lane, part in chosen for one in newest(db, lane, part, scale.limit)]


def _bar(row: Row) -> Bar:
    prices = (Decimal(row[name]) for name in ("open", "high", "low", "close", "volume"))
    return Bar(row["open_time"], row["open_time"], row["open_time"], *prices)


Price = Callable[[Row], tuple[Decimal, Decimal] | None]
"""A row's price, and the amount that was traded at it; None where it tells none."""


def _trade(row: Row) -> tuple[Decimal, Decimal] | None:
    return Decimal(row["price"]), Decimal(row["amount"])


def _ticker(row: Row) -> tuple[Decimal, Decimal] | None:
    """The last price, or the middle of bid and ask."""
    if row["last"] is not None:
        return Decimal(row["last"]), Decimal(0)
    if row["bid"] is None or row["ask"] is None:
        return None
    return EXACT.multiply(EXACT.add(Decimal(row["bid"]), Decimal(row["ask"])), Decimal("0.5")), Decimal(0)


@define
class Making:
    """Bars in the making; prices may come in any order, those of one instant newest first.

    Attributes:
        bars: by their beginning.
    """

    scale: Scale
    price: Price
    bars: dict[Nanos, Bar] = field(factory=dict)

    @property
    def oldest(self) -> Nanos:
        """The beginning of the oldest bar that is wanted, as far as is known."""
        return max(self.bars, default=0) - (self.scale.limit - 1) * self.scale.length

    def add(self, rows: Iterable[Found]) -> None:
        """Take more prices in, and forget the bars that these make too old."""
        for one in rows:
            told = self.price(one.row)
            if told is not None:
                self._add(one.moment, *told)
        oldest = self.oldest
        self.bars = {opened: bar for opened, bar in self.bars.items() if opened >= oldest}

    def _add(self, at: Nanos, price: Decimal, amount: Decimal) -> None:
        opened = at - at % self.scale.length
        bar = self.bars.get(opened)
        if bar is None:
            self.bars[opened] = Bar(opened, at, at, price, price, price, price, amount)
            return
        bar.high, bar.low = max(bar.high, price), min(bar.low, price)
        bar.volume = EXACT.add(bar.volume, amount)
        if at <= bar.first:
            bar.first, bar.open = at, price
        if at > bar.last:
            bar.last, bar.close = at, price


def _made(db: Readable, kind: str, market: Part, making: Making) -> list[Bar]:
    for lane in db.lanes[kind]:
        _walk(db, lane, market, making)
    return [making.bars[opened] for opened in sorted(making.bars)]


def _walk(db: Readable, lane: Lane, market: Part, making: Making) -> None:
    """Take rows in from the newest back, until they are too old."""
    for found, latest in backwards(db, lane, market, making.scale.length):
        making.add(found)
        if latest < making.oldest:
            return
