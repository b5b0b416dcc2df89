"""A small HTTP/1.1 server for a handful of pages: one request per connection, everything bounded in size and time.

It trusts nobody: a request's Host must be an address of ours, so that no web page can read us by a name of its own.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import h11
import structlog
import trio
from attrs import define, field, frozen

from trioagg.errors import SettingsError

log = structlog.get_logger(__name__)

JSON = "application/json"
HEAD_BYTES = 8192
"""Bytes that a request's head may have."""
HEAD_SECONDS = 5.0
"""Seconds in which it must be there, ..."""
ANSWER_SECONDS = 10.0
"""... and in which the answer must be made and taken."""
LINGER = 0.5
"""Seconds that a client may go on sending after the answer, so that it still reads it."""
CLIENTS = 32
"""Connections at a time."""
HEADERS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
LOCAL = {"localhost", "127.0.0.1", "::1"}

Address = tuple[str, int]
"""Host and port."""


@frozen
class Answer:
    """What a page says."""

    body: bytes
    kind: str
    status: int = 200


Page = Callable[[], Awaitable[Answer]]


def refusal(status: int, reason: str) -> Answer:
    """An error as JSON."""
    return Answer(json.dumps({"error": reason}).encode() + b"\n", JSON, status)


@asynccontextmanager
async def listening(address: Address | None) -> AsyncIterator[list[trio.SocketListener]]:
    """Hold an address while the block lasts, or none where none is wanted.

    Raises:
        SettingsError: it cannot be had.
    """
    listeners = await listen(address) if address else []
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.socket.close()


async def listen(address: Address) -> list[trio.SocketListener]:
    """Begin to listen.

    Raises:
        SettingsError: the address cannot be had.
    """
    host, port = address
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no such host"
        raise SettingsError(f"--serve: cannot listen on {host[:80]!r}, {port}: {reason}") from None


def url_of(listener: trio.SocketListener) -> str:
    """Where it can be reached."""
    host, port = listener.socket.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def public(listener: trio.SocketListener) -> bool:
    """Whether others than this machine reach it."""
    return not ipaddress.ip_address(listener.socket.getsockname()[0].partition("%")[0]).is_loopback


@define(eq=False)
class Web:
    """Serves pages: ``client`` is what ``trio.serve_listeners`` calls.

    Attributes:
        pages: path → what is there.
        host: the name that the user gave, which clients may call us by.
    """

    pages: Mapping[str, Page]
    host: str
    _clients: int = field(default=0, init=False)

    async def client(self, stream: trio.SocketStream) -> None:
        """One connection; whatever its client does wrong ends it, and nothing else."""
        self._clients += 1
        try:
            async with stream:
                await self._converse(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._clients -= 1

    async def _converse(self, stream: trio.SocketStream) -> None:
        link, request = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES), None
        if self._clients > CLIENTS:
            return
        with trio.move_on_after(HEAD_SECONDS) as patience:
            try:
                request = await _head(stream, link)
            except h11.RemoteProtocolError as error:
                await self._send(stream, link, refusal(error.error_status_hint, str(error)), head=False)
                return
        if patience.cancelled_caught or request is None:
            return
        with trio.move_on_after(ANSWER_SECONDS):
            answer = await self._answer(request, _own(stream))
            await self._send(stream, link, answer, head=request.method == b"HEAD")

    async def _answer(self, request: h11.Request, own: str) -> Answer:
        headers = dict(request.headers)
        ours = {*LOCAL, self.host.lower(), own}
        if _name(headers.get(b"host", b"")) not in ours:
            return refusal(403, "this is not the host that you asked for")
        if b"origin" in headers and _name(headers[b"origin"].partition(b"://")[2]) not in ours:
            return refusal(403, "another site's page asks")
        if request.method not in {b"GET", b"HEAD"}:
            return refusal(405, "only GET and HEAD")
        page = self.pages.get(request.target.partition(b"?")[0].decode("latin-1"))
        if page is None:
            return refusal(404, f"no such page; there are {', '.join(self.pages)}")
        return await page()

    async def _send(self, stream: trio.SocketStream, link: h11.Connection, answer: Answer, *, head: bool) -> None:
        headers = {**HEADERS, "Content-Type": answer.kind, "Content-Length": str(len(answer.body))}
        if answer.status == 405:
            headers["Allow"] = "GET, HEAD"
        phrase = HTTPStatus(answer.status).phrase
        response = h11.Response(status_code=answer.status, headers=list(headers.items()), reason=phrase)
        parts = [link.send(response), *([] if head else [link.send(h11.Data(data=answer.body))])]
        await stream.send_all(b"".join(part for part in parts if part))
        await stream.send_eof()
        with trio.move_on_after(LINGER):
            while await stream.receive_some(HEAD_BYTES):
                pass


async def _head(stream: trio.SocketStream, link: h11.Connection) -> h11.Request | None:
    """The request, without a body; None where the client went."""
    while (event := link.next_event()) is h11.NEED_DATA:
        link.receive_data(bytes(await stream.receive_some(HEAD_BYTES)))
    return event if isinstance(event, h11.Request) else None


def _own(stream: trio.SocketStream) -> str:
    """The address that the client reached us by."""
    host: str = stream.socket.getsockname()[0]
    return host


def _name(host: bytes) -> str:
    """The host of a Host header, without brackets and port."""
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]
