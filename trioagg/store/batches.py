"""A batch into whatever keeps rows: what every SQL store does alike, inside one transaction of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

from attrs import define, field, frozen

from trioagg.integrity.ledger import Ask, Entries, Known
from trioagg.model import Event, Nanos
from trioagg.store.alive import Lives, alive
from trioagg.store.cells import Beside, Cells, Instant, Market, Moments, beside, newest, numbered
from trioagg.store.kinds import KINDS, Kind, parted

REMEMBERED = 4_096
"""How many instants of a kind are kept in mind, to number the events of one; those of one read follow each other."""


@frozen
class Counts:
    """What became of a batch's events; the three add up to their number.

    Attributes:
        stored: rows that were added.
        duplicates: events whose row was there already (a later state of a candle among them).
        quarantined: frames that are in quarantine.
        added: (exchange, kind of event) → rows that were added; empty where a sink does not tell.
    """

    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    added: Mapping[tuple[str, type], int] = field(factory=dict, eq=False)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.stored + other.stored,
            self.duplicates + other.duplicates,
            self.quarantined + other.quarantined,
            Counter(self.added) + Counter(other.added),
        )


class Reckoning(Protocol):
    """Says what belongs into the ledger beside a batch; a ``Draft`` does."""

    def entries(self, ask: Ask, *, stale: bool) -> Entries:
        """See ``Draft.entries``."""
        ...


@frozen
class Past:
    """The connections that earlier processes left.

    Attributes:
        unfinished: the ids of those that were killed: they have no end, and their process is none any more. One may
            still come, out of a spool or from another host.
        last: the id of the newest, ended or not.
    """

    unfinished: frozenset[int]
    last: int

    @classmethod
    def of(cls, endless: Iterable[tuple[int, Nanos]], last: int) -> Past:
        """It, by the ids of those without an end and when they were opened."""
        return cls(frozenset(number for number, opened in endless if not alive(opened)), last)

    def killed(self, begun: Iterable[str]) -> list[Cells]:
        """What ``reason`` is told by: each of the unfinished, if it is of one of the exchanges of which one begins."""
        return [(exchange, number) for exchange in begun for number in sorted(self.unfinished)]


class Tables(Protocol):
    """The tables of one store; all but ``transaction`` is asked inside of it."""

    def transaction(self) -> AbstractContextManager[None]:
        """Alone among writers: all of the body or none of it."""
        ...

    def stale(self) -> bool:
        """Whether another writer has written since the last time that this was asked."""
        ...

    def known(self, exchange: str, symbol: str) -> Known:
        """What is stored of a market's trades, and what is known to be missing of them."""
        ...

    def named(self, market: Market) -> int:
        """The id of a market, made if there is none."""
        ...

    def arrived(self, kind: Kind, instant: Instant, count: int) -> list[Cells]:
        """The first rows of one instant, without their ordinals."""
        ...

    def added(self, kind: Kind, rows: Sequence[Cells]) -> int:
        """Keep rows, each once, and say how many were not there."""
        ...

    def note(self, rows: Beside) -> None:
        """Keep what stands beside the rows."""
        ...


@define(eq=False)
class Batches:
    """Writes batches into tables; what it remembers of them counts only once it is committed."""

    _tables: Tables
    _ids: dict[Market, int] = field(factory=dict, init=False)
    _moments: dict[Kind, Moments] = field(init=False)
    _lives: Lives = field(factory=Lives, init=False)

    def __attrs_post_init__(self) -> None:
        self._moments = {kind: {} for kind in KINDS.values()}

    def write(self, batch: Sequence[Event], draft: Reckoning | None) -> Counts:
        """Make a batch durable: all or none, and the same batch again adds nothing."""
        parts, bad = parted(batch)
        met: dict[Kind, Moments] = {}
        tables = self._tables
        with tables.transaction():
            entries = draft.entries(tables.known, stale=tables.stale()) if draft else Entries()
            told = (*parts.values(), entries.gaps, entries.losses)
            markets = {(item.exchange, item.symbol) for part in told for item in part}
            ids = self._identified(markets)
            rows = {kind: kind.rows(events, ids) for kind, events in parts.items()}
            for kind in [kind for kind in rows if kind.arriving]:
                given, arrived = [event.ordinal for event in parts[kind]], partial(tables.arrived, kind)
                rows[kind], met[kind] = numbered(rows[kind], given, self._moments[kind], arrived)
            owners: dict[object, str] = {ids[market]: market[0] for market in markets}
            added = {
                (exchange, kind.record): tables.added(kind, some)
                for kind, made in rows.items()
                for exchange, some in _owned(made, owners).items()
            }
            for session in entries.sessions:
                if session.closed is None:
                    self._lives.begin(session.opened)
            tables.note(beside(bad, entries, ids))
        self._committed(ids, met)
        for session in entries.sessions:
            if session.closed is not None:
                self._lives.end(session.opened)
        stored = sum(added.values())
        return Counts(stored, len(batch) - len(bad) - stored, len(bad), added)

    def forget_markets(self) -> None:
        """Ask for the ids of markets anew: what is behind the tables may be another store now."""
        self._ids = {}

    def close(self) -> None:
        """Nothing more is written."""
        self._lives.close()

    def _identified(self, markets: Iterable[Market]) -> dict[Market, int]:
        """The ids of at least these, made where missing."""
        strangers = sorted(market for market in markets if market not in self._ids)
        return self._ids | {market: self._tables.named(market) for market in strangers} if strangers else self._ids

    def _committed(self, ids: dict[Market, int], met: Mapping[Kind, Moments]) -> None:
        """Believe what the transaction found, now that it is durable."""
        self._ids = ids
        for kind, moments in met.items():
            known = self._moments[kind]
            known.update(moments)
            self._moments[kind] = newest(known, REMEMBERED)


def _owned(rows: list[Cells], owners: Mapping[object, str]) -> dict[str, list[Cells]]:
    """Rows by exchange, in their order; every kind of row begins with its instrument."""
    if len(names := set(owners.values())) == 1:
        return dict.fromkeys(names, rows)
    parts: dict[str, list[Cells]] = {}
    for row in rows:
        parts.setdefault(owners[row[0]], []).append(row)
    return parts
