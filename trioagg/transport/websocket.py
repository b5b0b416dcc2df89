"""WebSocket connections: the one module that knows trio-websocket, and cures what it leaves open.

trio-websocket speaks the protocol; ``FrameStream`` below it takes off the bulk. Added here: every wait has a limit, the
socket is closed whatever happens, a silent peer is noticed by pings of our own, and errors come out bare.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from types import MappingProxyType

import h11
import trio
import wsproto.utilities
from attrs import frozen
from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from trioagg import __version__
from trioagg.errors import LinkError, RateLimited
from trioagg.transport.backoff import retry_after
from trioagg.transport.clock import Stamps
from trioagg.transport.dial import aim, dial, limit
from trioagg.transport.frames import Collect, Frames, FrameStream, Inbox

__all__ = ["HEADERS", "MAX_SIZE", "TIMING", "Frames", "Socket", "Timing", "connect", "over"]

HEADERS: Mapping[str, str] = MappingProxyType({"User-Agent": f"trioagg/{__version__}"})
MAX_SIZE = 16 * 2**20
"""Bytes of the largest message that is taken, where nothing else is said."""

_BROKEN = 1006
_TOO_BIG = 1009


@frozen
class Timing:
    """How long things may take, in seconds.

    Attributes:
        connect: to reach the host, and again to shake hands.
        close: to say good-bye.
        ping_every: between two pings.
        ping_timeout: of silence after a ping.
        rest: see ``FrameStream``.
    """

    connect: float = 10
    close: float = 2
    ping_every: float = 20
    ping_timeout: float = 20
    rest: float = 0.003


TIMING = Timing()


class Socket:
    """One open connection; made by ``connect`` and ``over``."""

    def __init__(self, websocket: WebSocketConnection, inbox: Inbox) -> None:
        self._websocket = websocket
        self._inbox = inbox

    async def receive(self) -> Frames:
        """Waits for messages and gives what one read brought.

        Raises:
            LinkError: the connection is over, and everything that came before was given.
        """
        return await self._inbox.get()

    async def send(self, text: str) -> None:
        """Sends one text message.

        Raises:
            LinkError: the connection is over.
        """
        try:
            await self._websocket.send_message(text)
        except ConnectionClosed:
            raise LinkError(self._inbox.reason or f"the connection broke while sending ({_BROKEN})") from None


@asynccontextmanager
async def connect(
    url: str,
    *,
    stamps: Stamps,
    timing: Timing = TIMING,
    max_size: int = MAX_SIZE,
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] = HEADERS,
) -> AsyncIterator[Socket]:
    """Opens a WebSocket for the length of a ``with`` block.

    Args:
        url: ``ws://`` or ``wss://``.
        stamps: what dates the messages.
        timing: the limits of every wait.
        max_size: bytes of a message; a larger one ends the connection.
        tls: for ``wss://``, one that verifies certificates; Python's default if None.
        headers: sent with the handshake.

    Raises:
        ValueError: ``tls`` does not verify.
        LinkError: it could not be opened, and why in a few words; RateLimited where the server said when to come back.
    """
    if tls and not (tls.verify_mode is ssl.CERT_REQUIRED and tls.check_hostname):
        raise ValueError("the TLS context must verify certificates")
    target = aim(url)
    stream = await dial(target, tls, timing.connect)
    socket = over(
        stream, target.authority, target.resource, stamps=stamps, timing=timing, max_size=max_size, headers=headers
    )
    async with socket as opened:
        yield opened


@asynccontextmanager
async def over(
    stream: trio.abc.Stream,
    host: str,
    resource: str,
    *,
    stamps: Stamps,
    timing: Timing = TIMING,
    max_size: int = MAX_SIZE,
    headers: Mapping[str, str] = HEADERS,
) -> AsyncIterator[Socket]:
    """Opens a WebSocket over a stream that is there already, and closes the stream in the end; see ``connect``."""
    inbox = Inbox()
    frames = FrameStream(stream, inbox, stamps=stamps, max_size=max_size, rest=timing.rest)
    async with _closing(stream):
        with _bare_errors(frames):
            async with trio.open_nursery() as nursery:
                websocket = await _shake_hands(
                    nursery, frames, host, resource, headers=headers, timing=timing, max_size=max_size
                )
                frames.attach(_collector(websocket, frames, max_size))
                nursery.start_soon(_keep_alive, websocket, frames, inbox, timing)
                try:
                    yield Socket(websocket, inbox)
                finally:
                    await _say_goodbye(websocket, frames, timing.close)  # noqa: ASYNC102  (it shields itself, for a bounded time)
                    nursery.cancel_scope.cancel()


async def _shake_hands(
    nursery: trio.Nursery,
    frames: FrameStream,
    host: str,
    resource: str,
    *,
    headers: Mapping[str, str],
    timing: Timing,
    max_size: int,
) -> WebSocketConnection:
    with limit(timing.connect, "no answer to the handshake"):
        return await wrap_client_stream(
            nursery,
            frames,  # type: ignore[arg-type]  # any stream will do
            host,
            resource,
            extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            max_message_size=max_size,
            receive_buffer_size=None,
        )
    raise AssertionError  # the limit raises, or the handshake returns


@asynccontextmanager
async def _closing(stream: trio.abc.Stream) -> AsyncIterator[None]:
    """Closes the stream at once when the block ends, also where trio-websocket forgets to."""
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)


@contextmanager
def _bare_errors(frames: FrameStream) -> Iterator[None]:
    """Takes the nursery's wrapping off an error that came alone, and makes the library's errors ours."""
    try:
        yield
    except BaseExceptionGroup as group:
        real = [error for error in group.exceptions if not isinstance(error, trio.Cancelled)]
        if len(real) != 1:
            raise
        error = real[0]
    else:
        return
    _raise(_translate(error, frames))


def _raise(error: BaseException) -> None:
    """Raises ``error`` with the context that it had."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context


