"""Schema drift: fields that an exchange's transcript does not know are ignored, counted, and told once each.

Looking at every frame would cost as much as reading it, so of each exchange and second a few are looked at: all of a
quiet feed, a sample of a busy one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import msgspec
import structlog
from attrs import define, field

from trioagg.exchanges import GARBLED
from trioagg.model import Nanos
from trioagg.simulator.transcript import load

log = structlog.get_logger(__name__)

LOOKS = 50
"""Frames of one exchange that are looked at in a second."""
LARGEST = 65_536
"""Bytes of a frame that is looked at: a larger one is a snapshot, whose changes are looked at."""
ROWS = 3
"""Items of a list that are looked at."""
TOLD = 100
"""Unknown fields of one exchange that are told; a hostile far end has more."""
SECOND = 1_000_000_000


@define(eq=False)
class Drift:
    """What has come that nobody knows.

    Attributes:
        frames: looked at, with unknown fields in them.
    """

    frames: int = 0
    _told: dict[str, set[str]] = field(factory=dict)
    _looked: dict[str, tuple[Nanos, int]] = field(factory=dict)

    def look(self, exchange: str, payloads: Sequence[bytes], at: Nanos) -> None:
        """Look at some frames that arrived at ``at``."""
        second = at // SECOND
        before, count = self._looked.get(exchange, (second, 0))
        count = 0 if before != second else count
        some = payloads[: max(LOOKS - count, 0)]
        self._looked[exchange] = second, count + len(some)
        for payload in some:
            if len(payload) <= LARGEST:
                self._see(exchange, payload)

    def _see(self, exchange: str, payload: bytes) -> None:
        try:
            unknown = set(paths(msgspec.json.decode(payload))) - known(exchange)
        except GARBLED:  # quarantined by whoever needed to understand it
            return
        if unknown:
            self.frames += 1
            heard = self._told.setdefault(exchange, set())
            for path in sorted(unknown - heard)[: TOLD - len(heard)]:
                heard.add(path)
                log.warning("schema drift: a field that nobody knows", exchange=exchange, field=path[:100])


def paths(value: object, place: str = "") -> Iterator[str]:
    """Every field of a JSON value, from the outermost in: ``data[].price``."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{place}{name}"
            yield from paths(inner, f"{place}{name}.")
    elif isinstance(value, list):
        for inner in value[:ROWS]:
            yield from paths(inner, f"{place.removesuffix('.')}[].")


@cache
def known(exchange: str) -> frozenset[str]:
    """Every field of every frame in an exchange's transcript."""
    frames = (step.text.encode() for step in load(exchange).steps if step.mark == "<")
    return frozenset(path for frame in frames for path in _readable(frame))


def _readable(frame: bytes) -> Iterator[str]:
    try:
        return paths(msgspec.json.decode(frame))
    except msgspec.DecodeError:
        return iter(())
