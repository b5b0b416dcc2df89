"""cryptofeed 2: asyncio, uvloop, websockets, yapic."""

from __future__ import annotations

from bench.peers._cryptofeed import event

__all__ = ["event"]

TITLE = "cryptofeed 2.4.1 → callback"
PINS = ("cryptofeed==2.4.1", "websockets==17.4", "uvloop==0.23.0", "yapic.json==1.9.5")
PYTHON = "3.12"  # older ones would have to compile it
SLOW = 3