def _translate(error: BaseException, frames: FrameStream) -> BaseException:
    if isinstance(error, ConnectionRejected):
        return _refusal(error)
    if isinstance(error, HandshakeError | h11.ProtocolError | wsproto.utilities.ProtocolError):
        return LinkError(f"the server does not speak WebSocket: it answered {frames.status!r}")
    return error


def _refusal(error: ConnectionRejected) -> LinkError:
    reason = f"the handshake was refused: HTTP {error.status_code}"
    headers = {name: value.decode("latin-1") for name, value in error.headers}
    wait = retry_after(headers.get(b"retry-after", ""), headers.get(b"date", ""), time.time())
    return LinkError(reason) if wait is None else RateLimited(reason, wait)


def _collector(websocket: WebSocketConnection, frames: FrameStream, max_size: int) -> Collect:
    async def collect() -> str | bytes | None:
        if frames.message_ended:
            with suppress(ConnectionClosed):
                return await websocket.get_message()
        if websocket.closed:
            raise LinkError(_words(websocket.closed, frames, max_size))
        return None

    return collect


def _words(end: CloseReason, frames: FrameStream, max_size: int) -> str:
    """Why the WebSocket ended, for a person."""
    said = end.reason or end.name.lower().replace("_", " ")
    if frames.close_seen:
        return f"closed by the exchange ({end.code} {said})"
    if end.code == _TOO_BIG:
        return f"a message of more than {max_size} bytes ({_TOO_BIG})"
    if end.code == _BROKEN:
        return f"the connection broke while sending ({_BROKEN})"
    return f"the exchange broke the WebSocket protocol ({end.code} {said})"


async def _keep_alive(websocket: WebSocketConnection, frames: FrameStream, inbox: Inbox, timing: Timing) -> None:
    """Pings, and ends the connection when the server stays silent; waiting for our own consumer is no silence."""
    while True:
        await trio.sleep(timing.ping_every)
        asked = trio.current_time()
        with trio.move_on_after(timing.ping_timeout) as patience:
            await _ping(websocket)
        if patience.cancelled_caught and frames.listening_since is not None and frames.listening_since <= asked:
            return inbox.finish(f"no sign of life within {timing.ping_timeout:g} s of a ping")


async def _ping(websocket: WebSocketConnection) -> None:
    """Waits for the answer to a ping: for ever, if it cannot be sent."""
    try:
        await websocket.ping()
    except ConnectionClosed:
        await trio.sleep_forever()


async def _say_goodbye(websocket: WebSocketConnection, frames: FrameStream, seconds: float) -> None:
    """Closes as the protocol wants it, within the limit; does not wait for an answer that no task is left to read."""
    frames.leave(deaf=trio.current_effective_deadline() == -math.inf)
    with trio.move_on_after(seconds, shield=True):
        await websocket.aclose()
