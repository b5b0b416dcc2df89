"""cryptofeed 3: asyncio, uvloop, websockets, msgspec."""

from __future__ import annotations

from bench.peers._cryptofeed import event

__all__ = ["event"]

TITLE = "cryptofeed 3.0.1 → callback"
PINS = ("cryptofeed==3.0.1", "websockets==17.4", "uvloop==0.23.0", "msgspec==0.22.0")
PYTHON = "3.13"
SLOW = 3
