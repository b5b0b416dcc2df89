"""REST requests: time rules against a fake host on a fake clock, failures against real sockets on this machine."""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import NamedTuple

import httpx
import pytest
import trio
from trio.testing import MockClock

from trioagg import __version__
from trioagg.errors import LinkError, RateLimited, Rejected, SettingsError
from trioagg.transport.backoff import Backoff
from trioagg.transport.budget import Gate
from trioagg.transport.http import Http, Policy, open_http, tls_context

URL = "https://exchange.test/api?symbol=BTCUSDT"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:40 GMT"
ONCE = Policy(attempts=1)


class Says(NamedTuple):
    """An answer of the fake host."""

    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012  (nobody changes it)
    body: bytes = b"{}"


class Host:
    """The far end: answers by a script, its last line for ever, and notes when it was asked what."""

    def __init__(self, *script: Says | Exception, takes: float = 0) -> None:
        self.script = list(script) or [Says()]
        self.takes = takes
        self.asked: list[float] = []
        self.requests: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(trio.current_time())
        self.requests.append(request)
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        await trio.sleep(self.takes)
        if isinstance(said, Exception):
            raise said
        return httpx.Response(said.status, headers=said.headers, content=said.body)

    def client(self) -> AbstractAsyncContextManager[Http]:
        """A client whose whole network this host is."""
        return open_http(transport=httpx.MockTransport(self))


def gate_of(
    *, weight: int = 1200, window: float = 60, min_delay: float = 0, cap: float = 60, jitter: float = 0
) -> Gate:
    """A gate with a known jitter."""
    return Gate(weight=weight, window=window, min_delay=min_delay, backoff=Backoff(1, cap), random=lambda: jitter)


async def test_a_good_answer_comes_with_lower_case_headers(autojump_clock: MockClock) -> None:
    """Status, body and headers, and the request says who asks."""
    host = Host(Says(200, {"X-Thing": "1"}, b'[{"p":"0.10"}]'))
    async with host.client() as http:
        answer = await http.fetch(URL, gate=gate_of())
    assert (answer.status, answer.body, answer.headers["x-thing"]) == (200, b'[{"p":"0.10"}]', "1")
    assert (host.requests[0].method, str(host.requests[0].url)) == ("GET", URL)
    assert host.requests[0].headers["User-Agent"] == f"trioagg/{__version__}"


@pytest.mark.parametrize("body", ['{"type":"meta"}', ""])
async def test_a_body_is_posted(autojump_clock: MockClock, body: str) -> None:
    """As JSON, and an empty one too."""
    host = Host()
    async with host.client() as http:
        await http.fetch(URL, gate=gate_of(), body=body)
    request = host.requests[0]
    assert (request.method, request.content, request.headers["Content-Type"]) == (
        "POST",
        body.encode(),
        "application/json",
    )


@pytest.mark.parametrize(
    "trouble",
    [Says(500), Says(503), httpx.ConnectError("no"), httpx.RemoteProtocolError("half"), httpx.ReadError("no")],
    ids=repr,
)
async def test_what_may_pass_is_tried_again_with_growing_waits(
    autojump_clock: MockClock, trouble: Says | Exception
) -> None:
    """Tries at 0, 1, 3, 7 and 15 seconds, then a LinkError that names the host."""
    host = Host(trouble)
    async with host.client() as http:
        with pytest.raises(LinkError, match=r"^exchange\.test") as caught:
            await http.fetch(URL, gate=gate_of())
    assert type(caught.value) is LinkError
    assert host.asked == [0, 1, 3, 7, 15]


async def test_jitter_is_added_to_the_waits(autojump_clock: MockClock) -> None:
    """At most half on top."""
    host = Host(Says(500))
    async with host.client() as http:
        with pytest.raises(LinkError):
            await http.fetch(URL, gate=gate_of(jitter=1), policy=Policy(attempts=3))
    assert host.asked == [0, 1.5, 4.5]


