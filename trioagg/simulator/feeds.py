"""What one connection gets next: out of a market at any time, or off the tape of a recording that is playing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from trioagg.model import Nanos
from trioagg.simulator import Session

BEHIND = 30.0
"""Seconds that a client may be late before it is disconnected."""
SLICE = 5_000_000
"""Nanoseconds of market within which streams take turns."""
TURN = 100 * SLICE
"""Nanoseconds of market that are told at once: a busy machine comes by too seldom for a slice each time."""
MANY = 2_000
"""Frames that are enough at once."""
WINDOW = 100_000
"""Frames of a recording that are kept for clients that are late."""


class Feed(Protocol):
    """The frames of one connection, in order."""

    def take(self, wall: Nanos) -> Iterator[tuple[Nanos, list[bytes]]]:
        """The next frames, not all of them if there are very many, by when they were due."""
        ...

    def skip(self, wall: Nanos) -> None:
        """Leave out everything up to now."""

    def more(self, wall: Nanos) -> bool:
        """Whether there is more to take at once."""
        ...

    def late(self, wall: Nanos) -> bool:
        """Whether it lags too far behind to go on."""
        ...


class MarketFeed:
    """A place in the time of a made-up market: each stream is in order, and streams take turns within ``SLICE``."""

    def __init__(self, session: Session, wall: Nanos) -> None:
        self._session, self._cursor = session, wall

    def take(self, wall: Nanos) -> Iterator[tuple[Nanos, list[bytes]]]:
        """The frames of the next slices."""
        end, count = min(wall, self._cursor + TURN), 0
        while self._cursor < end and count < MANY:
            start, self._cursor = self._cursor, min(end, self._cursor + SLICE)
            frames = self._session.frames(start, self._cursor)
            count += len(frames)
            yield start, frames

    def skip(self, wall: Nanos) -> None:
        """Go on from now."""
        self._cursor = wall

    def more(self, wall: Nanos) -> bool:
        """Whether a whole slice is due."""
        return wall - self._cursor > SLICE

    def late(self, wall: Nanos) -> bool:
        """Whether the place is too long ago."""
        return wall - self._cursor > BEHIND * 1e9


class Tape:
    """The last frames of a recording that were played; ``end`` is the number of all so far."""

    def __init__(self) -> None:
        self.end = 0
        self._frames: deque[tuple[str, bytes]] = deque(maxlen=WINDOW)

    def add(self, stream: str, data: bytes) -> None:
        """Play one frame."""
        self._frames.append((stream, data))
        self.end += 1

    @property
    def start(self) -> int:
        """The number of the oldest frame that is still there."""
        return self.end - len(self._frames)

    def piece(self, first: int) -> list[tuple[str, bytes]]:
        """Some frames from number ``first`` on."""
        frames, skip = self._frames, first - self.start
        return [frames[index] for index in range(skip, min(len(frames), skip + MANY))]


class TapeFeed:
    """A place on a tape."""

    def __init__(self, session: Session, tape: Tape) -> None:
        self._session, self._tape, self._next = session, tape, tape.end

    def take(self, wall: Nanos) -> Iterator[tuple[Nanos, list[bytes]]]:
        """The next frames that the session wants, due now."""
        piece = self._tape.piece(self._next)
        self._next += len(piece)
        played = (self._session.played(stream, data) for stream, data in piece)
        yield wall, [frame for frame in played if frame is not None]

    def skip(self, wall: Nanos) -> None:
        """Go on with what is played next."""
        self._next = self._tape.end

    def more(self, wall: Nanos) -> bool:
        """Whether the tape has run on."""
        return self._next < self._tape.end

    def late(self, wall: Nanos) -> bool:
        """Whether the next frame has gone from the tape."""
        return self._next < self._tape.start
