"""Files that a person asks for: where they may be, and that they are there only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from trioagg.errors import SettingsError
from trioagg.store.files import replacing


def ending(path: Path, good: tuple[str, ...]) -> str:
    """Which of the good endings a file's name has, in capitals or not; nothing is there under that name yet.

    Raises:
        SettingsError: it has none of them, its folder is not there, or something has its name already.
    """
    found = next((end for end in good if path.name.lower().endswith(end) and path.name != end), None)
    if found is None:
        raise SettingsError(f"--output: bad value {str(path)!r}: must end in {', '.join(good[:-1])} or {good[-1]}")
    if not path.parent.is_dir():
        raise SettingsError(f"--output: bad value {str(path)!r}: there is no folder {path.parent}")
    _demand_free(path)
    return found


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write, under another name until the body has ended; if the body fails, there is none.

    Raises:
        SettingsError: something has its name already.
        OSError: it cannot be written.
    """
    with replacing(path) as file:
        yield file
        _demand_free(path)


def _demand_free(path: Path) -> None:
    if os.path.lexists(path):
        raise SettingsError(f"--output: bad value {str(path)!r}: is there already, and is never overwritten")
