"""Commands as a person gives them: a process, from its start to its end."""

from __future__ import annotations

import os
import subprocess
import time

from bench.figures import Load


def wait(load: Load, *command: str) -> dict[str, float]:
    """Run a command once; the load is of no matter.

    Returns:
        Seconds by the clock, and of CPU time.
    """
    began, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  (our own words)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": time.perf_counter() - began, "cpu": spent}
