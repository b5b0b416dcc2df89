"""The way of a soak through the fault matrix: at random, and the same again with the same seed. Pure.

In its first half everything may happen. In its second half our process must live, so that it can be told whether what
it needs grows with its age.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from random import Random

from attrs import frozen

FAR_END = {
    "cut by RST": ["cut,at={at},how=reset"],
    "cut by FIN": ["cut,at={at},how=drop"],
    "close frame": ["cut,at={at},how=close"],
    "stall": ["stall,at={at},for={lasting}"],
    "partition": ["partition,at={at},for={lasting}"],
    "refused": ["refuse,at={at},for={lasting}", "cut,at={at}"],
    "slow": ["slow,at={at},for={lasting},rate=5000"],
    "429": ["429,at={at},for={lasting},retry_after=1", "cut,at={at}"],
    "418": ["418,at={at},for={lasting},retry_after=1", "cut,at={at}"],
    "5xx": ["5xx,at={at},for={lasting}", "cut,at={at}"],
    "ack and silence": ["ack-and-silence,at={at},for={lasting}"],
    "duplicate": ["repeat,at={at},for={lasting},share=0.2"],
    "reorder": ["reorder,at={at},for={lasting},share=0.2"],
    "skip": ["skip,at={at},for={lasting},share=0.1"],
    "garble": ["garble,at={at},for={lasting},share=0.1"],
    "unknown kind": ["unknown,at={at},for={lasting},share=0.1"],
    "10 MB frame": ["huge,at={at}"],
}
"""What the far end does wrong."""
ENDS = ("SIGTERM", "SIGKILL")
"""What our own process does not outlive."""
NEAR_END = (*ENDS, "SIGSTOP", "locked", "EIO")
"""What befalls it and its database."""
CHAPTER = 120.0
"""Seconds after which the far end begins anew, with the next faults."""
PAUSE = 5.0
"""Seconds between two faults on the average."""


@frozen
class Step:
    """One fault; seconds since the chapter's beginning."""

    name: str
    at: float
    lasting: float


@frozen
class Chapter:
    """Faults for one life of the far end.

    Attributes:
        length: seconds.
    """

    length: float
    steps: Sequence[Step]

    @property
    def specs(self) -> list[str]:
        """What the far end is told."""
        told = [(step, spec) for step in self.steps for spec in FAR_END.get(step.name, ())]
        return [spec.format(at=f"{step.at:.3f}", lasting=f"{step.lasting:.3f}") for step, spec in told]

    @property
    def acts(self) -> list[Step]:
        """What is done to our own process."""
        return [step for step in self.steps if step.name in NEAR_END]


def chapters(seconds: float, seed: int) -> Iterator[Chapter]:
    """A walk of so many seconds: every fault once before any comes again, then in another order."""
    random, names = Random(seed), _names(Random(seed))
    pause, begin = min(PAUSE, seconds / 4), 0.0
    while begin < seconds:
        length = min(seconds - begin, CHAPTER)
        steps, at = [], pause
        while at < length - pause / 2:
            name = next(name for name in names if name not in ENDS or begin + at < seconds / 2)
            steps.append(Step(name, at, random.uniform(0.2, 0.8) * pause))
            at += random.uniform(0.5, 1.5) * pause
        begin += length
        yield Chapter(length, steps)


def _names(random: Random) -> Iterator[str]:
    for _ in count():
        yield from random.sample([*FAR_END, *NEAR_END], len(FAR_END) + len(NEAR_END))