async def test_a_passing_trouble_is_not_seen_by_the_caller(autojump_clock: MockClock) -> None:
    """The third try's answer comes back, and the next failure is the first again."""
    host = Host(Says(502), httpx.ReadError("no"), Says(body=b"good"), Says(500), Says())
    gate = gate_of()
    async with host.client() as http:
        assert (await http.fetch(URL, gate=gate)).body == b"good"
        await http.fetch(URL, gate=gate)
    assert host.asked == [0, 1, 3, 3, 4]


async def test_a_long_outage_keeps_growing_over_many_requests(autojump_clock: MockClock) -> None:
    """The waits belong to the host: a new request goes on where the last one gave up, up to the cap."""
    host, gate = Host(Says(500)), gate_of(cap=10)
    async with host.client() as http:
        for _ in range(3):
            with pytest.raises(LinkError):
                await http.fetch(URL, gate=gate, policy=Policy(attempts=2))
    assert host.asked == [0, 1, 3, 7, 15, 25]


async def test_each_failed_try_but_the_last_is_reported(autojump_clock: MockClock) -> None:
    """Why, and for how long nobody will ask."""
    heard: list[tuple[str, float]] = []
    async with Host(Says(500, body=b"")).client() as http:
        with pytest.raises(LinkError):
            await http.fetch(
                URL,
                gate=gate_of(),
                policy=Policy(attempts=3),
                on_retry=lambda error, wait: heard.append((str(error), wait)),
            )
    assert heard == [("exchange.test answered 500", 1), ("exchange.test answered 500", 2)]


@pytest.mark.parametrize(
    ("headers", "silence"),
    [
        ({"Retry-After": "3"}, 3),
        ({"Retry-After": "2.5"}, 2.5),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": LATER, "Date": DATE}, 3),
        ({"Retry-After": DATE, "Date": LATER}, 0),
        ({"Retry-After": DATE}, 0),
        ({}, 10),
        ({"Retry-After": "soon"}, 10),
        ({"Retry-After": "-5"}, 10),
        ({"Retry-After": "nan"}, 10),
        ({"Retry-After": "1723161253937"}, 10),
        ({"Retry-After": "1000000"}, 3 * 86400),
    ],
)
async def test_a_demand_for_silence_is_kept_to_the_second(
    autojump_clock: MockClock, headers: dict[str, str], silence: float
) -> None:
    """Counted from when the answer was read; where it names no time that can be, the exchange's cooldown."""
    host = Host(Says(429, headers), Says(), takes=0.5)
    async with host.client() as http:
        await http.fetch(URL, gate=gate_of())
    assert host.asked == [0, 0.5 + silence]


@pytest.mark.parametrize(("status", "silence"), [(429, 10), (418, 120), (403, 60)])
async def test_each_status_has_its_own_cooldown(autojump_clock: MockClock, status: int, silence: float) -> None:
    """Ten seconds, two minutes, one minute; and what the exchange's policy says goes first."""
    host = Host(Says(status), Says(), Says(status), Says())
    async with host.client() as http:
        await http.fetch(URL, gate=gate_of())
        await http.fetch(URL, gate=gate_of(), policy=Policy(cooldown={status: 7}))
    assert host.asked == [0, silence, silence, silence + 7]


async def test_the_waiting_time_is_read_from_the_configured_header(autojump_clock: MockClock) -> None:
    """Whatever its case, and no other header."""
    host = Host(Says(429, {"x-wait": "4", "Retry-After": "9"}), Says())
    async with host.client() as http:
        await http.fetch(URL, gate=gate_of(), policy=Policy(retry_after_header="X-Wait"))
    assert host.asked == [0, 4]


