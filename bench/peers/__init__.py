"""What we are compared with, one file each; adding a peer adds its file and edits none.

A peer's file says:

- ``TITLE``: what it is, for the tables; ``PINS``: its requirements, pinned (empty: it runs where we do);
- ``PYTHON``: the one that it needs, as ``3.13`` (empty: ours);
- ``SLOW``: it takes one message where the fastest take so many;
- ``event(load)``: socket → the event that its user gets, dropped; and, if it can, ``row(load)``: → committed row.

The file is read where its library is not installed, so the library is imported in the function.
"""

from __future__ import annotations

import os
import pkgutil
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType

from attrs import define, field

from bench.figures import Figures, Load, Watch, tell


def names() -> list[str]:
    """The peers that there are."""
    return [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]


def load(name: str) -> ModuleType:
    """A peer's file."""
    return import_module(f"{__name__}.{name}")


def call(target: str) -> Callable[..., Figures | Mapping[str, float]]:
    """What ``module:function`` names."""
    module, _, function = target.partition(":")
    found: Callable[..., Figures | Mapping[str, float]] = getattr(import_module(module), function)
    return found


@define
class Count:
    """Counts messages from the first to the last, which ends the process: loops like these never end by themselves."""

    load: Load
    _left: int = field(init=False)
    _watch: Watch | None = None
    _latencies: list[int] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._left = self.load.messages

    def one(self) -> None:
        """A message is done."""
        self._watch = self._watch or Watch()
        self._left -= 1
        if not self._left:
            tell(self._watch.stop(self.load.messages, self._latencies))
            sys.stdout.flush()
            os._exit(0)

    def sent(self, at: float) -> None:
        """A message is done that was sent at that time, in seconds."""
        self._latencies.append(time.time_ns() - int(at * 1e9))
        self.one()
