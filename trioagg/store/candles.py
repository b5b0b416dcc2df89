"""Candles made from trades, each with how much of its interval is covered: a reading of the rows, made when asked.

Nothing of it is stored, so that a repaired hole changes its candle by itself. An interval without trades has no candle:
where time is covered, nothing was traded then; elsewhere nobody knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal

from attrs import fields, frozen

from trioagg.integrity.agreement import union
from trioagg.integrity.candles import Evidence, Status, Trail, connected
from trioagg.integrity.continuity import Run
from trioagg.model import Nanos
from trioagg.store.audit import numbered_parts
from trioagg.store.lives import lives
from trioagg.store.order import ABOVE, Part, Row, Span
from trioagg.store.readable import Readable
from trioagg.store.seek import demand, markets, newest, steps
from trioagg.store.sums import Sum, Sums
from trioagg.store.times import counted, uncounted


@frozen
class TradeBar:
    """A candle made from trades, as it is shown.

    Attributes:
        interval: its length as the user names it.
        open_time: its first instant, nanoseconds UTC.
        volume: base currency.
        trades: how many.
        covered: seconds of the interval in which nothing is known to be missing; its whole length if that is all of it.
        received: when the newest of its trades arrived, nanoseconds UTC.
    """

    exchange: str
    symbol: str
    interval: str
    open_time: Nanos
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int
    covered: float
    status: Status
    received: Nanos


BARS = tuple(field.name for field in fields(TradeBar))
"""The columns of a candle made from trades."""

Place = tuple[Part, Span]
"""Intervals of a market, whole ones."""


@frozen
class Candles:
    """Candles of one length, read from the trades of a store.

    Attributes:
        interval: as the user names it.
        length: the same in nanoseconds.
        counting: the exchanges that count the trades of each market up by one.
    """

    db: Readable
    interval: str
    length: Nanos
    counting: Collection[str]

    def newest(self, exchanges: Sequence[str], symbols: Sequence[str], limit: int) -> list[Row]:
        """The newest candles, market after market, oldest first.

        Args:
            exchanges: only these; empty for all.
            symbols: only these; empty for all.
            limit: so many intervals of each market, those in which nothing happened included.

        Raises:
            SettingsError: the database knows nothing of an exchange or symbol.
            StoreError: it cannot be read.
        """
        demand(self.db, "trades", exchanges, symbols)
        chosen = markets(self.db, exchanges, symbols)
        places = [(market, span) for market in chosen for span in self.ending(market, limit)]
        return [row for _, rows in self.read(places) for row in self.tail(rows, limit)]

    def within(self, exchanges: Sequence[str], symbols: Sequence[str], span: Span) -> Iterator[Row]:
        """The candles that begin in a range of times, market after market, oldest first.

        Raises:
            SettingsError, StoreError: see ``newest``.
        """
        demand(self.db, "trades", exchanges, symbols)
        whole = Span(*(-(-time // self.length) * self.length for time in span))
        places = [(market, whole) for market in markets(self.db, exchanges, symbols)]
        return (row for _, rows in self.read(places) for row in rows)

    def read(self, places: Sequence[Place]) -> Iterator[tuple[Part, Sequence[Row]]]:
        """The candles of some places, oldest first.

        Raises:
            StoreError: see ``newest``.
        """
        since = min((span.first for _, span in places), default=ABOVE)
        names = {market.exchange for market, _ in places}
        listened = {name: connected(lives(self.db, name, since)) for name in sorted(names)}
        return ((market, self._rows(market, span, listened)) for market, span in places)

    def ending(self, market: Part, limit: int) -> Iterator[Span]:
        """Where the newest candles lie, if there are any; under ids that mean nothing it begins too early."""
        if ends := [one.moment for lane in self.db.lanes["trades"] for one in newest(self.db, lane, market, 1)]:
            yield Span(self.opened(max(ends)) - (limit - 1) * self.length, ABOVE)

    def tail(self, rows: Sequence[Row], limit: int) -> Sequence[Row]:
        """Those of the newest intervals."""
        oldest = rows[-1]["open_time"] - (limit - 1) * self.length
        return [row for row in rows if row["open_time"] >= oldest]

    def opened(self, at: Nanos) -> Nanos:
        """The first instant of the interval that a time lies in."""
        return at - at % self.length

    def _rows(self, market: Part, span: Span, listened: Mapping[str, Sequence[Run]]) -> list[Row]:
        with self.db.snapshot():
            sums, trail = self._added(market, span)
        evidence = Evidence.of(trail, listened[market.exchange])
        return [self._row(market, opened, sums.found[opened], evidence) for opened in sorted(sums.found)]

    def _added(self, market: Part, span: Span) -> tuple[Sums, Trail]:
        filled = union((first, last) for fate, first, last in numbered_parts(self.db, market) if fate == "filled")
        sums, trail = Sums(self.length, span, filled), Trail()
        if market.exchange in self.counting:
            for one in counted(self.db, market, span, self.length):
                trail.see(one.position[0], one.moment)
                sums.add(one)
        else:
            for one in uncounted(self.db, market, span, self.length):
                sums.add(one)
        _, by_time = self.db.lanes["trades"]
        for one in steps(self.db, by_time, market, span):
            sums.add(one)
        return sums, trail

    def _row(self, market: Part, opened: Nanos, traded: Sum, evidence: Evidence) -> Row:
        covered, status = evidence.judge(opened, opened + self.length, late=traded.late)
        prices = (f"{price:f}" for price in (traded.open, traded.high, traded.low, traded.close, traded.volume))
        told = (market.exchange, market.symbol, self.interval, opened, *prices)
        return dict(zip(BARS, (*told, traded.trades, covered / 10**9, status, traded.received), strict=True))
