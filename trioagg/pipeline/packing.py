"""Records as bytes and back, every digit kept.

A frame is a head (length, number of events, checksum), then MessagePack: an array of records, as they pack themselves.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import msgspec

from trioagg.model import NOTES, Record

HEAD = struct.Struct(">III")
"""Bytes of packed records, events among them, CRC-32 of the records."""

FRAME = 1000
"""Records in a frame at the most."""

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(list[Record])


def events(records: Sequence[Record]) -> int:
    """How many records are no notes."""
    return sum(type(record) not in NOTES for record in records)


def frames(records: Sequence[Record]) -> bytes:
    """Records as frames."""
    return b"".join(_frame(records[first : first + FRAME]) for first in range(0, len(records), FRAME))


def heads(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """The end and the events of each whole frame from where a file stands, as far as the lengths tell."""
    place = file.tell()
    while len(head := file.read(HEAD.size)) == HEAD.size:
        length, count, _ = HEAD.unpack(head)
        place += HEAD.size + length
        if place > size:
            return
        yield place, count
        file.seek(place)


def payload(file: BinaryIO) -> bytes | None:
    """The packed records of the frame where a file stands; None if it is torn."""
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    length, _, checksum = HEAD.unpack(head)
    packed = file.read(length)
    return packed if len(packed) == length and zlib.crc32(packed) == checksum else None


def frame(file: BinaryIO) -> list[Record]:
    """The records of the frame where a file stands; none if it is torn, or of another version."""
    try:
        return _decoder.decode(payload(file) or b"\x90")
    except msgspec.DecodeError:
        return []


def _frame(records: Sequence[Record]) -> bytes:
    packed = _encode(records)
    return HEAD.pack(len(packed), events(records), zlib.crc32(packed)) + packed
