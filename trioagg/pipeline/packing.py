"""Records as bytes and back, every digit kept.

A frame is a head (length, number of events, checksum), then MessagePack: an array of records, each an array that begins
with the name of its kind.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, BinaryIO, Union, get_args, get_type_hints

import attrs
import msgspec

from trioagg.model import NOTES, Record

HEAD = struct.Struct(">III")
"""Bytes of packed records, events among them, CRC-32 of the records."""

FRAME = 1000
"""Records in a frame at the most."""

KINDS: tuple[type[Any], ...] = get_args(Record)


def _packed(kind: type[Any]) -> type[msgspec.Struct]:
    """The array that a kind of record becomes; attrs classes themselves cannot be told apart by msgspec."""
    hints = get_type_hints(kind)
    names = [item.name for item in attrs.fields(kind)]
    return msgspec.defstruct(kind.__name__, [(name, hints[name]) for name in names], array_like=True, tag=True)


_structs = {_packed(kind): kind for kind in KINDS}
_fields: dict[type[Any], Callable[[Any], tuple[Any, ...]]] = {
    kind: attrgetter(*packed.__struct_fields__) for packed, kind in _structs.items()
}
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder[list[msgspec.Struct]](list[Union[tuple(_structs)]])  # type: ignore[misc]  # noqa: UP007


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
        packed = _decoder.decode(payload(file) or b"\x90")
    except msgspec.DecodeError:
        return []
    return [_structs[type(record)](*msgspec.structs.astuple(record)) for record in packed]


def _frame(records: Sequence[Record]) -> bytes:
    packed = _encode([(type(record).__name__, *_fields[type(record)](record)) for record in records])
    return HEAD.pack(len(packed), events(records), zlib.crc32(packed)) + packed
