"""What the database lacks, for those who can fetch it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from attrs import define, field

from trioagg.integrity.continuity import Run
from trioagg.integrity.ledger import Ledger
from trioagg.model import Gap, Nanos

Around = Callable[[str, str, Run], Awaitable[tuple[Nanos | None, Nanos | None]]]
"""(exchange, symbol, ids) → the times of the stored trades on both sides of them."""


@define(eq=False)
class Holes:
    """The database's ledger as the repairs see it: the writer tells when it changed, they look what is missing.

    Attributes:
        around: asks the database.
        changed: set when gaps were opened, filled or given up since it was looked up.
    """

    ledger: Ledger
    around: Around
    changed: trio.Event = field(factory=trio.Event)

    def tell(self) -> None:
        """The ledger has changed."""
        self.changed.set()
        self.changed = trio.Event()

    def of(self, exchange: str) -> list[Gap]:
        """The gaps of an exchange, those that were noticed last first."""
        gaps = [gap for gap in self.ledger.unfilled(exchange) if gap.open]
        return sorted(gaps, key=lambda gap: (gap.detected, gap.last), reverse=True)
