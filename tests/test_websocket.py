"""WebSocket connections: every way to end has a limit and a reason, and leaves no socket behind."""

from __future__ import annotations

import gc
import shutil
import socket as sockets
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from attrs import evolve
from test_frames import (
    BINARY,
    CLOSE,
    FINAL,
    MASKED,
    PING,
    PONG,
    TEXT,
    answer_to,
    closing,
    fragments,
    frame,
    unmask,
)

from trioagg.errors import LinkError, RateLimited
from trioagg.transport.clock import Stamps
from trioagg.transport.websocket import Socket, Timing, connect, over

pytestmark = pytest.mark.usefixtures("no_garbage")

Serve = Callable[[trio.abc.Stream], Awaitable[None]]
QUICK = Timing(connect=0.1, close=0.1, rest=0)
PATIENT = evolve(QUICK, connect=10)
"""For what must come about, however busy the machine is."""
LAST = frame(TEXT, b"last")


@pytest.fixture
def no_garbage() -> Iterator[None]:
    """Makes a leaked socket this test's failure, not that of an innocent later one."""
    yield
    gc.collect(1)


async def request_on(stream: trio.abc.ReceiveStream) -> bytes:
    """The client's half of the handshake."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += await stream.receive_some()
    return request


@asynccontextmanager
async def server(serve: Serve, *, answers: bool = True, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server on loopback: shakes hands, does as told, and insists on seeing the client hang up."""

    async def handle(tcp: trio.SocketStream) -> None:
        stream = trio.SSLStream(tcp, tls, server_side=True, https_compatible=True) if tls else tcp
        async with stream:
            request = await request_on(stream)
            if answers:
                await stream.send_all(answer_to(request))
            await serve(stream)
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async for _ in stream:
                    pass

    with trio.fail_after(5):
        async with trio.open_nursery() as handlers, trio.open_nursery() as acceptor:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            acceptor.start_soon(partial(trio.serve_listeners, handle, [listener], handler_nursery=handlers))
            host = "wss://localhost" if tls else "ws://127.0.0.1"
            yield f"{host}:{listener.socket.getsockname()[1]}"
            acceptor.cancel_scope.cancel()


async def until_the_end(url: str, timing: Timing = PATIENT) -> tuple[list[bytes], LinkError]:
    """All messages of a connection, and the error that says why no more come."""
    payloads: list[bytes] = []

    async def receive_all() -> None:
        async with connect(url, stamps=Stamps(), timing=timing, max_size=1000) as socket:
            while True:
                payloads.extend((await socket.receive()).payloads)

    with pytest.raises(LinkError) as caught:
        await receive_all()
    return payloads, caught.value


def sends(*data: bytes, hangs_up: bool = False) -> Serve:
    """A server that sends this, and hangs up or waits."""

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"".join(data))
        if hangs_up:
            await stream.aclose()

    return serve


ENDS = {
    "goodbye": (sends(LAST, closing(1001, "maintenance"), hangs_up=True), "closed by the exchange (1001 maintenance)"),
    "goodbye without a word": (sends(LAST, closing(1001), hangs_up=True), "closed by the exchange (1001 going away)"),
    "goodbye but TCP stays": (sends(LAST, closing(1012)), "closed by the exchange (1012 service restart)"),
    "hangs up": (sends(LAST, hangs_up=True), "the connection ended without a good-bye (1006)"),
    "torn text": (sends(LAST, LAST[:-1], hangs_up=True), "ended without a good-bye in the middle of a message (1006)"),
    "torn binary": (sends(LAST, frame(BINARY, b"xy")[:-1], hangs_up=True), "in the middle of a message (1006)"),
    "torn message": (sends(LAST, frame(TEXT, b"x", first=0), hangs_up=True), "in the middle of a message (1006)"),
    "too big": (sends(LAST, frame(TEXT, b"x" * 1001)), "a message of more than 1000 bytes (1009)"),
    "too big in parts": (sends(LAST, fragments(TEXT, b"x" * 1001, 3)), "a message of more than 1000 bytes (1009)"),
    "masked": (sends(LAST, frame(TEXT, b"keyTEXT", second=MASKED)), "the exchange broke the WebSocket protocol (1002"),
    "compressed": (
        sends(LAST, frame(TEXT, b"x", first=FINAL | 0x40)),
        "the exchange broke the WebSocket protocol (1002",
    ),
    "bad text": (sends(LAST, fragments(TEXT, b"\xff\xfe", 2)), "the exchange broke the WebSocket protocol (1007"),
}


@pytest.mark.parametrize("end", ENDS)
async def test_what_came_before_the_end_is_delivered_and_the_end_has_a_reason(end: str) -> None:
    """Each way to end: at once, the last message first, a bare LinkError in plain words, the socket closed."""
    serve, reason = ENDS[end]
    async with server(serve) as url:
        payloads, error = await until_the_end(url)
    assert payloads == [b"last"]
    assert reason in str(error)


