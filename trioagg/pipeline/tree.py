"""The tree of tasks as it is now, for somebody who asks a running process what it is doing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import structlog
import trio
from attrs import frozen

from trioagg import logs
from trioagg.pipeline.flow import Gauge

log = structlog.get_logger(__name__)

HOUSE = str(Path(__file__).parent.parent)


@frozen
class Leaf:
    """One task.

    Attributes:
        depth: how many tasks and nurseries are above it.
        waits: our innermost line that it stands in, and what that called; empty where it is in nothing of ours.
    """

    depth: int
    name: str
    waits: str


def tell(gauges: Iterable[Gauge]) -> None:
    """Log every task, indented below its parent, and how full the channels are, whatever the log level."""
    level = max(logging.INFO, logs.level())
    root = trio.lowlevel.current_root_task()
    mains = root.child_nurseries[-1].child_tasks if root else ()  # Trio's own tasks are in those before
    for leaf in (leaf for main in mains for leaf in leaves(main)):
        log.log(level, "task", tree=f"{'· ' * leaf.depth}{leaf.name}", waits=leaf.waits)
    for gauge in gauges:
        log.log(level, "channel", name=gauge.name, waiting=gauge.waiting, capacity=gauge.capacity, peak=gauge.peak)


def leaves(task: trio.lowlevel.Task, depth: int = 0) -> Iterator[Leaf]:
    """A task, and those below it by their names; a nursery within another of one task is a level of its own."""
    yield Leaf(depth, task.name.removeprefix("trioagg."), _waits(task))
    for level, nursery in enumerate(task.child_nurseries, depth + 1):
        for child in sorted(nursery.child_tasks, key=lambda child: child.name):
            yield from leaves(child, level)


def _waits(task: trio.lowlevel.Task) -> str:
    frames = [(frame.f_code, line) for frame, line in task.iter_await_frames()]
    ours = [place for place, (code, _) in enumerate(frames) if code.co_filename.startswith(HOUSE)]
    if not ours:
        return ""
    code, line = frames[ours[-1]]
    called = frames[ours[-1] + 1 : ours[-1] + 2]
    where = f"{Path(code.co_filename).relative_to(HOUSE).as_posix()}:{line} {code.co_qualname}"
    return where + "".join(f" in {inner.co_qualname}" for inner, _ in called)
