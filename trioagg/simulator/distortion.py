"""What faults do to single frames: pure, one connection at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trioagg.simulator.faults import Fault, Faults


class Distortion:
    """What the faults do to the frames of one connection.

    Args:
        unknown: makes a frame of a kind that nobody knows.
    """

    def __init__(self, faults: Faults, unknown: Callable[[], bytes]) -> None:
        self._faults, self._unknown = faults, unknown
        self._held: dict[str, bytes] = {}

    def apply(self, frames: list[bytes], elapsed: float) -> list[bytes]:
        """The frames that are sent instead."""
        active = [fault for fault in self._faults.distorting if fault.active(elapsed)]
        if not active:
            return self._flush() + frames if self._held else frames
        return [out for frame in frames for out in self._one(frame, active)]

    def _flush(self) -> list[bytes]:
        held, self._held = list(self._held.values()), {}
        return held

    def _one(self, frame: bytes, active: Sequence[Fault]) -> list[bytes]:
        """One frame after every fault that befalls it: a later one sees what the first one made of it."""
        out = [frame]
        released = self._release(frame)
        for fault in active:
            overtakes = released and fault.kind == "reorder"
            if out and not overtakes and self._faults.chance(fault, frame):
                out = self._strike(fault.kind, out)
        return out + released

    def _release(self, frame: bytes) -> list[bytes]:
        """The trade that was held back for this one to overtake."""
        if not self._held or (trade := self._faults.trade(frame)) is None:
            return []
        held = self._held.pop(trade[0], None)
        return [] if held is None else [held]

    def _strike(self, kind: str, out: list[bytes]) -> list[bytes]:
        trade = self._faults.trade(out[0])
        if kind == "reorder" and (trade is None or trade[0] in self._held):
            return out
        self._faults.statistics.faults[kind] += 1
        match kind:
            case "skip":
                self._faults.lose(out[0])
            case "garble":
                self._faults.lose(out[0])
                return [out[0][: len(out[0]) // 2], *out[1:]]
            case "extra":
                return [_enriched(out[0]), *out[1:]]
            case "repeat":
                return [out[0], *out]
            case "unknown":
                return [*out, self._unknown()]
            case _ if trade:  # reorder
                self._held[trade[0]] = out[0]
        return out[1:]


def _enriched(frame: bytes) -> bytes:
    """A JSON object with one field more, in its innermost last object."""
    stem = frame.rstrip(b"}")
    return stem + b',"newField":{"a":[1,null]}' + b"}" * (len(frame) - len(stem))
