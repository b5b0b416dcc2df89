"""One client's WebSocket: trio-websocket speaks the protocol, the market's frames go out in bulk beside it.

A client that reads slowly holds up its own task only: TCP makes that task wait, its stream falls behind the market, and
when it is ``feeds.BEHIND`` seconds late (with a recording: ``feeds.WINDOW`` frames) it is disconnected, as the real
exchanges do. Nothing is queued for it meanwhile, since what the streams said at any time can be told later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from trioagg.model import Nanos
from trioagg.simulator import Hangup, Session
from trioagg.simulator.distortion import Distortion
from trioagg.simulator.house import House
from trioagg.simulator.wire import Line, framed, reset

_PAUSES = 0.002, 0.02  # seconds between looks at the market: shortest, longest
_HANDSHAKE = 10.0  # seconds
_GOODBYE = 0.5  # seconds for a client to answer our close frame
_PONG = 60.0  # seconds for a client to answer a ping


async def converse(house: House, stream: trio.abc.Stream, target: str, early: bytes) -> None:
    """Serve one WebSocket connection until either side ends it."""
    line = Line(stream, early, house.pace, house.cut_off)
    async with trio.open_nursery() as guard, trio.open_nursery() as nursery:
        request = await _requested(nursery, line)
        session = house.dialect.session(target)
        with suppress(ConnectionClosed):  # by a client that has not waited for the answer
            if request is not None and session is None:
                await request.reject(404)
            elif request is not None and session is not None:
                connection = Connection(house, stream=stream, line=line, socket=await request.accept(), session=session)
                guard.start_soon(connection.stop_when_cancelled)
                nursery.cancel_scope.shield = True  # the reader must live until the close frame is answered
                await connection.run()
        guard.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


async def _requested(nursery: trio.Nursery, line: Line) -> WebSocketRequest | None:
    with trio.move_on_after(_HANDSHAKE):
        return await wrap_server_stream(nursery, line, message_queue_size=64)
    return None


class Connection:
    """One open WebSocket."""

    def __init__(
        self, house: House, *, stream: trio.abc.Stream, line: Line, socket: WebSocketConnection, session: Session
    ) -> None:
        self._house, self._stream, self._line, self._socket, self._session = house, stream, line, socket, session
        self._opened = house.age()
        self._feed = house.feed(session)
        self._distortion = Distortion(house.faults, lambda: session.unknown(house.clock.now()))
        self._scope = trio.CancelScope()
        self._farewell = 1001, "going away"

    async def run(self) -> None:
        """Until either side ends it, or everything is cancelled: then with a close frame."""
        house = self._house
        house.statistics.connections += 1
        house.statistics.open += 1
        house.connections.append(self)
        try:
            with self._scope:
                await self._live()
        finally:
            house.connections.remove(self)
            house.statistics.open -= 1
            await self._close()  # noqa: ASYNC102  (it shields itself, for a bounded time)

    async def stop_when_cancelled(self) -> None:
        """Turn a cancellation from outside into an orderly end."""
        try:
            await trio.sleep_forever()
        finally:
            await self._stop()  # noqa: ASYNC102  (as above)

    async def end(self, how: str) -> None:
        """End it: ``drop``, ``reset`` or ``close``."""
        if how == "reset":
            await reset(self._stream)
        elif how == "drop":
            await trio.aclose_forcefully(self._stream)
        await self._stop()

    async def _stop(self) -> None:
        """Stop between two frames, unless the client does not take them."""
        with trio.move_on_after(_GOODBYE, shield=True):
            async with self._line.lock:
                self._scope.cancel()
        self._scope.cancel()

    async def announce(self) -> None:
        """Say that a shutdown is planned, where the exchange does."""
        async with self._line.lock:
            if frame := self._session.farewell(self._house.clock.now()):
                await self._put([frame])

    async def swell(self, size: int) -> None:
        """Send a frame of a kind that nobody knows, filled up to a size; a client may hang up on it."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self._line.lock:
                frame = self._session.unknown(self._house.clock.now())
                await self._put([frame + b" " * (size - len(frame))])

    async def _live(self) -> None:
        async with trio.open_nursery() as nursery:
            for task in (self._listen, self._pump, self._ping):
                nursery.start_soon(self._fenced, task)

    async def _fenced(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task; the end of the link is the end of the connection."""
        try:
            await task()
        except Hangup as hangup:
            self._farewell = hangup.code, str(hangup)
        except (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await self._stop()

    async def _listen(self) -> None:
        while True:
            message = await self._socket.get_message()
            if isinstance(message, bytes):
                raise Hangup(1003, "binary messages mean nothing")
            async with self._line.lock:
                await self._put(self._replies(message))

    def _replies(self, message: str) -> Sequence[bytes]:
        house = self._house
        house.statistics.subscribed += 1
        replies = self._session.received(message, house.clock.now())
        self._heed()
        return () if house.faults.silent(house.age()) else replies

    def _heed(self) -> None:
        if self._session.subscribed:
            self._house.awaited.set()

    async def _pump(self) -> None:
        """Send what the feed has, as it comes."""
        self._heed()
        pause = _PAUSES[0]
        while not self._socket.closed:
            async with self._line.lock:
                sent = await self._forward()
            pause = _PAUSES[0] if sent else min(pause * 1.5, _PAUSES[1])
            await trio.sleep(0 if self._feed.more(self._house.clock.now()) else pause)

    async def _forward(self) -> bool:
        """Send the next frames; whether there were any."""
        house, now = self._house, self._house.clock.now()
        if house.faults.stalled(house.age(), self._opened):
            self._feed.skip(now)
            return False
        if self._feed.late(now):
            house.statistics.behind += 1
            raise Hangup(1008, "reads too slowly")
        frames = [frame for at, due in self._feed.take(now) for frame in self._told(at, due)]
        await self._put(frames)
        house.statistics.sent += len(frames)
        return bool(frames)

    def _told(self, at: Nanos, due: list[bytes]) -> list[bytes]:
        """What is sent of the frames of a moment: a fault strikes those that it should, however late they are sent."""
        for frame in due[:1] + due[-1:]:
            self._house.faults.come_to(frame)
        return self._distortion.apply(due, self._house.age(at))

    async def _put(self, frames: Sequence[bytes]) -> None:
        """Send frames while holding the lock; none after a close frame."""
        if frames and not self._socket.closed:
            packed = list(map(self._session.packed, frames)) if self._session.binary else frames
            await self._line.put(framed(packed, binary=self._session.binary))

    async def _ping(self) -> None:
        while True:
            await trio.sleep(self._house.dialect.ping_every)
            with trio.move_on_after(_PONG) as patience:
                await self._socket.ping()
            if patience.cancelled_caught:
                raise Hangup(1008, "no pong")

    async def _close(self) -> None:
        with trio.move_on_after(_GOODBYE, shield=True):
            if not self._line.torn:
                await self._socket.aclose(*self._farewell)
        await trio.aclose_forcefully(self._stream)
