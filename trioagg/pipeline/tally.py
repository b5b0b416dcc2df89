"""The account of one run: what came in, and where each of it went."""

from __future__ import annotations

from attrs import asdict, define, field


@define
class Tally:
    """Counts of events: ``received = stored + duplicates + quarantined + conflated + lost`` holds at every stop.

    Attributes:
        received: normalised events, and each quarantined frame as one.
        stored: rows that this run added.
        duplicates: events whose row was there already (a candle's later state updates its row).
        quarantined: frames that could not be understood, kept whole.
        conflated: tickers and books that a newer one replaced before they were stored.
        lost: events that a stop could not store.
    """

    received: int = 0
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    conflated: int = 0
    lost: int = 0

    def conflate(self, count: int) -> None:
        """Count events that newer ones replaced."""
        self.conflated += count

    def add(self, other: Tally) -> None:
        """Count what another process counted."""
        for name, count in other.counts().items():
            setattr(self, name, getattr(self, name) + count)

    def counts(self) -> dict[str, int]:
        """By name, in the order of the last line."""
        return asdict(self)


@define
class SinkTally(Tally):
    """The account of a sink beside the database: what waits in its spool counts too, so that it adds up.

    Attributes:
        spooled: events that this run put into the spool and that wait there for the next run.
        belated: events of earlier runs that this one delivered; not among those received.
    """

    spooled: int = 0
    belated: int = 0


@define
class LoadTally(Tally):
    """The account of a store that is loaded from a log: what it did not take is still there."""

    @property
    def left(self) -> int:
        """Events that were received and not stored; whoever loads next receives them again."""
        return self.received - self.stored - self.duplicates - self.quarantined

    def counts(self) -> dict[str, int]:
        """See ``Tally.counts``."""
        return {**super().counts(), "left": self.left}


@define
class Outcome:
    """How a run or a replay ended.

    Attributes:
        tally: the account of the database.
        beside: the accounts of further sinks, by name, else by URL without its secrets; each adds up by itself.
        failures: what failed, a line each.
        drift: frames looked at that held fields which nobody knows.
    """

    tally: Tally = field(factory=Tally)
    beside: dict[str, SinkTally] = field(factory=dict)
    failures: list[str] = field(factory=list)
    drift: int = 0

    def add(self, other: Outcome) -> None:
        """Account for what another process did."""
        self.tally.add(other.tally)
        for url, tally in other.beside.items():
            self.beside.setdefault(url, SinkTally()).add(tally)
        self.failures += other.failures
        self.drift += other.drift

    @property
    def problems(self) -> list[str]:
        """What failed or was lost, a line each; empty when everything received is stored or accounted for."""
        tallies = [("the database", self.tally), *self.beside.items()]
        lost = [f"{tally.lost} events were not stored in {where}" for where, tally in tallies if tally.lost]
        return [*self.failures, *lost]
