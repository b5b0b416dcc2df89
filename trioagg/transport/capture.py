"""Raw captures: what came over the wire, as files.

JSON Lines, gzipped or not, one frame or REST answer a line in the order received: ``exchange``, ``received``
(nanoseconds UTC), ``source`` (the WebSocket's address, or the request's full URL), and ``payload`` (text) or
``payload_base64``. One file per exchange and UTC hour of arrival; it carries the ending ``.part`` while it grows, and
its name without that once it is complete. No file is ever overwritten.
"""

from __future__ import annotations

import gzip
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import msgspec
from attrs import define, field, frozen

from trioagg.errors import StoreError
from trioagg.model import Nanos

HOUR = 3600 * 1_000_000_000


@frozen
class Captured:
    """One frame or REST answer.

    Attributes:
        received: nanoseconds UTC.
        source: where it came from.
        payload: its bytes, decompressed.
    """

    exchange: str
    received: Nanos
    source: str
    payload: bytes


@frozen
class Torn:
    """A line that is no capture line.

    Attributes:
        where: file and line number.
        reason: what is wrong.
    """

    where: str
    reason: str


class _Line(msgspec.Struct, omit_defaults=True):
    exchange: str
    received: int
    source: str
    payload: str | None = None
    payload_base64: str | None = None


_decoder = msgspec.json.Decoder(_Line)
_encode = msgspec.json.Encoder().encode


def line(captured: Captured) -> bytes:
    """A capture's line, with its line feed."""
    head = (captured.exchange, captured.received, captured.source)
    try:
        return _encode(_Line(*head, payload=captured.payload.decode())) + b"\n"
    except UnicodeDecodeError:
        return _encode(_Line(*head, payload_base64=b64encode(captured.payload).decode())) + b"\n"


def read(path: Path) -> Generator[Captured | Torn, None, None]:
    """What a capture holds, in its order; a line that cannot be read costs that line, a torn end costs the end.

    Raises:
        StoreError: the file cannot be opened or is no capture at all.
    """
    try:
        with open_capture(path) as file:
            for number, text in enumerate(_lines(file, path), 1):
                if isinstance(text, Torn):
                    yield text
                elif text.strip():
                    yield _parse(text, f"{path}:{number}")
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from None


@contextmanager
def open_capture(path: Path) -> Iterator[Iterable[bytes]]:
    """A capture's lines, decompressed if need be: told by its first bytes, whatever its name."""
    with path.open("rb") as file:
        if file.peek(2)[:2] != b"\x1f\x8b":
            yield file
        else:
            with gzip.open(file) as unzipped:
                yield unzipped


def _lines(file: Iterable[bytes], path: Path) -> Iterator[bytes | Torn]:
    try:
        yield from file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Torn(str(path), f"the compressed data is torn: {error}")


def _parse(text: bytes, where: str) -> Captured | Torn:
    try:
        parsed = _decoder.decode(text)
        if parsed.payload is not None:
            payload = parsed.payload.encode()
        elif parsed.payload_base64 is not None:
            payload = b64decode(parsed.payload_base64, validate=True)
        else:
            return Torn(where, "neither payload nor payload_base64")
    except (msgspec.DecodeError, ValueError) as error:
        return Torn(where, str(error))
    return Captured(parsed.exchange, parsed.received, parsed.source, payload)


@define
class _Part:
    hour: int
    path: Path
    file: gzip.GzipFile


@define
class Recorder:
    """Writes captures below a folder: blocking, for one thread at a time."""

    folder: Path
    _parts: dict[str, _Part] = field(factory=dict, init=False)

    def write(self, batch: list[Captured]) -> None:
        """Append; begins a file at an exchange's first line of an hour, and completes the one before.

        Raises:
            StoreError: the folder cannot be written to.
        """
        try:
            for captured in batch:
                self._part(captured).file.write(line(captured))
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot record: {error.strerror or error}") from None

    def close(self) -> None:
        """Complete every file.

        Raises:
            StoreError: one of them cannot be; it keeps the name of a part.
        """
        try:
            for exchange in list(self._parts):
                self._complete(exchange)
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot record: {error.strerror or error}") from None

    def _part(self, captured: Captured) -> _Part:
        hour = captured.received // HOUR
        part = self._parts.get(captured.exchange)
        if part and hour > part.hour:
            self._complete(captured.exchange)
            part = None
        if not part:
            part = self._parts[captured.exchange] = self._begin(captured.exchange, hour)
        return part

    def _begin(self, exchange: str, hour: int) -> _Part:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stem = f"{exchange}-{datetime.fromtimestamp(hour * 3600, UTC):%Y%m%dT%HZ}"
        for number in count(1):
            final = self.folder / f"{stem}{f'-{number}' if number > 1 else ''}.jsonl.gz"
            path = final.with_name(final.name + ".part")
            if not final.exists():
                try:
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                    return _Part(hour, path, gzip.GzipFile(path, "wb", compresslevel=5))
                except FileExistsError:
                    continue
        raise AssertionError("count() does not end")

    def _complete(self, exchange: str) -> None:
        part = self._parts.pop(exchange)
        part.file.close()
        part.path.rename(part.path.with_suffix(""))