async def test_used_up_tries_tell_how_long_to_stay_silent(autojump_clock: MockClock) -> None:
    """The error carries the rest of the silence and what the exchange said."""
    host = Host(Says(429, {"Retry-After": "3"}, b'{"code":-1003}'))
    async with host.client() as http:
        with pytest.raises(RateLimited, match=r'^exchange\.test answered 429: {"code":-1003}$') as caught:
            await http.fetch(URL, gate=gate_of(), policy=Policy(attempts=3))
    assert host.asked == [0, 3, 6]
    assert caught.value.retry_after == 3


async def test_nobody_asks_inside_the_silence(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """Callers that come before and after the demand wait for its end, whatever they ask for."""
    host, gate = Host(Says(429, {"Retry-After": "3"}), Says(), takes=0.1), gate_of(min_delay=0.2)

    async def ask(client: Http, number: int, after: float) -> None:
        await trio.sleep(after)
        await client.fetch(f"{URL}&n={number}", gate=gate)

    async with host.client() as client:
        for number, after in enumerate((0, 0, 0.05, 1, 2.9, 3.0)):
            nursery.start_soon(ask, client, number, after)
        await trio.sleep(60)
    assert host.asked == pytest.approx([0, 3.1, 3.3, 3.5, 3.7, 3.9, 4.1])


async def test_a_silenced_host_leaves_another_alone(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """A rate limit is one host's business."""
    silent, other = Host(Says(418), Says()), Host()
    async with silent.client() as http, other.client() as elsewhere:
        nursery.start_soon(partial(http.fetch, URL, gate=gate_of()))
        await trio.sleep(1)
        await elsewhere.fetch("https://other.test/", gate=gate_of())
        await trio.sleep(200)
    assert (silent.asked, other.asked) == ([0, 120], [1])


@pytest.mark.parametrize(("header", "second"), [("30", 30), ("0", 1), ("later", 1)])
async def test_a_server_in_trouble_may_name_a_waiting_time(
    autojump_clock: MockClock, header: str, second: float
) -> None:
    """It makes the wait longer, never shorter than ours."""
    host = Host(Says(503, {"Retry-After": header}), Says())
    async with host.client() as http:
        await http.fetch(URL, gate=gate_of())
    assert host.asked == [0, second]


@pytest.mark.parametrize("status", [301, 304, 400, 401, 404, 451])
async def test_a_no_is_not_asked_again(autojump_clock: MockClock, status: int) -> None:
    """Redirects too; the error carries status, body and the start of the body in one printable line."""
    body = b'{"code":-1121,\n\x1b[31m"msg":"Invalid symbol."}' + b"x" * 400
    host, gate = Host(Says(status, {"Location": "https://elsewhere.test/"}, body)), gate_of()
    gate.failed()
    async with host.client() as http:
        with pytest.raises(Rejected) as caught:
            await http.fetch(URL, gate=gate)
    reason = str(caught.value)
    assert reason.startswith(f'exchange.test answered {status}: {{"code":-1121, [31m"msg":"Invalid symbol."}}xx')
    assert reason.isprintable()
    assert len(reason) < 250
    assert (caught.value.status, caught.value.body, len(host.asked)) == (status, body, 1)
    assert gate.failed() == 1, "a host that says no is well"


async def test_requests_to_one_host_are_spaced(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """However many callers there are."""
    host, gate = Host(), gate_of(min_delay=0.25)
    async with host.client() as http:
        for _ in range(4):
            nursery.start_soon(partial(http.fetch, URL, gate=gate))
        await trio.sleep(10)
    assert host.asked == [0, 0.25, 0.5, 0.75]


async def test_each_try_costs_its_weight(autojump_clock: MockClock) -> None:
    """Failed ones too: the exchange counts them."""
    gate = gate_of(weight=100, window=1e9)
    async with Host(Says(500), Says()).client() as http:
        await http.fetch(URL, gate=gate, weight=40)
    assert gate.tokens == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize(
    ("value", "left"), [("70", 30), ("0", 99), ("", 99), ("seventy", 99), ("-1", 99), ("9" * 5000, 99), ("7.5", 99)]
, ids=lambda value: str(value)[:9])  # fmt: skip
async def test_the_exchanges_count_of_the_weight_is_believed(
    autojump_clock: MockClock, value: str, left: float
) -> None:
    """Where it is a number and more than we know of."""
    gate = gate_of(weight=100, window=1e9)
    async with Host(Says(200, {"X-MBX-USED-WEIGHT-1M": value})).client() as http:
        await http.fetch(URL, gate=gate, policy=Policy(used_header="x-mbx-used-weight-1m"))
    assert gate.tokens == pytest.approx(left, abs=1e-3)


async def test_a_host_that_never_answers_is_a_failure_that_may_pass(autojump_clock: MockClock) -> None:
    """Each try takes ten seconds, and the next one waits besides."""
    host = Host(takes=1e4)
    async with host.client() as http:
        with pytest.raises(LinkError, match=r"^exchange\.test: timed out after 10 s$"):
            await http.fetch(URL, gate=gate_of(), policy=Policy(attempts=2))
    assert host.asked == [0, 11]


@pytest.mark.parametrize("during", ["the wait for its turn", "the request", "the wait after a failure"])
async def test_a_fetch_can_be_cancelled_at_any_time(autojump_clock: MockClock, during: str) -> None:
    """And leaves the host as it would have been."""
    host, gate = Host(Says(500), Says(), takes=0.5), gate_of(min_delay=5)
    if during == "the wait for its turn":
        await gate.turn()
    async with host.client() as http:
        with trio.move_on_after(0.7 if during == "the wait after a failure" else 0.3) as scope:
            await http.fetch(URL, gate=gate)
        assert scope.cancelled_caught
        await http.fetch(URL, gate=gate)
    assert host.asked[-2 if during == "the wait for its turn" else 1] == 5


@pytest.mark.parametrize("url", ["", "exchange.test/x", "ftp://exchange.test", "https://", "http://x:port/"])
async def test_what_is_no_url_is_not_tried(autojump_clock: MockClock, url: str) -> None:
    """One clear error at once."""
    host, gate = Host(), gate_of()
    async with host.client() as http:
        with pytest.raises(LinkError, match="is no"):
            await http.fetch(url, gate=gate)
    assert (host.asked, gate.tokens) == ([], 1200)


def caused(error: Exception, cause: BaseException) -> Exception:
    """An error as a library raises it for another one."""
    error.__cause__ = cause
    return error


def bad_certificate() -> ssl.SSLError:
    """What a handshake with a certificate of nobody's ends with."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "name not found"),
        (bad_certificate(), "TLS certificate not accepted: self-signed certificate"),
        (OSError(101, "Network is unreachable"), "network is unreachable"),
        (ConnectionResetError(104, "Connection reset by peer"), "connection reset"),
        (ExceptionGroup("all", [ConnectionRefusedError(111, "x"), OSError("y")]), "connection refused"),
        (caused(OSError("all attempts failed"), ConnectionRefusedError(111, "x")), "connection refused"),
        (trio.BrokenResourceError(), "it broke"),
    ],
    ids=["name", "certificate", "unreachable", "reset", "group", "chain", "unknown"],
)
async def test_a_failure_is_told_in_plain_words(autojump_clock: MockClock, cause: Exception, words: str) -> None:
    """Whatever lies how deep below it."""
    async with Host(caused(httpx.ConnectError("it broke"), cause)).client() as http:
        with pytest.raises(LinkError) as caught:
            await http.fetch(URL, gate=gate_of(), policy=ONCE)
    assert str(caught.value) == f"exchange.test: {words}"


# From here on: real sockets and the real clock.

Handler = Callable[[trio.SocketStream], Awaitable[None]]


@pytest.fixture(scope="module")
def tls() -> ssl.SSLContext:
    """One for all, since it takes long to make."""
    return tls_context()


@pytest.fixture
async def http(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Http]:
    """A client on the real network, of little patience, without anybody's proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    async with open_http(timeout=0.3, limit=100_000, tls=tls) as client:
        yield client


async def serve(nursery: trio.Nursery, handler: Handler) -> str:
    """Start a server; its URL."""

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await handler(stream)

    listeners: Sequence[trio.SocketListener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
    return f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"


async def request_on(stream: trio.SocketStream) -> bytes:
    """The head of the next request; empty if there is none."""
    head = bytearray()
    while b"\r\n\r\n" not in head:
        if not (part := await stream.receive_some()):
            break
        head += part
    return bytes(head)


def answers(raw: bytes, *, close: bool = True) -> Handler:
    """A server that answers each request with these bytes."""

    async def handler(stream: trio.SocketStream) -> None:
        while await request_on(stream):
            await stream.send_all(raw)
            if close:
                return

    return handler


def plain(body: bytes, *headers: str) -> bytes:
    """A whole good answer."""
    return "\r\n".join(("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "", "")).encode() + body


async def failure(http: Http, url: str, policy: Policy = ONCE) -> str:
    """Why a request failed, without the host."""
    with pytest.raises(LinkError) as caught:
        await http.fetch(url, gate=gate_of(), policy=policy)
    return str(caught.value).partition(": ")[2]


async def test_a_refused_connection(http: Http) -> None:
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert await failure(http, f"http://127.0.0.1:{taken.getsockname()[1]}/") == "connection refused"


async def test_an_unknown_host(http: Http) -> None:
    """A name that can be nobody's: its label is too long to be asked for."""
    assert await failure(http, f"http://{'a' * 64}.invalid/")


async def test_a_server_that_closes_within_a_body(http: Http, nursery: trio.Nursery) -> None:
    """Half an answer is none."""
    url = await serve(nursery, answers(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
    assert "closed" in await failure(http, url)


async def test_a_server_that_closes_without_a_word(http: Http, nursery: trio.Nursery) -> None:
    """As one does that closes a kept connection just as it is used again."""
    assert "disconnected" in await failure(http, await serve(nursery, answers(b"")))


async def test_a_server_that_speaks_something_else(http: Http, nursery: trio.Nursery) -> None:
    """Neither plain HTTP nor TLS."""

    async def handler(stream: trio.SocketStream) -> None:
        await stream.send_all(b"220 mail.test ESMTP\r\n\r\n")
        await trio.sleep_forever()

    url = await serve(nursery, handler)
    assert await failure(http, url)
    assert (await failure(http, url.replace("http:", "https:"))).startswith("TLS failed: ")


async def test_a_server_that_never_answers(http: Http, nursery: trio.Nursery) -> None:
    """It costs the time-out, not more."""

    async def handler(stream: trio.SocketStream) -> None:
        await request_on(stream)
        await trio.sleep_forever()

    assert (await failure(http, await serve(nursery, handler))).startswith("timed out after 0.")


async def test_a_handshake_that_never_ends(http: Http, nursery: trio.Nursery) -> None:
    """Given up after the time-out, or when the caller is cancelled, with its socket closed."""
    gone = trio.Semaphore(0)

    async def handler(stream: trio.SocketStream) -> None:
        while await stream.receive_some():
            pass
        gone.release()

    url = (await serve(nursery, handler)).replace("http:", "https:")
    assert (await failure(http, url)).startswith("timed out after 0.")
    with trio.move_on_after(0.05):
        await http.fetch(url, gate=gate_of())
    with trio.fail_after(1):
        await gone.acquire()
        await gone.acquire()


@pytest.mark.parametrize("pause", [0.02, 0])
async def test_headers_without_end(http: Http, nursery: trio.Nursery, pause: float) -> None:
    """A trickle runs into the time-out, a flood into a bound."""

    async def handler(stream: trio.SocketStream) -> None:
        await request_on(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n")
        while True:
            await stream.send_all(b"X-More: " + b"x" * 100 + b"\r\n")
            await trio.sleep(pause)

    reason = await failure(http, await serve(nursery, handler))
    assert reason.startswith("timed out after 0.") == bool(pause)


async def body_in_parts(stream: trio.SocketStream, *, parts: int, pause: float, missing: int = 1) -> None:
    """Answer a request slowly."""
    await request_on(stream)
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (parts + missing))
    for _ in range(parts):
        await trio.sleep(pause)
        await stream.send_all(b"x")
    await trio.sleep_forever()


async def test_a_body_that_keeps_coming_is_waited_for(http: Http, nursery: trio.Nursery) -> None:
    """Longer than the time-out in all, since no pause in it is as long."""
    url = await serve(nursery, partial(body_in_parts, parts=10, pause=0.05, missing=0))
    began = trio.current_time()
    assert (await http.fetch(url, gate=gate_of())).body == b"x" * 10
    assert trio.current_time() - began > 0.3


async def test_a_body_that_stops_coming(http: Http, nursery: trio.Nursery) -> None:
    """The time-out counts from its last part."""
    url = await serve(nursery, partial(body_in_parts, parts=2, pause=0.1))
    began = trio.current_time()
    assert (await failure(http, url)).startswith("timed out after ")
    assert trio.current_time() - began >= 0.5


async def test_a_trickling_body_has_an_end(tls: ssl.SSLContext, nursery: trio.Nursery) -> None:
    """Six time-outs, however busy it looks."""
    url = await serve(nursery, partial(body_in_parts, parts=99, pause=0.02))
    began = trio.current_time()
    async with open_http(timeout=0.1, tls=tls) as http:
        assert (await failure(http, url)).startswith("timed out after ")
    assert 0.6 <= trio.current_time() - began < 1.5


def squeezed(body: bytes) -> bytes:
    """A body as gzip."""
    return gzip.compress(body, mtime=0)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (plain(b"x" * 100_001), "the body is over 100000 bytes"),
        (plain(squeezed(b"x" * 500)[:-9], "Content-Encoding: gzip"), "the compressed body ended too early"),
        (plain(b"no gzip", "Content-Encoding: gzip"), "the body cannot be decompressed: "),
        (plain(b"x", "Content-Encoding: br"), "the body is compressed as 'br', which nobody asked for"),
    ],
    ids=["long", "cut", "rubbish", "unknown"],
)
async def test_a_body_that_cannot_be_taken(http: Http, nursery: trio.Nursery, raw: bytes, reason: str) -> None:
    """Too big or broken: it costs one request."""
    assert (await failure(http, await serve(nursery, answers(raw)))).startswith(reason)


async def test_a_body_that_is_small_only_until_it_is_decompressed(http: Http, nursery: trio.Nursery) -> None:
    """It costs one request, not the memory."""
    url = await serve(nursery, answers(plain(squeezed(b"x" * 20_000_000), "Content-Encoding: gzip")))
    tracemalloc.start()
    try:
        assert await failure(http, url) == "the body is over 100000 bytes"
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("ending", [0, 3600], ids=["cut", "stalled"])
async def test_a_rate_limit_counts_before_its_body_is_there(http: Http, nursery: trio.Nursery, ending: float) -> None:
    """And even if that never comes: the head says it all."""

    async def handler(stream: trio.SocketStream) -> None:
        await request_on(stream)
        await stream.send_all(b"HTTP/1.1 429 Slow\r\nRetry-After: 30\r\nContent-Length: 100\r\n\r\nslow")
        await trio.sleep(ending)

    gate, url = gate_of(), await serve(nursery, handler)
    began = trio.current_time()
    with pytest.raises(RateLimited, match=r"answered 429: slow$") as caught:
        await http.fetch(url, gate=gate, policy=ONCE)
    assert gate.closed_until - began >= 30
    assert caught.value.retry_after <= (29.75 if ending else 30), "counted from the body's end"


async def test_a_body_without_end(http: Http, nursery: trio.Nursery) -> None:
    """No length, no pause, no limit."""

    async def handler(stream: trio.SocketStream) -> None:
        await request_on(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send_all(b"x" * 10_000)

    assert await failure(http, await serve(nursery, handler)) == "the body is over 100000 bytes"


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (plain(b"x" * 100_000), b"x" * 100_000),
        (plain(squeezed(b"y" * 100_000), "Content-Encoding: gzip"), b"y" * 100_000),
        (plain(zlib.compress(b"z" * 9), "Content-Encoding: deflate"), b"z" * 9),
        (plain(b"", "Content-Encoding: gzip"), b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
    ids=["biggest", "gzip", "deflate", "empty", "chunked", "until closed", "none"],
)
async def test_a_body_in_each_form(http: Http, nursery: trio.Nursery, raw: bytes, body: bytes) -> None:
    """What the server meant, byte for byte."""
    assert (await http.fetch(await serve(nursery, answers(raw)), gate=gate_of())).body == body


async def test_connections_are_kept(http: Http, nursery: trio.Nursery) -> None:
    """Requests one after another share one connection, and so does one after an error status."""
    connections = 0

    async def handler(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await answers(plain(b"{}"), close=False)(stream)

    url, gate = await serve(nursery, handler), gate_of()
    for _ in range(5):
        await http.fetch(url, gate=gate)
    assert connections == 1


async def test_many_requests_at_once(http: Http, nursery: trio.Nursery) -> None:
    """Cancelled half-way, some of them, without a trace; the others come back."""
    url, gate = await serve(nursery, answers(plain(b"{}"), close=False)), gate_of()
    good: list[int] = []

    async def ask(number: int) -> None:
        with trio.move_on_after(0 if number % 3 == 0 else 5):
            good.append((await http.fetch(url, gate=gate)).status)

    async with trio.open_nursery() as askers:
        for number in range(30):
            askers.start_soon(ask, number)
    assert good == [200] * 20


class Slamming(Gate):
    """A gate that closes just after its first turn, as another request's answer may make it."""

    async def turn(self, weight: int = 1) -> float:
        """See ``Gate``."""
        started = await super().turn(weight)
        if self.closed_until < 0:
            self.closed_for(0.15)
        return started


async def test_a_request_still_connecting_when_silence_is_demanded_waits(http: Http, nursery: trio.Nursery) -> None:
    """No byte of it is sent before the silence is over, and it costs no try."""
    asked: list[float] = []

    async def handler(stream: trio.SocketStream) -> None:
        if await request_on(stream):
            asked.append(trio.current_time())
            await stream.send_all(plain(b"{}"))

    url = await serve(nursery, handler)
    gate = Slamming(weight=1200, window=60, min_delay=0, backoff=Backoff(1, 60))
    await http.fetch(url, gate=gate, policy=ONCE)
    assert len(asked) == 1
    assert asked[0] >= gate.closed_until


async def test_the_environments_proxy_is_used_but_not_for_this_machine(
    tls: ssl.SSLContext, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is asked for a host elsewhere; a server here is asked directly."""
    proxy = await serve(nursery, answers(plain(b"by proxy")))
    direct = await serve(nursery, answers(plain(b"direct")))
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with open_http(tls=tls) as http:
        assert (await http.fetch("http://exchange.invalid/", gate=gate_of())).body == b"by proxy"
        assert (await http.fetch(direct, gate=gate_of())).body == b"direct"


async def test_a_proxy_that_cannot_be_is_a_mistake_in_the_settings(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line instead of a traceback."""
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "gopher://127.0.0.1:1")
    with pytest.raises(SettingsError, match="proxy"):
        async with open_http(tls=tls):
            pytest.fail("the client opened")


def test_missing_authorities_are_a_mistake_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line instead of a traceback."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(SettingsError, match="SSL_CERT_FILE"):
        tls_context()
