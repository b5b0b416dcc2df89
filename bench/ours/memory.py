"""What the line holds while its store takes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from attrs import define

from bench.figures import Load, resident
from bench.ours import run
from bench.ours.feed import Watched, collect
from trioagg.integrity.ledger import Draft
from trioagg.model import Event
from trioagg.store import Counts

EVERY = 0.25  # seconds between two looks
WARM = 4  # the stall comes after one part in so many


def stalled(load: Load, seconds: str) -> dict[str, float]:
    """A feed as fast as it goes, whose store stands still for so many seconds in its midst; then all must be stored.

    Returns:
        Memory just before, MB; the most during it, and ever; seconds in all; messages stored, and those that came
        twice, since the connection was replaced meanwhile.
    """
    found: dict[str, float] = {}

    @define(eq=False)
    class Stalled(Watched):
        async def write(self, batch: Sequence[Event], draft: Draft, /) -> Counts:
            if "before" not in found and self.stored >= self.count // WARM:
                found["before"] = found["during"] = resident()
                for _ in range(round(float(seconds) / EVERY)):
                    await trio.sleep(EVERY)
                    found["during"] = max(found["during"], resident())
            written = await super().write(batch, draft)
            found["duplicates"] = found.get("duplicates", 0) + written.duplicates
            return written

    figures = run(lambda: collect([load], Stalled))
    return {**found, "most": figures.rss, "seconds": figures.seconds, "stored": figures.messages}
