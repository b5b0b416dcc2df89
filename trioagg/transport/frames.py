"""WebSocket frames taken off in bulk, below the WebSocket library.

A library that makes an event of every message costs some 25 µs a message; cutting whole text frames out of what one
read brought costs a fiftieth. So ``FrameStream`` lies under the library as its transport. It takes off what needs no
protocol: whole, unfragmented, unmasked text frames of a bearable size. All else passes to the library byte for byte and
in order: the handshake, ping, pong, close, fragments, binary, what is too big and what is wrong. ::

    socket ──► FrameStream ──► WebSocket library     handshake, control frames, unusual messages
                    │  ◄── collect ──┘
                    └──► Inbox ──► the owner         lists of payloads

The reader is the library's own: everything here happens while it asks for bytes. When it asks again, it has dealt with
all that it had, so that is when the message it made of them is collected; thus no message overtakes another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import trio
from attrs import frozen

from trioagg.errors import LinkError
from trioagg.model import Nanos
from trioagg.transport.clock import Stamps
from trioagg.transport.dial import why
from trioagg.transport.pace import Pace, nap
from trioagg.transport.splitter import Splitter

Collect = Callable[[], Awaitable[str | bytes | None]]
"""Says what the WebSocket made of the bytes that passed to it last: the message that they ended, None for no message;
raises LinkError if they ended the connection."""

_READ = 128 * 1024
_BATCHES = 64
_BYTES = 32 * 2**20  # beyond which even fewer batches make the reader wait


@frozen
class Frames:
    """What one read brought.

    Attributes:
        at: the arrival of the first, nanoseconds UTC; frame i arrived at ``at + i``.
        payloads: the messages' payloads; text is UTF-8 as it came, unchecked.
        binary: whether the payloads are binary messages.
    """

    at: Nanos
    payloads: list[bytes]
    binary: bool = False

    @property
    def size(self) -> int:
        """Bytes of the payloads."""
        return sum(map(len, self.payloads))


class Inbox:
    """The bounded queue from one connection to its owner, with the reason for its end."""

    def __init__(self) -> None:
        self.reason = ""
        """Why nothing more comes; empty while it does."""
        self._waiting: deque[tuple[Frames, int]] = deque()
        self._bytes = 0
        self._come, self._room = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()
        self._left = False

    async def put(self, frames: Frames) -> None:
        """Waits afterwards until there is room for more; drops ``frames`` after the end, or once the owner has left."""
        if self.reason or self._left:
            return
        size = frames.size
        self._waiting.append((frames, size))
        self._bytes += size
        self._come.unpark_all()
        while self._full:
            await self._room.park()

    async def get(self) -> Frames:
        """Waits for the next batch.

        Raises:
            LinkError: nothing more comes, and everything that came was given.
        """
        if self._waiting or self.reason:
            await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self.reason:
                raise LinkError(self.reason)
            await self._come.park()
        frames, size = self._waiting.popleft()
        self._bytes -= size
        self._room.unpark_all()
        return frames

    def finish(self, reason: str) -> None:
        """Tells the owner that nothing more comes; the first reason counts."""
        self.reason = self.reason or reason
        self._come.unpark_all()

    def leave(self) -> None:
        """Tells the reader that nobody listens any more."""
        self._left = True
        self._waiting.clear()
        self._bytes = 0
        self._room.unpark_all()

    @property
    def _full(self) -> bool:
        return len(self._waiting) >= _BATCHES or self._bytes > _BYTES


class FrameStream(trio.abc.Stream):
    """The transport of a WebSocket client library; see the module's docstring.

    Args:
        stream: what the bytes come from; closed with this.
        inbox: where messages go.
        stamps: what dates them.
        max_size: bytes of the largest message that is taken off here; a larger one is the library's to judge.
        rest: seconds that a brisk feed's next frames are given to gather: a wake-up costs as much as dozens of frames.
    """

    def __init__(
        self, stream: trio.abc.Stream, inbox: Inbox, *, stamps: Stamps, max_size: int, rest: float = 0
    ) -> None:
        self.listening_since: float | None = None
        """When the wait for the server's next bytes began (Trio's clock); None while something else is waited for."""
        self._stream = stream
        self._inbox = inbox
        self._stamps = stamps
        self._splitter = Splitter(max_size)
        self._collect: Collect | None = None
        self._attached = trio.Event()
        self._pace, self._rest = Pace(), rest
        self._left = False
        self._deaf = False
        self._over = False

    @property
    def status(self) -> str:
        """The first line of the server's answer to the handshake."""
        return self._splitter.status

    @property
    def message_ended(self) -> bool:
        """Whether the bytes that passed last ended a message."""
        return self._splitter.message_ended

    @property
    def close_seen(self) -> bool:
        """Whether the server said good-bye."""
        return self._splitter.close_seen

    def attach(self, collect: Collect) -> None:
        """Connects the WebSocket above, once its handshake is done; nothing after the handshake passes before."""
        self._collect = collect
        self._attached.set()

    def leave(self, *, deaf: bool) -> None:
        """Drops from now on whatever comes before the server's good-bye.

        Args:
            deaf: nobody reads any more, so the next thing sent is the last: waiting for an answer would be in vain.
        """
        self._left, self._deaf = True, deaf
        self._splitter.leave()
        self._inbox.leave()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Gives what is not ours; meanwhile, delivers what is."""
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes must be >= 1")
        await self._settle()
        while True:
            if (self._over or self._splitter.empty) and not await self._fill():
                return b""
            texts = self._splitter.texts()
            self._pace.brought(len(texts))
            await self._deliver(texts)
            if piece := self._splitter.passing(max_bytes):
                return piece

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends; raises BrokenResourceError afterwards where no answer can be heard."""
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            if not self._splitter.open:  # the library would wait for the answer to what it could not ask
                raise LinkError(f"the handshake failed: the connection broke: {why(error)}") from error
            raise
        if self._deaf:
            raise trio.BrokenResourceError("the answer would not be heard")

    async def wait_send_all_might_not_block(self) -> None:
        """Waits until the socket takes more."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Closes the socket."""
        self._inbox.finish("closed")
        await self._stream.aclose()

    async def _settle(self) -> None:
        """Collects what the WebSocket made of the bytes that it was given."""
        if not self._splitter.open:
            return
        await self._attached.wait()
        if self._left or self._over or self._collect is None:
            return
        try:
            message = await self._collect()
        except LinkError as end:
            self._over = True
            self._inbox.finish(str(end))
            return
        if message is not None:
            binary = isinstance(message, bytes)
            await self._deliver([message.encode() if isinstance(message, str) else message], binary=binary)

    async def _deliver(self, payloads: list[bytes], *, binary: bool = False) -> None:
        if payloads:
            await self._inbox.put(Frames(self._stamps.take(len(payloads)), payloads, binary))

    async def _fill(self) -> bool:
        """Reads the next bytes; False at the end. After the end of the WebSocket they are dropped."""
        while chunk := await self._read():
            if not self._over:
                self._splitter.feed(chunk)
                return True
        self._end("ended without a good-bye")
        return False

    async def _read(self) -> bytes | bytearray:
        if self._rest and self._pace.resting and not self._left:
            await nap(self._rest)
        self.listening_since = asked = trio.current_time()
        try:
            chunk = await self._stream.receive_some(_READ)
        except trio.BrokenResourceError as error:
            self._end(f"broke: {why(error)}")
            raise
        finally:
            self.listening_since = None
        self._pace.waited(trio.current_time() - asked)
        return chunk

    def _end(self, how: str) -> None:
        if not self._splitter.open:
            raise LinkError(f"the handshake failed: {self._splitter.status or 'no answer'}; the connection {how}")
        self._inbox.finish(f"the connection {how}{' in the middle of a message' if self._splitter.torn else ''} (1006)")
