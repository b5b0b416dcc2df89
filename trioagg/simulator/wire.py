"""Bytes: WebSocket frames in bulk, and the stream that lets them and the protocol's own frames take turns."""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Callable, Sequence

import trio

_SHORT, _MIDDLE = 126, 1 << 16
_TEXT, _BINARY = 0x81, 0x82
_HEADS = [bytes((_TEXT, n)) if n < _SHORT else b"\x81\x7e" + n.to_bytes(2, "big") for n in range(1024)]
_BREATH = 0.05  # seconds between the pieces of a slowed connection


def framed(payloads: Sequence[bytes], *, binary: bool = False) -> bytes:
    """Whole, unmasked frames: what a server sends."""
    head = _binary_head if binary else _head
    return b"".join([part for payload in payloads for part in (head(len(payload)), payload)])


def _head(length: int) -> bytes:
    if length < len(_HEADS):
        return _HEADS[length]
    return struct.pack("!BBH", _TEXT, 126, length) if length < _MIDDLE else struct.pack("!BBQ", _TEXT, 127, length)


def _binary_head(length: int) -> bytes:
    return bytes((_BINARY,)) + _head(length)[1:]


class Line(trio.abc.Stream):
    """A server's side of one connection, under trio-websocket.

    ``lock`` is held by whoever writes, so that frames in bulk and the protocol's own frames never interleave.

    Args:
        early: bytes that were read already and come first.
        pace: tells the bytes per second that may be sent now.
        cut_off: tells for how many seconds nothing gets through, either way.
    """

    def __init__(
        self, stream: trio.abc.Stream, early: bytes, pace: Callable[[], float], cut_off: Callable[[], float]
    ) -> None:
        self.lock = trio.Lock()
        self.torn = False
        self._stream, self._early, self._pace, self._cut_off = stream, early, pace, cut_off

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, in turn."""
        async with self.lock:
            await self.put(bytes(data))

    async def put(self, data: bytes) -> None:
        """Send while holding the lock. If it is cancelled, part of a frame may be out, and the line is ``torn``."""
        self.torn = True
        if silence := self._cut_off():
            await self._stream.send_all(data[: len(data) // 2])
            data = data[len(data) // 2 :]
            await trio.sleep(silence)
        while data:
            pace = self._pace()
            piece = len(data) if pace == math.inf else max(1, round(pace * _BREATH))
            await self._stream.send_all(data[:piece])
            data = data[piece:]
            if pace != math.inf:
                await trio.sleep(piece / pace)
        self.torn = False

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream below."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The early bytes, then the stream's."""
        if self._early:
            early, self._early = self._early, b""
            await trio.lowlevel.checkpoint()
            return early
        received = bytes(await self._stream.receive_some(max_bytes))
        await trio.sleep(self._cut_off())
        return received

    async def aclose(self) -> None:
        """Close the TCP connection."""
        await self._stream.aclose()


async def reset(stream: trio.abc.Stream) -> None:
    """End a TCP connection with a reset instead of an orderly end."""
    if isinstance(stream, trio.SocketStream):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(stream)
