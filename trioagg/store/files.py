"""Files that are there only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PART = ".part"
"""The ending of a file that is being written."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, under another name until the body has ended; then it takes the place of what had its name.

    If the body fails, all is as it was.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
