"""Reaching a host, encrypted or not, within a time, and what stood in the way in a few words."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import urlsplit

import trio
from attrs import frozen

from trioagg.errors import LinkError

_PORTS = {"ws": 80, "wss": 443}


@frozen
class Target:
    """Where a URL points to; ``authority`` is what the ``Host`` header says."""

    secure: bool
    host: str
    port: int
    authority: str
    resource: str


def aim(url: str) -> Target:
    """Reads a URL.

    Raises:
        LinkError: it is not one of a WebSocket.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = (parts.hostname or ".").encode("idna").decode()
        resource.encode("ascii")
    except (ValueError, KeyError):
        raise LinkError(f"not a WebSocket URL: {url!r}") from None
    return Target(parts.scheme == "wss", host, port, parts.netloc.rpartition("@")[2], resource)


async def dial(target: Target, tls: ssl.SSLContext | None, seconds: float) -> trio.abc.Stream:
    """Reaches the host, within so many seconds.

    Raises:
        LinkError: it cannot be reached or does not prove who it is, and why.
    """
    stream: trio.abc.Stream
    with limit(seconds, f"no connection to {target.authority}"):
        try:
            stream = tcp = await trio.open_tcp_stream(target.host, target.port)
        except OSError as error:
            raise LinkError(f"no connection to {target.authority}: {why(error)}") from error
        if target.secure:
            stream = await _encrypt(tcp, target.host, tls or _default_tls())
    return stream


async def _encrypt(stream: trio.SocketStream, host: str, tls: ssl.SSLContext) -> trio.abc.Stream:
    encrypted = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
    try:
        await encrypted.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        raise LinkError(f"no TLS with {host}: {why(error)}") from error
    except trio.Cancelled:
        await trio.aclose_forcefully(stream)
        raise
    return encrypted


@cache
def _default_tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@contextmanager
def limit(seconds: float, what: str) -> Iterator[None]:
    """Ends the block after so many seconds with a LinkError that says what did not happen."""
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise LinkError(f"{what} within {seconds:g} s") from None


def why(error: BaseException) -> str:
    """The shortest words for what is behind a network error."""
    root = error
    while cause := root.__cause__ or (root.exceptions[0] if isinstance(root, BaseExceptionGroup) else None):
        root = cause
    if isinstance(root, ssl.SSLCertVerificationError):
        return root.verify_message
    if isinstance(root, ssl.SSLError):
        return (root.reason or "TLS failed").replace("_", " ").lower()
    if isinstance(root, OSError):
        return (root.strerror or str(root)).rpartition(": ")[2]
    return str(root) or type(root).__name__
