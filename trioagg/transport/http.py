"""REST: the only module that imports httpx.

One client serves the whole process. ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` of the environment
are obeyed, except for this machine itself: a local proxy, simulator or test server is always asked directly.
``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the built-in list of authorities. Redirects are not followed.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import httpx
import trio
from attrs import field, frozen

from trioagg import __version__
from trioagg.errors import LinkError, RateLimited, Rejected, SettingsError
from trioagg.transport.backoff import retry_after
from trioagg.transport.budget import Gate

COOLDOWN = {429: 10.0, 418: 120.0, 403: 60.0}
"""HTTP statuses that ask for silence, with its seconds where the answer names none."""

_PATIENCE = 6  # times ``timeout`` that a body may take as long as it keeps coming
_LOOPBACK = ("all://localhost", "all://127.0.0.1", "all://[::1]")
_SPOKEN = 200  # characters of a body that are worth a line


@frozen
class Answer:
    """A good answer; header names are in lower case, the body is decompressed."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def _with_cooldown(given: Mapping[int, float]) -> Mapping[int, float]:
    return COOLDOWN | dict(given)


@frozen
class Policy:
    """How to ask one exchange.

    Attributes:
        attempts: tries per request.
        retry_after_header: the answer's header that tells how long to stay silent.
        used_header: the answer's header that tells the weight used so far; empty where there is none.
        cooldown: seconds of silence for a status that comes without a waiting time; laid over ``COOLDOWN``.
    """

    attempts: int = 5
    retry_after_header: str = "Retry-After"
    used_header: str = ""
    cooldown: Mapping[int, float] = field(factory=dict[int, float], converter=_with_cooldown)


OnRetry = Callable[[LinkError, float], None]
"""Told of each try that failed while more are left: why, and the seconds until the next one."""

_DEFAULT = Policy()


class _ShutOutError(Exception):
    """The gate closed while a request was on its way to a connection: not a byte of it was sent."""


