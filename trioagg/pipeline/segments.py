"""What waits for a sink, as files: a queue of records in a folder, for one thread at a time.

A segment, ``00000001.spool``, is a row of frames. It is only ever appended to, and deleted when all of it was
delivered; ``delivered`` says how far that has come in the oldest one. What is appended is with the operating system at
once, so that the end of the process, by any signal, costs nothing; on the disk for certain (fsync) it is when its
segment is full, and at a stop. So a power cut may cost up to a segment: a torn end is cut off at the next start.
The folder is its owner's alone, and held by one process at a time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, field, frozen

from trioagg.errors import StoreError
from trioagg.model import Record
from trioagg.pipeline.held import held, private
from trioagg.pipeline.packing import events, frame, frames, heads, payload

SEGMENT = 16_000_000
"""Bytes from which on a segment is full; a sixteenth of the bound where that is less."""

DELIVERED = "delivered"
LOCK = "lock"


class Full(Exception):
    """Nothing was added, for a reason that may pass: the bound is reached, or the disk takes nothing."""


@frozen(order=True)
class Mark:
    """A place in the queue: a segment's number, and bytes from its beginning."""

    segment: int = 0
    offset: int = 0


@frozen
class Batch:
    """Records from the head of the queue.

    Attributes:
        events: how many of the records are no notes.
        end: the place after them.
        earlier: whether an earlier run left them.
    """

    records: list[Record]
    events: int
    end: Mark
    earlier: bool


@frozen
class Damage:
    """The rest of a segment that cannot be read, and was moved aside.

    Attributes:
        events: how many were in it.
        path: where it is.
        end: the place after it.
        earlier: whether an earlier run left it.
    """

    events: int
    path: Path
    end: Mark
    earlier: bool


@define
class Segment:
    """One file.

    Attributes:
        size: bytes.
        events: those in it, delivered or not.
        earlier: whether it was there when the queue was opened.
    """

    path: Path
    size: int = 0
    events: int = 0
    earlier: bool = False


@frozen
class Found:
    """What an earlier run left.

    Attributes:
        done, end: the places where it begins and ends.
        events: how many were not delivered.
        torn: bytes that were cut off.
    """

    done: Mark
    end: Mark
    events: int
    torn: int


