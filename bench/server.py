"""The load server: one process on a core of its own, faster than any client, standard library only.

It answers ``GET /SHAPE/FIRST/SYMBOLS/COUNT/RATE/…``: a WebSocket with COUNT of Binance's combined frames of a SHAPE on
so many symbols from a number on, then silence; anything else as Binance's REST does. RATE 0 sends as fast as the socket
takes; else each frame is sent alone, so many a second. It listens twice, the second time with TLS.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bench.frames import STAMP, answer, blocks, natives, pattern, single

ROOT = Path(__file__).parent.parent
CLOSE, PING = 8, 9
GOODBYE, PONG = b"\x88\x02\x03\xe8", b"\x8a"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = re.compile(rb"\r\nSec-WebSocket-Key: *(\S+)\r\n", re.IGNORECASE)
PATIENCE = 120.0  # seconds that a client may stay silent
CERTIFICATE = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"


class Address(NamedTuple):
    """Where the server is.

    Attributes:
        plain, secure: ``host:port``; the second one empty where no certificate can be made.
        trust: the certificate's file.
    """

    plain: str
    secure: str = ""
    trust: str = ""


class Wanted(NamedTuple):
    """What a request's path asks for.

    Attributes:
        symbols: the markets, see ``natives``.
        frames: one block; a request to REST has them made before the feed is timed.
        rest: the path behind it.
    """

    symbols: dict[str, str]
    frames: list[bytes]
    messages: int
    rate: int
    rest: str

    @classmethod
    def of(cls, path: str) -> Wanted:
        """Read a path."""
        _, shape, first, count, messages, rate, *rest = path.split("/")
        symbols = natives(int(count), int(first))
        frames = _frames(shape, tuple(symbols), STAMP if int(rate) else "")
        return cls(symbols, frames, int(messages), int(rate), "/".join(rest))


@cache
def _frames(shape: str, symbols: tuple[str, ...], when: str) -> list[bytes]:
    return pattern(shape, symbols, when)


class Peer:
    """The other end of one WebSocket, as far as it is listened to: its pings, and its good-bye."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._said = b""

    def hear(self, seconds: float = 0) -> bool:
        """Answer what was said; False once it has left."""
        if not self._pending() and not select.select([self._connection], [], [], seconds)[0]:
            return not seconds
        if not (piece := self._connection.recv(65536)):
            return False
        self._said += piece
        return all(self._answered(code, payload) for code, payload in self._frames())

    def _pending(self) -> bool:
        return isinstance(self._connection, ssl.SSLSocket) and self._connection.pending() > 0

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """Whole frames, unmasked; none is as long as 64 KiB."""
        while len(self._said) >= 6:
            short = self._said[1] & 127
            start = 8 if short == 126 else 6
            end = start + (int.from_bytes(self._said[2:4]) if short == 126 else short)
            if len(self._said) < end:
                return
            mask, masked = self._said[start - 4 : start], self._said[start:end]
            code, self._said = self._said[0] & 15, self._said[end:]
            yield code, bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))

    def _answered(self, code: int, payload: bytes) -> bool:
        if code == PING:
            self._connection.sendall(PONG + bytes([len(payload)]) + payload)
        if code == CLOSE:
            self._connection.sendall(GOODBYE)
        return code != CLOSE


def serve(listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
    """Answer every connection in a thread of its own, for ever."""
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_attend, args=[connection, tls], daemon=True).start()


def _attend(connection: socket.socket, tls: ssl.SSLContext | None) -> None:
    with suppress(OSError), tls.wrap_socket(connection, server_side=True) if tls else connection as opened:
        opened.settimeout(PATIENCE)
        while head := _head(opened):
            wanted = Wanted.of(head.split()[1].decode())
            if key := KEY.search(head):
                _upgrade(opened, key[1])
                _stream(opened, wanted)
                return
            body = answer(wanted.rest, wanted.symbols)
            kind = b"Content-Type: application/json\r\nContent-Length: %d" % len(body)
            opened.sendall(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (kind, body))


def _head(connection: socket.socket) -> bytes:
    """A request's head; empty at the connection's end. Nobody sends bodies, or the next request before the answer."""
    head = b""
    while b"\r\n\r\n" not in head:
        if not (piece := connection.recv(65536)):
            return b""
        head += piece
    return head


def _upgrade(connection: socket.socket, key: bytes) -> None:
    accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    connection.sendall(upgrade + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")


def _stream(connection: socket.socket, wanted: Wanted) -> None:
    peer = Peer(connection)
    for piece in _paced(wanted) if wanted.rate else blocks(wanted.frames, wanted.messages):
        connection.sendall(piece)
        if not peer.hear():
            return
    while peer.hear(PATIENCE):
        pass


def _paced(wanted: Wanted) -> Iterator[bytes]:
    """One frame at a time, each when it is due, stamped with the time of sending."""
    gap, stamp = 1 / wanted.rate, STAMP.encode()
    due = time.perf_counter()
    for frame in single(wanted.frames, wanted.messages):
        while time.perf_counter() < due:  # a sleep would wake up too late
            pass
        yield frame.replace(stamp, b"%016d" % (time.time_ns() // 1000))
        due += gap


def pin(place: int) -> None:
    """Keep this process on the first (0) or last (-1) core that it may use, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[place]})


@contextmanager
def load_server() -> Iterator[Address]:
    """The server in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.server", _certificate(Path(folder))]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603  (our own words)
            assert process.stdin
            assert process.stdout
            yield Address(*process.stdout.readline().rstrip("\n").split(" "))
            process.stdin.close()


def _certificate(folder: Path) -> str:
    """The path of a key and a certificate for this machine, signed by itself; empty where there is no openssl."""
    if not (openssl := shutil.which("openssl")):
        return ""
    file = folder / "localhost.pem"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(file), "-out", f"{file}.cert"]
    subprocess.run([openssl, *CERTIFICATE.split(), *names], check=True, capture_output=True)  # noqa: S603  (our own words)
    with file.open("a", encoding="utf-8") as whole:
        whole.write(Path(f"{file}.cert").read_text(encoding="utf-8"))
    return str(file)


def _listen(tls: ssl.SSLContext | None = None) -> str:
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threading.Thread(target=serve, args=[listener, tls], daemon=True).start()
    return "{}:{}".format(*listener.getsockname())


def main(certificate: str = "") -> None:
    """Serve until standard input ends, which it does when the process that started us does."""
    pin(-1)
    secure = ""
    if certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
        secure = _listen(tls)
    sys.stdout.write(f"{_listen()} {secure} {certificate}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
