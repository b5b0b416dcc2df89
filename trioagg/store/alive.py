"""Which of the connections without an end are alive: those of a process that is, on this host and of this user.

A connection's life is a lock on one byte of a file: the one whose number is the nanosecond in which it was opened. The
system lets it go with the process, however that ends.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from attrs import define, field

from trioagg import host
from trioagg.model import Nanos

_held: dict[Nanos, int] = {}
"""What this process has locked, in which open file: to try such a lock again would be to get it, and to let it go."""


@define(eq=False)
class Lives:
    """The lives that one store was told of by this process.

    Where there is no folder for locks, nobody learns of them, and they are taken for dead until they end.
    """

    _ours: set[Nanos] = field(factory=set, init=False)

    def begin(self, opened: Nanos) -> None:
        """A connection lives from now on."""
        self._ours.add(opened)
        with suppress(OSError):
            if opened not in _held:
                file = _file(host.folder())
                host.lock(file, opened)
                _held[opened] = file

    def end(self, opened: Nanos) -> None:
        """It does not any more."""
        self._ours.discard(opened)
        if file := _held.pop(opened, 0):
            host.unlock(file, opened)

    def close(self) -> None:
        """The store is told nothing any more: what had no end until now was killed."""
        for opened in list(self._ours):
            self.end(opened)


def alive(opened: Nanos) -> bool:
    """Whether a connection's process lives."""
    if opened in _held:
        return True
    try:
        file = _file(host.folder())
    except OSError:
        return False
    try:
        host.lock(file, opened)
    except OSError:
        return True
    host.unlock(file, opened)
    return False


@cache
def _file(folder: Path) -> int:
    """Open for as long as the process lives, since closing it once lets every lock go."""
    file = os.open(folder / "lives", os.O_RDWR | os.O_CREAT, 0o600)
    os.utime(file)  # what clears temporary files away goes by their age
    return file
