"""Files that are the owner's alone, and held by one process at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PRIVATE = 0o600

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def private(path: str, flags: int) -> int:
    """An opener for files that nobody else may read."""
    return os.open(path, flags, PRIVATE)


def held(path: Path) -> int:
    """Open a lock file, and lock it until that is closed.

    Raises:
        OSError: another process holds it, or it cannot be opened.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE)
    try:
        _lock(file)
        if os.fstat(file).st_ino != path.stat().st_ino:
            raise BlockingIOError("its last holder was just leaving")
    except OSError as error:
        os.close(file)
        raise BlockingIOError(f"another run uses it: {error}") from None
    return file