@define(eq=False)
class Segments:
    """The queue; who reads it says how far it was delivered.

    Attributes:
        limit: bytes that it may hold.
    """

    folder: Path
    limit: int
    _segments: dict[int, Segment] = field(factory=dict, init=False)
    _next: int = field(default=1, init=False)
    _file: int | None = field(default=None, init=False)
    _lock: int | None = field(default=None, init=False)

    def open(self) -> Found:
        """Take the folder, which need not be there.

        Raises:
            StoreError: another process has it, or it cannot be used.
        """
        try:
            self.folder.parent.mkdir(mode=0o700, exist_ok=True)
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = held(self.folder / LOCK)
            return self._find()
        except OSError as error:
            self._release()
            raise StoreError(f"{self.folder}: {error.strerror or error}") from None

    def append(self, records: Sequence[Record]) -> Mark:
        """Add records at the end.

        Returns:
            The place after them.

        Raises:
            Full: nothing was added.
        """
        added = frames(records)
        if sum(segment.size for segment in self._segments.values()) + len(added) > self.limit:
            raise Full(f"it holds as much as it may, {self.limit / 1e6:g} MB")
        try:
            segment = self._newest()
            self._write(segment, added)
        except OSError as error:
            raise Full(f"{self.folder}: {error.strerror or error}") from None
        segment.size += len(added)
        segment.events += events(records)
        return Mark(self._next - 1, segment.size)

    def read(self, done: Mark, most: int) -> Batch | Damage | None:
        """The records after a place, ``most`` or up to a frame more, all of one segment; None when there are none.

        Raises:
            OSError: not now.
        """
        self._forget(done)
        number = min(self._segments, default=None)
        if number is None:
            return None
        segment, place, records = self._segments[number], _start(number, done), list[Record]()
        with segment.path.open("rb") as file:
            file.seek(place)
            while len(records) < most and place < segment.size and (more := frame(file)):
                records += more
                place = file.tell()
        if not records:
            return self._set_aside(number, place)
        return Batch(records, events(records), Mark(number, place), segment.earlier)

    def close(self, done: Mark) -> None:
        """Keep what was not delivered, for certain; leave no trace where all was.

        Raises:
            StoreError: it is not certain.
        """
        try:
            self._seal()
            self._forget(done)
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror or error}") from None
        finally:
            self._release()

    def _find(self) -> Found:
        done, torn, waiting = _mark(self.folder / DELIVERED), 0, 0
        paths = sorted(self.folder.glob("*.spool"))
        for path in paths:
            number, size = int(path.stem), path.stat().st_size
            ends = _ends(path, size, checked=path is paths[-1])
            whole = ends[-1][0] if ends else 0
            if whole < size:
                os.truncate(path, whole)
                torn += size - whole
            self._segments[number] = Segment(path, whole, sum(count for _, count in ends), earlier=True)
            waiting += sum(count for end, count in ends if Mark(number, end) > done)
        numbers = [int(path.stem) for path in self.folder.iterdir() if path.stem.isdigit()]
        self._next = max([done.segment, *numbers]) + 1
        last = max(self._segments, default=None)
        return Found(done, Mark(last, self._segments[last].size) if last is not None else done, waiting, torn)

    def _newest(self) -> Segment:
        """The segment to append to: begun by this run, and not full."""
        if self._file is not None and self._segments[self._next - 1].size >= min(SEGMENT, self.limit // 16):
            self._seal()
        if self._file is None:
            path = self.folder / f"{self._next:08}.spool"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            self._segments[self._next] = Segment(path)
            self._next += 1
        return self._segments[self._next - 1]

    def _write(self, segment: Segment, added: bytes) -> None:
        """Append all, or leave the file as it was."""
        assert self._file is not None
        try:
            os.lseek(self._file, segment.size, os.SEEK_SET)
            left = memoryview(added)
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            os.ftruncate(self._file, segment.size)
            raise

    def _seal(self) -> None:
        """Append no more to the newest segment, and have it on the disk for certain."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def _forget(self, done: Mark) -> None:
        """Delete what was delivered, and write down how far that has come."""
        for number in [number for number, segment in self._segments.items() if Mark(number, segment.size) <= done]:
            if number == self._next - 1:
                self._seal()
            self._segments.pop(number).path.unlink(missing_ok=True)
        if done.segment in self._segments:
            _write_mark(self.folder / DELIVERED, done)

    def _set_aside(self, number: int, place: int) -> Damage:
        """Keep what cannot be read for a person to look at."""
        if number == self._next - 1:
            self._seal()
        segment = self._segments.pop(number)
        before = sum(count for _, count in _ends(segment.path, place, checked=False))
        path = segment.path.rename(segment.path.with_suffix(".damaged"))
        return Damage(segment.events - before, path, Mark(number, segment.size), segment.earlier)

    def _release(self) -> None:
        """Give the folder back; an empty one goes."""
        if self._lock is None:
            return
        with suppress(OSError):  # one that holds something stays
            if not self._segments:
                (self.folder / DELIVERED).unlink(missing_ok=True)
                (self.folder / LOCK).unlink()
                self.folder.rmdir()
                self.folder.parent.rmdir()
        os.close(self._lock)
        self._lock = None


def _start(number: int, done: Mark) -> int:
    """Where in the oldest segment the first record is that was not delivered."""
    return done.offset if done.segment == number else 0


def _ends(path: Path, size: int, *, checked: bool) -> list[tuple[int, int]]:
    """The end and the events of each whole frame within so many bytes; with ``checked``, of those that are sound."""
    ends: list[tuple[int, int]] = []
    with path.open("rb") as file:
        for end, count in heads(file, size):
            if checked:
                file.seek(ends[-1][0] if ends else 0)
                if payload(file) is None:
                    break
            ends.append((end, count))
    return ends


def _mark(path: Path) -> Mark:
    """How far it was delivered, as it was written down; from the beginning where that cannot be read."""
    try:
        segment, offset = path.read_text(encoding="ascii").split()
        return Mark(int(segment), int(offset))
    except (FileNotFoundError, ValueError):
        return Mark()


def _write_mark(path: Path, done: Mark) -> None:
    fresh = path.with_suffix(".new")
    with open(fresh, "w", encoding="ascii", opener=private) as file:
        file.write(f"{done.segment} {done.offset}\n")
    fresh.replace(path)