def tls_context() -> ssl.SSLContext:
    """The TLS context for all of the process; making one takes 0.1 s.

    Raises:
        SettingsError: the authorities that the environment names cannot be read.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise SettingsError(f"SSL_CERT_FILE or SSL_CERT_DIR cannot be used: {error}") from error


@asynccontextmanager
async def open_http(
    *,
    timeout: float = 10,  # noqa: ASYNC109  (of each request, not of this call)
    limit: int = 64 * 2**20,
    tls: ssl.SSLContext | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[Http]:
    """The REST client, open for as long as the context is.

    Args:
        timeout: seconds until an answer's headers are there, and between two parts of its body; six times that in all.
        limit: bytes that no body exceeds, decompressed.
        tls: shared with others; made here if None.
        transport: takes the network's place.

    Raises:
        SettingsError: the environment names a proxy, or authorities, that cannot be used.
        ValueError: ``tls`` does not verify.
    """
    if tls and not (tls.verify_mode is ssl.CERT_REQUIRED and tls.check_hostname):
        raise ValueError("the TLS context must verify certificates")
    verify = tls or (tls_context() if transport is None else False)
    try:
        client = httpx.AsyncClient(
            headers={"User-Agent": f"trioagg/{__version__}", "Accept-Encoding": "gzip"},
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=50, keepalive_expiry=30),
            mounts=dict.fromkeys(_LOOPBACK),
            timeout=httpx.Timeout(None),  # one cancel scope around it all is simpler, and leaves nothing out
            transport=transport,
            verify=verify,
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise SettingsError(f"the proxy that the environment names cannot be used: {error}") from error
    async with client:
        yield Http(client, timeout=timeout, limit=limit)


class Http:
    """The REST client; ``open_http`` makes it."""

    def __init__(self, client: httpx.AsyncClient, *, timeout: float, limit: int) -> None:
        self._client = client
        self._timeout = timeout
        self._limit = limit

    async def fetch(
        self,
        url: str,
        *,
        gate: Gate,
        weight: int = 1,
        body: str | None = None,
        policy: Policy = _DEFAULT,
        on_retry: OnRetry | None = None,
    ) -> Answer:
        """Ask until there is an answer or the tries are used up.

        Args:
            url: with its query.
            gate: the turns of the URL's host.
            weight: what the request costs of the host's budget.
            body: JSON to post; None to get.
            policy: how to ask this exchange.
            on_retry: see ``OnRetry``.

        Raises:
            Rejected: it answered with a redirect or a 4xx that no wait changes.
            RateLimited: the last try was answered with a demand for silence.
            LinkError: the last try failed for another reason, or the URL is none.
        """
        request = self._request(url, body)
        tries = 0
        while True:
            tries += 1
            try:
                return await self._try(request, gate, weight, policy)
            except Rejected:
                raise
            except LinkError as error:
                if tries >= policy.attempts:
                    raise
                if on_retry is not None:
                    on_retry(error, gate.silence)

    def _request(self, url: str, body: str | None) -> httpx.Request:
        method, headers = ("GET", None) if body is None else ("POST", {"Content-Type": "application/json"})
        try:
            request = self._client.build_request(method, url, content=body, headers=headers)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise LinkError(f"{url!r} is no URL: {error}") from error
        if request.url.scheme not in ("http", "https") or not request.url.host:
            raise LinkError(f"{url!r} is no HTTP URL")
        return request

    async def _try(self, request: httpx.Request, gate: Gate, weight: int, policy: Policy) -> Answer:
        while True:
            started = await gate.turn(weight)
            try:
                answer = await self._exchange(request, gate, policy)
            except _ShutOutError:
                continue
            except LinkError:
                gate.failed(started)
                raise
            _judge(_host(request), answer, started=started, gate=gate, policy=policy)
            return answer

    async def _exchange(self, request: httpx.Request, gate: Gate, policy: Policy) -> Answer:
        began, body = trio.current_time(), _Body(self._limit)
        head: httpx.Response | None = None
        try:
            with trio.move_on_after(self._timeout) as scope:
                async with aclosing(await self._send(request, gate)) as head:
                    _heed(head.status_code, head.headers, gate, policy)
                    await self._read(head, body, scope)
        except (httpx.HTTPError, UnicodeError) as error:
            body.fault = _reason(error)
        else:
            if scope.cancelled_caught and not body.fault:
                body.fault = f"timed out after {round(trio.current_time() - began, 1):g} s"
        if head is None or (body.fault and head.is_success):  # an error's status counts even if its body is broken
            raise LinkError(f"{_host(request)}: {body.fault}")
        return Answer(head.status_code, bytes(body.content), dict(head.headers))

    async def _send(self, request: httpx.Request, gate: Gate) -> httpx.Response:
        steps = _Steps(gate)
        request.extensions["trace"] = steps.step
        try:
            return await self._client.send(request, stream=True)
        except BaseException:
            await steps.abort()  # noqa: ASYNC102  (it shields itself)
            raise

    async def _read(self, response: httpx.Response, body: _Body, scope: trio.CancelScope) -> None:
        body.encoded(response.headers.get("content-encoding", "identity"))
        last = scope.deadline + (_PATIENCE - 1) * self._timeout
        async for part in cast("httpx.AsyncByteStream", response.stream):
            scope.deadline = min(trio.current_time() + self._timeout, last)
            body.take(part)
            if body.fault:
                scope.cancel()  # an exception raised here would leave the generators below it half-way
        body.end()


class _Body:
    """A body as it grows, decompressed and bounded; ``fault`` says why it is worth nothing."""

    def __init__(self, limit: int) -> None:
        self.fault = ""
        self._limit = limit
        self.content = bytearray()
        self._inflate: zlib._Decompress | None = None

    def encoded(self, encoding: str) -> None:
        if encoding.lower() in ("gzip", "x-gzip", "deflate"):
            self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # tells gzip and zlib apart by itself
        elif encoding.lower() != "identity":
            self.fault = f"the body is compressed as {encoding!r}, which nobody asked for"

    def take(self, part: bytes) -> None:
        room = self._limit - len(self.content)
        try:
            self.content += part if self._inflate is None else self._inflate.decompress(part, room + 1)
        except zlib.error as error:
            self.fault = f"the body cannot be decompressed: {error}"
        if len(self.content) > self._limit:
            self.fault = f"the body is over {self._limit} bytes"

    def end(self) -> None:
        if self._inflate is not None and self.content and not self._inflate.eof:
            self.fault = self.fault or "the compressed body ended too early"


class _Steps:
    """Watches a request on its way to the wire; httpcore calls ``step`` at each step."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._stream: trio.abc.AsyncResource | None = None

    async def step(self, name: str, info: Mapping[str, Any]) -> None:
        """Stop a request that got its connection after the host had asked for silence."""
        if name.endswith("connect_tcp.complete"):
            self._stream = info["return_value"]
        elif name.endswith("send_request_headers.started") and self._gate.silence:
            raise _ShutOutError

    async def abort(self) -> None:
        """Close a connection made for nothing: httpcore forgets one that is cancelled in its TLS handshake."""
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)


