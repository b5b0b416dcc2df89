"""The tree of tasks: what a run is doing, told to whoever sends it a signal, without disturbing it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioagg.pipeline.flow import flow
from trioagg.pipeline.tree import Leaf, leaves

ROOT = Path(__file__).parent.parent
WORDS = "run --simulated --no-display -e binance -e kraken -d a.db --record raw --log-level WARNING".split()

usr1 = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no SIGUSR1")


async def test_tasks_stand_below_their_parents(nursery: trio.Nursery) -> None:
    """By name; nurseries of one task within each other are levels; the line is the innermost of ours."""
    _, outlet = flow("test", 1)

    async def parent() -> None:
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            inner.start_soon(outlet.take, 1, name="taker")
            outer.start_soon(trio.sleep_forever, name="b")
            outer.start_soon(trio.sleep_forever, name="a")

    nursery.start_soon(parent, name="parent")
    await wait_all_tasks_blocked()
    (task,) = (task for task in nursery.child_tasks if task.name == "parent")
    told = list(leaves(task))

    assert [(leaf.depth, leaf.name) for leaf in told] == [(0, "parent"), (1, "a"), (1, "b"), (2, "taker")]
    assert told[1] == Leaf(1, "a", "")
    assert told[3].waits.startswith("pipeline/flow.py:")
    assert told[3].waits.endswith(" Outlet.take in MemoryReceiveChannel.receive")
    nursery.cancel_scope.cancel()


@usr1
async def test_a_run_that_is_asked_tells_and_goes_on(tmp_path: Path) -> None:
    """Feeds, writers and channels by their names, at any log level; then it stops as ever, with every row."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = partial(trio.lowlevel.open_process, cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    with trio.fail_after(45):
        process = await run([sys.executable, "-m", "trioagg", *WORDS])
        assert process.stderr is not None
        told = b""
        try:
            while not (tmp_path / "a.db").exists():  # noqa: ASYNC110  (another process makes it)
                await trio.sleep(0.05)
            while not (b"kraken ws-1" in told and b"binance ws-1" in told and b"pipeline/stream.py" in told):
                process.send_signal(signal.SIGUSR1)
                with trio.move_on_after(1):
                    told += await process.stderr.receive_some()
            process.terminate()
            async for part in process.stderr:
                told += part
            assert await process.wait() == 0
        finally:
            process.kill()
    lines = told.decode()
    for name in ("signals", "binance", "kraken", "binance ws-1", "kraken clock", "writer sqlite:", "recorder"):
        assert name in lines, name
    assert "channel name=sqlite:" in lines
    assert "Traceback" not in lines
    assert "lost=0" in lines.splitlines()[-1]