async def test_a_reset_is_called_a_reset() -> None:
    """RST from the server."""

    async def reset(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SocketStream)
        stream.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()

    async with server(reset) as url:
        _, error = await until_the_end(url)
    assert str(error) == "the connection broke: Connection reset by peer (1006)"


REFUSALS = {
    "silence": (sends(), "no answer to the handshake within 0.1 s"),
    "half an answer": (sends(b"HTTP/1.1 101 Swi"), "no answer to the handshake within 0.1 s"),
    "hangs up": (sends(hangs_up=True), "the handshake failed: no answer; the connection ended without a good-bye"),
    "403": (sends(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"), "the handshake was refused: HTTP 403"),
    "403 without length": (
        sends(b"HTTP/1.1 403 Forbidden\r\n\r\nno", hangs_up=True),
        "the handshake failed: HTTP/1.1 403 Forbidden; the connection ended without a good-bye",
    ),
    "no HTTP": (sends(b"SSH-2.0-OpenSSH\r\n\r\n"), "the server does not speak WebSocket: it answered "),
    "wrong key": (sends(answer_to(b"Sec-WebSocket-Key: other")), "the server does not speak WebSocket: it answered "),
    "no upgrade": (sends(b"HTTP/1.1 101 Sure\r\n\r\n"), "the server does not speak WebSocket: it answered "),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_handshake_that_fails_says_why_within_its_time(refusal: str) -> None:
    """Each way to refuse: a bare LinkError in plain words, the socket closed."""
    serve, reason = REFUSALS[refusal]
    async with server(serve, answers=False) as url:
        payloads, error = await until_the_end(url, QUICK if "within" in reason else PATIENT)
    assert payloads == []
    assert str(error).startswith(reason)


async def test_a_handshake_refused_for_asking_too_often_says_when_to_come_back() -> None:
    """429 with Retry-After is a RateLimited."""
    answer = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"
    async with server(sends(answer), answers=False) as url:
        _, error = await until_the_end(url)
    assert isinstance(error, RateLimited)
    assert error.retry_after == 7


async def test_a_server_that_never_answers_our_goodbye_is_left_in_time() -> None:
    """Leaving takes no longer than ``Timing.close``."""
    async with server(sends(LAST)) as url, connect(url, stamps=Stamps(), timing=PATIENT) as socket:
        assert (await socket.receive()).payloads == [b"last"]


async def test_nobody_listens_there() -> None:
    """A port that refuses."""
    with sockets.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    _, error = await until_the_end(f"ws://127.0.0.1:{port}")
    assert str(error) == f"no connection to 127.0.0.1:{port}: Connection refused"


class Nowhere(trio.abc.HostnameResolver):
    """A resolver that knows no name."""

    async def getaddrinfo(self, *_: object, **__: object) -> list[object]:  # type: ignore[override]
        raise sockets.gaierror(sockets.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError


async def test_a_name_that_does_not_resolve() -> None:
    """A host without an address."""
    trio.socket.set_custom_hostname_resolver(Nowhere())
    _, error = await until_the_end("ws://no.such.exchange/ws")
    assert str(error) == "no connection to no.such.exchange: Name or service not known"


@pytest.mark.parametrize(
    "url", ["http://x", "x", "ws://", "ws://x:port", "ws://x/é", f"ws://{'x' * 70}.com", "ws://[::1"]
)
async def test_an_address_that_is_none(url: str) -> None:
    """An exchange may tell us where to connect, so a bad URL is a failed link and no bug of ours."""
    _, error = await until_the_end(url)
    assert "not a WebSocket URL" in str(error)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for localhost, signed by itself."""
    if not (openssl := shutil.which("openssl")):
        pytest.skip("no openssl command")
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [openssl, *options.split(), *names, "-keyout", file, "-out", "cert.pem"],
        cwd=file.parent,
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + (file.parent / "cert.pem").read_text())
    return file


def trusting(certificate: Path) -> ssl.SSLContext:
    """A client's context that trusts no other certificate."""
    return ssl.create_default_context(cafile=certificate)


def presenting(certificate: Path) -> ssl.SSLContext:
    """A server's context."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


async def test_messages_come_through_tls(certificate: Path) -> None:
    """wss:// with a certificate that is trusted."""
    async with (
        server(sends(LAST), tls=presenting(certificate)) as url,
        connect(url, stamps=Stamps(), timing=PATIENT, tls=trusting(certificate)) as socket,
    ):
        assert (await socket.receive()).payloads == [b"last"]


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    """The default context verifies."""
    async with tls_greeter(presenting(certificate)) as port:
        _, error = await until_the_end(f"wss://localhost:{port}")
    assert "no TLS with localhost: self-signed certificate" in str(error)


async def test_a_certificate_for_another_host_is_refused(certificate: Path) -> None:
    """The host's name is verified."""
    async with tls_greeter(presenting(certificate)) as port:
        with pytest.raises(LinkError, match=r"no TLS with 127\.0\.0\.1: IP address mismatch"):
            async with connect(f"wss://127.0.0.1:{port}", stamps=Stamps(), tls=trusting(certificate)):
                raise AssertionError


async def test_tls_that_never_begins_is_given_up_in_time() -> None:
    """A server that accepts and stays silent."""
    with sockets.create_server(("127.0.0.1", 0)) as silent:
        _, error = await until_the_end(f"wss://localhost:{silent.getsockname()[1]}", QUICK)
    assert "within 0.1 s" in str(error)


async def test_a_context_that_does_not_verify_is_not_taken() -> None:
    """No flag turns verification off."""
    context = ssl.create_default_context()
    context.check_hostname = False
    with pytest.raises(ValueError, match="must verify"):
        async with connect("wss://localhost", stamps=Stamps(), tls=context):
            raise AssertionError


@asynccontextmanager
async def tls_greeter(tls: ssl.SSLContext) -> AsyncIterator[int]:
    """A server that tries to shake hands in TLS, no more."""

    async def greet(stream: trio.SSLStream[trio.SocketStream]) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await stream.do_handshake()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            [listener] = await trio.open_ssl_over_tcp_listeners(0, tls, host="127.0.0.1", https_compatible=True)
            nursery.start_soon(trio.serve_listeners, greet, [listener])  # noqa: ASYNC113  (it listens already)
            yield listener.transport_listener.socket.getsockname()[1]  # type: ignore[attr-defined]
            nursery.cancel_scope.cancel()


async def test_the_handshake_says_who_we_are(nursery: trio.Nursery) -> None:
    """The request line, Host with its port and User-Agent."""
    near, far = trio.testing.memory_stream_pair()

    async def client() -> None:
        async with over(near, "exchange:99", "/stream?x=1", stamps=Stamps(), headers={"User-Agent": "me/1"}):
            raise AssertionError

    nursery.start_soon(client)
    request = await request_on(far)
    assert request.startswith(b"GET /stream?x=1 HTTP/1.1\r\nHost: exchange:99\r\n")
    assert b"User-Agent: me/1\r\n" in request
    nursery.cancel_scope.cancel()


class Server:
    """The server's end of a connection in memory: notes what it hears, and answers pings and goodbyes if told to."""

    def __init__(self, far: trio.abc.Stream, answers: dict[int, bytes]) -> None:
        self.heard: list[bytes] = []
        self.stream = far
        self._answers = answers

    async def run(self) -> None:
        """Serves until the client hangs up."""
        await self.stream.send_all(answer_to(await request_on(self.stream)))
        data = b""
        async for chunk in self.stream:
            data += chunk
            while len(data) >= 2 and len(data) >= (size := 6 + (data[1] & 0x7F)):
                await self._hear(unmask(data[:size]))
                data = data[size:]

    async def _hear(self, it: bytes) -> None:
        self.heard.append(it)
        opcode = it[0] & 0x0F
        if opcode in self._answers:
            with suppress(trio.BrokenResourceError):
                await self.stream.send_all(self._answers[opcode] or frame(PONG, it[1:]))


POLITE = {PING: b"", CLOSE: frame(PING, b"one more thing") + LAST + frame(BINARY, b"late") + closing(1000)}
GOODBYE = bytes([FINAL | CLOSE]) + (1000).to_bytes(2)


@asynccontextmanager
async def in_memory(
    answers: dict[int, bytes] | None = None, timing: Timing = QUICK
) -> AsyncIterator[tuple[Server, AbstractAsyncContextManager[Socket]]]:
    """A server in memory that is seen to be left, and the stream to it."""
    near, far = trio.testing.memory_stream_pair()
    server = Server(far, answers or {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        yield server, over(near, "exchange:99", "/stream?x=1", stamps=Stamps(), timing=timing)


async def flood(server: Server, count: int) -> None:
    """Sends so many messages, each of which is a read of its own as long as the client reads."""
    for _ in range(count):
        await server.stream.send_all(LAST)
        await trio.testing.wait_all_tasks_blocked()


async def test_messages_go_both_ways(autojump_clock: trio.testing.MockClock) -> None:
    """Text is sent as text; text and binary come as what they are; pings are answered."""
    async with in_memory(POLITE) as (server, link), link as socket:
        await socket.send("subscribe")
        await server.stream.send_all(LAST + frame(PING, b"p") + frame(BINARY, b"bin"))
        text, binary = await socket.receive(), await socket.receive()
    assert (text.payloads, text.binary, binary.payloads, binary.binary) == ([b"last"], False, [b"bin"], True)
    assert text.at < binary.at
    assert server.heard == [bytes([FINAL | TEXT]) + b"subscribe", bytes([FINAL | PONG]) + b"p", GOODBYE]


@pytest.mark.parametrize("unread", [0, 1, 200])
async def test_leaving_is_polite_and_quick(unread: int, autojump_clock: trio.testing.MockClock) -> None:
    """Goodbye is said and its answer found, whatever lies unread before it and whatever else the server still says."""
    async with in_memory(POLITE) as (server, link), link:
        await flood(server, unread)
    assert server.heard == [GOODBYE]
    assert trio.current_time() == 0


async def test_leaving_a_server_that_does_not_answer_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """It takes ``Timing.close``, to the second."""
    async with in_memory(timing=Timing(close=2)) as (server, link), link:
        pass
    assert server.heard == [GOODBYE]
    assert trio.current_time() == 2


@pytest.mark.parametrize(
    "error", [ValueError("mine"), LinkError("mine"), ExceptionGroup("mine", [ValueError("a"), KeyError("b")])]
)
async def test_an_error_in_the_body_comes_out_as_it_is(error: Exception) -> None:
    """Not wrapped in a group, not replaced, and the server is left politely."""
    async with in_memory(POLITE) as (server, link):
        with pytest.raises(type(error)) as caught:
            async with link:
                raise error
        assert repr(caught.value) == repr(error)
    assert server.heard == [GOODBYE]


async def test_cancelling_takes_no_time_and_still_says_goodbye(autojump_clock: trio.testing.MockClock) -> None:
    """No wait for an answer that no task is left to read."""
    async with in_memory() as (server, link):
        with trio.move_on_after(5) as scope:
            async with link as socket:
                await socket.receive()
        assert scope.cancelled_caught
        assert trio.current_time() == 5
    assert server.heard == [GOODBYE]


async def test_a_handshake_can_be_cancelled() -> None:
    """The stream is closed though nothing was opened."""
    near, far = trio.testing.memory_stream_pair()
    with trio.move_on_after(0.01) as scope:
        async with over(near, "exchange", "/", stamps=Stamps()):
            raise AssertionError
    assert scope.cancelled_caught
    await request_on(far)
    assert await far.receive_some() == b""


async def test_a_server_that_is_silent_after_a_ping_is_dead(autojump_clock: trio.testing.MockClock) -> None:
    """After ``ping_every + ping_timeout``, and what came before is delivered first."""
    async with in_memory(timing=Timing(ping_every=20, ping_timeout=15)) as (server, link), link as socket:
        await flood(server, 2)
        for _ in range(2):
            assert (await socket.receive()).payloads == [b"last"]
        with pytest.raises(LinkError, match="no sign of life within 15 s of a ping"):
            await socket.receive()
        assert trio.current_time() == 35


async def test_answered_pings_keep_a_quiet_connection(autojump_clock: trio.testing.MockClock) -> None:
    """An hour without a message."""
    async with in_memory(POLITE, Timing()) as (server, link):
        with trio.move_on_after(3600) as hour:
            async with link as socket:
                await socket.receive()
        assert hour.cancelled_caught
    assert len(server.heard) == 180


async def test_messages_are_a_sign_of_life_too(autojump_clock: trio.testing.MockClock) -> None:
    """A server that ignores pings but sends data is not dead."""
    async with in_memory(timing=Timing()) as (server, link), link as socket:
        for _ in range(400):
            await trio.sleep(9)
            await server.stream.send_all(LAST)
            assert (await socket.receive()).payloads == [b"last"]


async def test_waiting_for_our_own_consumer_is_no_silence(autojump_clock: trio.testing.MockClock) -> None:
    """While the queue is full nobody reads the answers to pings; the server is not blamed for that."""
    async with in_memory(POLITE, Timing()) as (server, link), link as socket:
        await flood(server, 200)
        await trio.sleep(1000)
        got = 0
        while got < 200:
            got += len((await socket.receive()).payloads)


async def test_sending_on_a_connection_that_is_over_is_a_failed_link() -> None:
    """The same reason as for receiving, as often as one asks."""
    async with in_memory() as (server, link), link as socket:
        await server.stream.send_all(closing(1001, "bye"))
        for _ in range(2):
            with pytest.raises(LinkError, match=r"closed by the exchange \(1001 bye\)"):
                await socket.receive()
        with pytest.raises(LinkError, match=r"closed by the exchange \(1001 bye\)"):
            await socket.send("too late")
