"""What one user's processes on one host have in common: a private folder, and locks that end with their process."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path

PRIVATE_FOLDER = 0o700

if sys.platform == "win32":
    import msvcrt

    def lock(file: int, byte: int = 0) -> None:
        """Lock one byte of an open file, there or not.

        Raises:
            OSError: another process has it.
        """
        os.lseek(file, byte, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def unlock(file: int, byte: int = 0) -> None:
        """Let it go."""
        os.lseek(file, byte, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

    def _is_private(found: os.stat_result) -> bool:
        return stat.S_ISDIR(found.st_mode)  # a user's temporary files are the user's alone there

    def _name() -> str:
        return "trioagg"

else:
    import fcntl

    def lock(file: int, byte: int = 0) -> None:
        """Lock one byte of an open file, there or not; closing the file anywhere in the process lets it go.

        Raises:
            OSError: another process has it.
        """
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)

    def unlock(file: int, byte: int = 0) -> None:
        """Let it go."""
        fcntl.lockf(file, fcntl.LOCK_UN, 1, byte)

    def _is_private(found: os.stat_result) -> bool:
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077

    def _name() -> str:
        return f"trioagg-{os.getuid()}"


def folder() -> Path:
    """Where files of this user's processes lie, made if it is not there; after a restart of the host it may be empty.

    It is ``$XDG_RUNTIME_DIR/trioagg``, or else one folder of the user's own among the temporary files.

    Raises:
        OSError: it cannot be made, or others may write there.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    path = Path(runtime) / "trioagg" if runtime else Path(tempfile.gettempdir()) / _name()
    path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    if not _is_private(path.lstat()):
        raise PermissionError(f"{path} is not this user's alone")
    return path
