"""The monitor's web server: what it refuses, and what it bears."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio

from trioagg.errors import SettingsError
from trioagg.monitor import web
from trioagg.monitor.web import Answer, Web, listening

GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def page() -> Answer:
    return Answer(b"here", "text/plain")


@asynccontextmanager
async def served(host: str = "localhost") -> AsyncIterator[tuple[str, int]]:
    """A server with one page, and where it is."""
    async with listening(("127.0.0.1", 0)) as listeners, trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, Web({"/x": page}, host).client, listeners)
        yield listeners[0].socket.getsockname()
        nursery.cancel_scope.cancel()


async def everything(stream: trio.SocketStream) -> bytes:
    """What comes until the server closes."""
    return b"".join([bytes(part) async for part in stream])


async def told(place: tuple[str, int], request: bytes) -> tuple[int, str, bytes]:
    """Status, head and body of the answer."""
    async with await trio.open_tcp_stream(*place) as stream:
        await stream.send_all(request)
        with trio.fail_after(5):
            head, _, body = (await everything(stream)).partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode().lower(), body


async def test_a_page_and_its_head() -> None:
    """With headers that keep browsers from doing anything with it; HEAD brings no body."""
    async with served() as place:
        status, head, body = await told(place, GET)
        _, headed, nothing = await told(place, GET.replace(b"GET", b"HEAD"))

    assert (status, body, nothing) == (200, b"here", b"")
    for line in (
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "content-length: 4",
        "default-src 'none'; frame-ancestors 'none'",
        "cross-origin-resource-policy: same-origin",
    ):
        assert line in head and line in headed
    assert "access-control" not in head


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (GET.replace(b"/x", b"/x?y=1"), 200),
        (GET.replace(b"localhost", b"[::1]:80"), 200),
        (GET.replace(b"localhost", b"127.0.0.1:80"), 200),
        (GET.replace(b"localhost", b"My.Box:80"), 200),
        (GET.replace(b"localhost", b"evil.example"), 403),
        (GET.replace(b"localhost", b"localhost.evil.example"), 403),
        (GET.replace(b"localhost", b""), 403),
        (GET.replace(b"\r\n\r\n", b"\r\nOrigin: http://localhost:9090\r\n\r\n"), 200),
        (GET.replace(b"\r\n\r\n", b"\r\nOrigin: https://evil.example\r\n\r\n"), 403),
        (GET.replace(b"\r\n\r\n", b"\r\nOrigin: null\r\n\r\n"), 403),
        (b"GET /x HTTP/1.0\r\n\r\n", 403),
        (b"GET /x HTTP/1.1\r\n\r\n", 400),
        (GET.replace(b"/x", b"/"), 404),
        (GET.replace(b"/x", b"/../etc/passwd"), 404),
        (GET.replace(b"/x", b"http://localhost/x"), 404),
        (GET.replace(b"GET", b"DELETE"), 405),
        (b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000, 405),
        (b"GET /x HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ],
)
async def test_what_is_answered_and_what_is_refused(
    request_bytes: bytes, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a host of ours, GET or HEAD, a page there is, and no more than a head's worth of bytes; else JSON says why."""
    monkeypatch.setattr(web, "LINGER", 0.05)
    async with served("my.box") as place:
        found, head, body = await told(place, request_bytes)

    assert found == status
    assert status == 200 or ("application/json" in head and json.loads(body)["error"])


async def test_a_slow_client_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that trickles in ends with its time, and others are served meanwhile."""
    monkeypatch.setattr(web, "HEAD_SECONDS", 0.1)
    async with served() as place, await trio.open_tcp_stream(*place) as slow:
        await slow.send_all(GET[:20])
        assert (await told(place, GET))[0] == 200
        with trio.fail_after(2):
            assert await everything(slow) == b""


async def test_clients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than there may be is let go at once; when one has gone there is room again."""
    monkeypatch.setattr(web, "CLIENTS", 2)
    async with served() as place:
        async with await trio.open_tcp_stream(*place) as one, await trio.open_tcp_stream(*place) as two:
            for stream in (one, two):
                await stream.send_all(GET[:20])
            async with await trio.open_tcp_stream(*place) as three:
                with trio.fail_after(2):
                    assert await everything(three) == b""
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await told(place, GET))[0] == 200


async def test_clients_that_reset_do_no_harm() -> None:
    """The next one is answered."""
    async with served() as place:
        for _ in range(5):
            stream = await trio.open_tcp_stream(*place)
            await stream.send_all(GET)
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await stream.aclose()
        assert (await told(place, GET))[0] == 200


async def test_a_taken_port_is_told() -> None:
    """In one line that names it; nothing stays open."""
    async with listening(("127.0.0.1", 0)) as listeners:
        host, port = cast(tuple[str, int], listeners[0].socket.getsockname())
        with pytest.raises(SettingsError, match=f"--serve: cannot listen on '{host}', {port}: Address already in use"):
            async with listening((host, port)):
                pass
    async with listening((host, port)) as again, listening(None) as nowhere:
        assert len(again) == 1 and nowhere == []
