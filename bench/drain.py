"""The load server alone: a client that looks at nothing, so that a table can show that the server is the faster end."""

from __future__ import annotations

import socket

from bench.figures import Figures, Load, Watch
from bench.frames import blocks, natives, pattern
from bench.peers.floor import HANDSHAKE


def drain(load: Load) -> Figures:
    """Socket → bytes, dropped."""
    left = sum(map(len, blocks(pattern(load.shape, natives(load.symbols)), load.messages)))
    host, _, port = load.server.partition(":")
    watch, buffer = Watch(), bytearray(1 << 20)
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(HANDSHAKE.format(load.place.partition("/")[2], load.server).encode())
        left -= len(connection.recv(65536).partition(b"\r\n\r\n")[2])
        while left > 0:
            left -= connection.recv_into(buffer)
        return watch.stop(load.messages)
