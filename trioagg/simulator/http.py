"""HTTP/1.1 with keep-alive, through h11: requests in, answers out, and WebSocket handshakes handed on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import trio

from trioagg.simulator import Answer, Request

IDLE = 120.0
"""Seconds without a request after which a connection is closed."""
_READ = 65536


async def converse(
    stream: trio.SocketStream,
    answer: Callable[[Request], Answer],
    upgrade: Callable[[str, bytes], Awaitable[None]],
) -> None:
    """Answer requests until the client goes; a WebSocket handshake gets the bytes that carried it, and ends it."""
    link = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    while True:
        raw = bytearray(link.trailing_data[0])
        request = await _head(stream, link, raw)
        if request is None:
            return None
        target = request.target.decode("latin-1")
        if dict(request.headers).get(b"upgrade", b"").lower() == b"websocket":
            return await upgrade(target, bytes(raw))
        body = await _body(stream, link, raw)
        await _send(stream, link, request, answer(_told(request, body)))
        if link.our_state is h11.MUST_CLOSE or link.their_state is not h11.DONE:
            return None
        link.start_next_cycle()


async def _head(stream: trio.SocketStream, link: h11.Connection, raw: bytearray) -> h11.Request | None:
    event = await _next(stream, link, raw)
    return event if isinstance(event, h11.Request) else None


async def _body(stream: trio.SocketStream, link: h11.Connection, raw: bytearray) -> bytes:
    """What was posted; of more than any request needs, the rest is passed over."""
    body = b""
    while not isinstance(event := await _next(stream, link, raw), h11.EndOfMessage | h11.ConnectionClosed):
        raw.clear()
        if isinstance(event, h11.Data) and len(body) < _READ:
            body += bytes(event.data)
    return body


async def _next(stream: trio.SocketStream, link: h11.Connection, raw: bytearray) -> h11.Event:
    while (event := link.next_event()) is h11.NEED_DATA:
        with trio.move_on_after(IDLE):
            data = bytes(await stream.receive_some(_READ))
            raw += data
            link.receive_data(data)
            continue
        return h11.ConnectionClosed()
    assert not isinstance(event, type)  # PAUSED comes only where a cycle was not restarted
    return event


async def _send(stream: trio.SocketStream, link: h11.Connection, request: h11.Request, answer: Answer) -> None:
    headers = {"Content-Type": "application/json;charset=UTF-8", **answer.headers}
    headers["Content-Length"] = str(len(answer.body))
    head = h11.Response(status_code=answer.status, headers=list(headers.items()))
    body = b"" if request.method == b"HEAD" else answer.body
    parts = [link.send(head), link.send(h11.Data(data=body)), link.send(h11.EndOfMessage())]
    await stream.send_all(b"".join(part for part in parts if part))


def _told(request: h11.Request, body: bytes) -> Request:
    split = urlsplit(request.target.decode("latin-1"))
    return Request(
        method=request.method.decode(),
        path=unquote(split.path),
        query=dict(parse_qsl(split.query, keep_blank_values=True)),
        headers={name.decode(): value.decode("latin-1") for name, value in request.headers},
        body=body,
    )