def _heed(status: int, headers: Mapping[str, str], gate: Gate, policy: Policy) -> None:
    """Keep the silence that an answer demands, and believe its count, from the moment when its head was read."""
    count = headers.get(policy.used_header.lower(), "").strip()
    if re.fullmatch(r"[0-9]{1,12}", count):
        gate.used(int(count))
    seconds = retry_after(headers.get(policy.retry_after_header.lower(), ""), headers.get("date", ""), time.time())
    if status in policy.cooldown:
        gate.closed_for(policy.cooldown[status] if seconds is None else seconds)
    elif httpx.codes.is_server_error(status) and seconds is not None:
        gate.closed_for(seconds)


def _judge(host: str, answer: Answer, *, started: float, gate: Gate, policy: Policy) -> None:
    """Tell the gate whether the host is well, and raise what the answer means for the request."""
    reason = f"{host} answered {answer.status}{_spoken(answer.body)}"
    if answer.status in policy.cooldown:
        raise RateLimited(reason, gate.silence)
    if httpx.codes.is_server_error(answer.status):
        gate.failed(started)
        raise LinkError(reason)
    gate.succeeded()
    if not httpx.codes.is_success(answer.status):
        raise Rejected(reason, answer.status, answer.body)


def _host(request: httpx.Request) -> str:
    return request.url.netloc.decode("ascii")


def _spoken(body: bytes) -> str:
    """The start of a body as a part of one line, with nothing in it that a terminal would obey."""
    text = body[: 4 * _SPOKEN].decode("utf-8", "replace")[:_SPOKEN]
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line and f": {line}"


def _reason(error: Exception) -> str:
    """Why a request failed, in a few plain words."""
    return next((words for cause in _causes(error) if (words := _words(cause))), str(error) or type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What lies behind an exception, the nearest first."""
    behind = error.__cause__ or error.__context__
    if behind is not None:
        yield behind
        yield from _causes(behind)
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield part
            yield from _causes(part)


def _words(cause: BaseException) -> str:
    match cause:
        case ssl.SSLCertVerificationError():
            words = f"TLS certificate not accepted: {cause.verify_message}"
        case ssl.SSLError():
            words = f"TLS failed: {(cause.reason or str(cause)).replace('_', ' ').lower()}"
        case socket.gaierror():
            words = "name not found"
        case ConnectionRefusedError():
            words = "connection refused"
        case ConnectionError():
            words = "connection reset"
        case OSError(strerror=str(text)):
            words = text.lower()
        case _:
            words = ""
    return words
