"""The load server: one process on a core of its own, faster than any client, standard library only.

It answers ``GET /SYMBOLS/COUNT/RATE/…``: a WebSocket with COUNT of Binance's combined ``trade`` frames on so many
symbols, then silence; anything else with the list of these symbols. RATE 0 sends as fast as the socket takes; else
each frame is sent alone, so many a second. Ids count up by one per symbol: the frames are prepared with a mark in the
place of the digits that advance, and a block of 100 ids per symbol costs one ``bytes.replace``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent
IDS = 100  # per symbol and block: two digits
MARK = "#######"  # seven digits that advance from block to block
TEXT, CLOSE = 0x81, b"\x88\x02\x03\xe8"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = re.compile(rb"\r\nSec-WebSocket-Key: *(\S+)\r\n", re.IGNORECASE)


def natives(symbols: int) -> dict[str, str]:
    """The markets that are served: Binance's spelling → the unified one."""
    return {f"C{number:02}USDT": f"C{number:02}/USDT" for number in range(symbols)}


def pattern(symbols: int) -> list[bytes]:
    """One block of frames, the symbols in turn, with ``MARK`` where digits advance."""
    names = list(natives(symbols))
    return [_frame(_trade(name, place, n)) for n in range(IDS) for place, name in enumerate(names)]


def _trade(native: str, place: int, n: int) -> bytes:
    event = f'"e":"trade","E":1723{MARK}{n:02},"s":"{native}","t":3{MARK}{n:02}'
    price = f'"p":"{1000 + 997 * place + n / 100:.8f}","q":"0.{(7919 * n + place) % 100000 + 1:06}00"'
    side = "true" if n * n % 3 else "false"
    data = f'{event},{price},"T":1723{MARK}{n:02},"m":{side},"M":true'
    return f'{{"stream":"{native.lower()}@trade","data":{{{data}}}}}'.encode()


def _frame(payload: bytes) -> bytes:
    return bytes((TEXT, 126)) + len(payload).to_bytes(2) + payload


def blocks(symbols: int, count: int) -> Iterator[bytes]:
    """``count`` frames with distinct ids, in large pieces."""
    frames = pattern(symbols)
    whole = b"".join(frames)
    for number, start in enumerate(range(0, count, len(frames))):
        piece = whole if count - start >= len(frames) else b"".join(frames[: count - start])
        yield piece.replace(MARK.encode(), b"%07d" % number)


def single(symbols: int, count: int) -> Iterator[bytes]:
    """The same frames one by one."""
    frames = pattern(symbols)
    for number in range(count):
        block, place = divmod(number, len(frames))
        yield frames[place].replace(MARK.encode(), b"%07d" % block)


def serve(listener: socket.socket) -> None:
    """Answer one connection after the other, for ever."""
    while True:
        connection, _ = listener.accept()
        with connection, suppress(ConnectionError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _answer(connection)


def _answer(connection: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        if not (piece := connection.recv(4096)):
            return
        head += piece
    symbols, count, rate = map(int, head.split()[1].decode().split("/")[1:4])
    if key := KEY.search(head):
        accept = base64.b64encode(hashlib.sha1(key[1] + GUID, usedforsecurity=False).digest())
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        connection.sendall(upgrade + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        _stream(connection, symbols, count, rate)
    else:
        body = json.dumps({"symbols": _listed(symbols)}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def _listed(symbols: int) -> list[dict[str, str]]:
    return [
        {"symbol": native, "status": "TRADING", "baseAsset": native.removesuffix("USDT"), "quoteAsset": "USDT"}
        for native in natives(symbols)
    ]


def _stream(connection: socket.socket, symbols: int, count: int, rate: int) -> None:
    if rate:
        _send_paced(connection, single(symbols, count), 1 / rate)
    else:
        for block in blocks(symbols, count):
            connection.sendall(block)
    if connection.recv(4096):  # the client's good-bye
        connection.sendall(CLOSE)


def _send_paced(connection: socket.socket, frames: Iterator[bytes], gap: float) -> None:
    due = time.perf_counter()
    for frame in frames:
        while time.perf_counter() < due:  # a sleep would wake up too late
            pass
        connection.sendall(frame)
        due += gap


def pin(place: int) -> None:
    """Keep this process on the first (0) or last (-1) core that it may use, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[place]})


@contextmanager
def load_server() -> Iterator[str]:
    """The server in a process of its own; gives its ``host:port``."""
    command: Sequence[str] = [sys.executable, "-m", "bench.server"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603  (our own words)
        assert process.stdin
        assert process.stdout
        yield process.stdout.readline().strip()
        process.stdin.close()


def main() -> None:
    """Serve until standard input ends, which it does when the process that started us does."""
    pin(-1)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=[listener], daemon=True).start()
    sys.stdout.write("{}:{}\n".format(*listener.getsockname()))
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
