"""When it costs less to let a feed's frames gather before the next read, and the nap that they gather in."""

from __future__ import annotations

import trio
from attrs import define

BRISK = 0.0005
"""Seconds between frames below which a feed is brisk."""
WORTH = 3
"""Frames that a rest must bring to be followed by another."""


@define
class Pace:
    """Whether a feed is so brisk that it costs less to let its frames gather before the next read.

    Attributes:
        resting: rest before the next read.
    """

    resting: bool = False
    _soon: int = 0

    def waited(self, seconds: float) -> None:
        """A read waited so long for its bytes."""
        self._soon = self._soon + 1 if seconds < BRISK else 0

    def brought(self, frames: int) -> None:
        """A read brought so many frames: one or two at a time, one upon the other, begin a rest."""
        self.resting = frames >= WORTH if self.resting else self._soon > WORTH and 0 < frames < WORTH


async def nap(seconds: float) -> None:
    """Sleeps; whoever is cancelled meanwhile wakes at once, and hears of it at the next checkpoint.

    ``trio.sleep`` ends by an exception, raised and caught anew each time; here its deadline only wakes the task.
    """
    task = trio.lowlevel.current_task()

    def wake(_: object) -> trio.lowlevel.Abort:
        trio.lowlevel.reschedule(task)
        return trio.lowlevel.Abort.FAILED

    with trio.CancelScope(deadline=trio.current_time() + seconds):
        await trio.lowlevel.wait_task_rescheduled(wake)
