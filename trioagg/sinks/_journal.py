"""A file that batches are appended to until they are elsewhere: whole ones are kept, a torn one at the end never was.

Each is its length, its checksum and its bytes. One process at a time has the file.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from trioagg.errors import StoreError

if sys.platform != "win32":
    import fcntl

HEAD = struct.Struct(">II")
"""Length and CRC-32 of what follows."""


class Journal:
    """An open journal."""

    def __init__(self, path: Path) -> None:
        """Open the file, made if there is none, and cut off what is torn.

        Raises:
            StoreError: another process has it.
            OSError: it cannot be opened.
        """
        self._path = path
        self._file = path.open("ab+", buffering=0)
        try:
            self._lock()
            self._size = sum(HEAD.size + len(batch) for batch in self.batches())
            self._file.truncate(self._size)
        except BaseException:
            self._file.close()
            raise

    @property
    def empty(self) -> bool:
        """Whether nothing is in it."""
        return not self._size

    def append(self, batch: bytes) -> None:
        """Make a batch durable.

        Raises:
            OSError: it was not added; if it nearly was, a crash now may leave it there.
        """
        told = memoryview(HEAD.pack(len(batch), zlib.crc32(batch)) + batch)
        size = self._size + len(told)
        self._file.truncate(self._size)  # what an attempt that failed has left
        while told:
            told = told[self._file.write(told) :]
        os.fsync(self._file.fileno())
        self._size = size

    def batches(self) -> Iterator[bytes]:
        """All that is in it, from the beginning."""
        with self._path.open("rb") as file:
            while len(head := file.read(HEAD.size)) == HEAD.size:
                length, checksum = HEAD.unpack(head)
                batch = file.read(length)
                if len(batch) < length or zlib.crc32(batch) != checksum:
                    return
                yield batch

    def clear(self) -> None:
        """Forget all."""
        self._file.truncate(0)
        self._size = 0

    def close(self) -> None:
        """Let the file go; what is in it stays."""
        self._file.close()

    def _lock(self) -> None:
        """Keep other processes out, where the system has such locks; they end with the process."""
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{self._path} is in use by another trioagg: give each a folder of its own") from None
