"""What the ledger tells and is told: gaps, losses, the lives of connections, clocks."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from trioagg.model.events import Event, Nanos, Packed

GapStatus = Literal["open", "filled", "unfillable"]
"""``open``: may still be filled; ``unfillable``: the exchange no longer has it."""

Road = Literal["stream", "rest", "replay"]
"""How an event reached the store: a connection brought it, REST told it when asked, or it was in a capture."""


@frozen
class Part:
    """Consecutive ids of one gap that share a fate.

    Attributes:
        first, last: inclusive.
        closed: when it was filled or given up, nanoseconds UTC; None while open.
        filled_by: by what; None unless filled.
    """

    first: int
    last: int
    status: GapStatus
    closed: Nanos | None
    filled_by: Road | None = None


@frozen
class Gap:
    """Ids that were missing when the gap was detected, and what has become of them since.

    Where an exchange does not count its trades, it is a stretch of time in which nothing proves that none is missing.

    Attributes:
        first, last: the ids that were missing then, inclusive; of a stretch, the times of the trades that are stored at
            both its ends, nanoseconds UTC.
        cause: why, in a few words.
        detected: when, nanoseconds UTC.
        parts: all of it, in order, by fate; a stretch has one.
        between: of a stretch, the ids of the trades at both its ends, as text; else None.
    """

    exchange: str
    symbol: str
    channel: str
    first: int
    last: int
    cause: str
    detected: Nanos
    parts: tuple[Part, ...]
    between: tuple[str, str] | None = None

    @property
    def missing(self) -> int:
        """How many ids may still be filled."""
        return sum(part.last - part.first + 1 for part in self.parts if part.status == "open")

    @property
    def open(self) -> bool:
        """Whether any of it may still be filled."""
        return any(part.status == "open" for part in self.parts)

    @property
    def lacking(self) -> bool:
        """Whether any of it is not there, given up or not."""
        return any(part.status != "filled" for part in self.parts)


class Loss(Packed, frozen=True):
    """Something of a channel that never came and cannot be asked for: the exchange's own count, or a checksum, tells.

    Attributes:
        first, last: the numbers that are missing, inclusive; None where the exchange does not count.
        cause: why, in a few words.
        received: when it was noticed, our time, nanoseconds UTC.
    """

    exchange: str
    symbol: str
    channel: str
    first: int | None
    last: int | None
    cause: str
    received: Nanos


class Forgone(Packed, frozen=True):
    """Trades that are missing and that the exchange does not tell any more.

    Attributes:
        first, last: their ids, inclusive; or the ends of a stretch, see ``Gap``.
        received: when it was found out, our time, nanoseconds UTC.
    """

    exchange: str
    symbol: str
    first: int
    last: int
    received: Nanos


class Bridged(Packed, frozen=True):
    """REST told all the trades of a stretch, from one that was stored before it to one that was stored after it.

    Attributes:
        first, last: the ends of the stretch, see ``Gap``.
        received: when it was found out, our time, nanoseconds UTC.
    """

    exchange: str
    symbol: str
    first: Nanos
    last: Nanos
    received: Nanos


class Consulted(Packed, frozen=True):
    """An answer of REST to a question for trades follows: they come out of their turn.

    Attributes:
        received: the arrival of the answer and of each trade in it, our time, nanoseconds UTC.
    """

    exchange: str
    received: Nanos


class Session(Packed, frozen=True):
    """One connection from its beginning to its end, so that quiet can be told from disconnected.

    Attributes:
        connection: which of the exchange's connections, ``ws-1``; ``ws-1b`` carries the same beside it.
        subscriptions: how many it carries.
        opened, closed: our time, nanoseconds UTC; ``closed`` is None while it lives, or where nobody knows.
        reason: why it ended; empty while it lives, ``killed`` where its process ended without a word.
        missed: how many trades it did not bring of those between its first and its last of each market, whoever else
            brought them; None while it lives, and where the exchange does not count its trades.
    """

    exchange: str
    connection: str
    subscriptions: int
    opened: Nanos
    closed: Nanos | None
    reason: str
    missed: int | None = None


class Carried(Packed, frozen=True):
    """A connection begins to carry the trades of some markets.

    Attributes:
        received: when, our time, nanoseconds UTC.
    """

    exchange: str
    symbols: tuple[str, ...]
    received: Nanos


class Broken(Packed, frozen=True):
    """The trades of some markets that come next may not follow on those that came last: something may lie between.

    Attributes:
        cause: why, in a few words.
        received: when it was noticed, our time, nanoseconds UTC.
    """

    exchange: str
    symbols: tuple[str, ...]
    cause: str
    received: Nanos


class ClockCheck(Packed, frozen=True):
    """How an exchange's clock and ours compare; None where it cannot be told.

    Attributes:
        offset: its clock less ours, by its time endpoint, nanoseconds.
        uncertainty: by how much that may be wrong either way, nanoseconds.
        lag: the least that a trade's arrival by our clock was after its time by the exchange's, since the last check,
            nanoseconds; less than zero where our clock is behind.
        received: our time, nanoseconds UTC.
    """

    exchange: str
    offset: Nanos | None
    uncertainty: Nanos | None
    lag: Nanos | None
    received: Nanos


Note = Loss | Forgone | Bridged | Consulted | Carried | Broken | Session | ClockCheck
"""What the ledger is told beside events: no event, and not counted as one."""

NOTES = frozenset({Loss, Forgone, Bridged, Consulted, Carried, Broken, Session, ClockCheck})

Record = Event | Note
"""All that flows."""
