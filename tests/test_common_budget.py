"""The processes of one host share one budget for an exchange: real processes, against the built-in exchange."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from far_end import far_end
from structlog.testing import capture_logs

from trioagg import host
from trioagg.transport import budget
from trioagg.transport.backoff import LONGEST_SILENCE, Backoff
from trioagg.transport.budget import Gate
from trioagg.transport.common import NOTHING, RECORD, Common, Moments, common

WEIGHT, WINDOW = 10, 0.5
ASK = """
import json, sys, time, trio
from trioagg.exchanges import Fetch, load
from trioagg.exchanges._terms import Limits
from trioagg.pipeline.rest import rest_of
from trioagg.settings import Retry, Venue
from trioagg.transport.clock import Stamps
from trioagg.transport.http import open_http

base, weight, window, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])

class Binance(load("binance")):
    limits = Limits(weight=weight, window=window)

async def main():
    asked = []
    async with open_http() as http:
        rest = rest_of(Binance, Venue(rest_url=base, min_delay=0), Retry(attempts=9), http=http, stamps=Stamps())
        print("ready", flush=True)
        sys.stdin.readline()
        asked.append(time.monotonic())
        with trio.move_on_after(seconds):
            while True:
                await rest.ask(Fetch("/api/v3/ping"))
                asked.append(time.monotonic())
    print(json.dumps(asked))

trio.run(main)
"""
HOLD = """
import os, sys
from trioagg import host
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
host.lock(file, int(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another(script: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """A process that has told its first line; killed at the end."""
    command = [sys.executable, "-c", script, *map(str, words)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


def gate_of(shared: Common | None, **more: Any) -> Gate:
    """A gate of this process, so slow that a busy machine's delays do not count."""
    limits = {"weight": WEIGHT, "window": 1000, "min_delay": 0, **more}
    return Gate(**limits, backoff=Backoff(100, 6000), random=lambda: 0.0, common=shared)


def begin(process: subprocess.Popen[str]) -> None:
    """Let it ask."""
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


def asked_by(process: subprocess.Popen[str]) -> list[float]:
    """When it began, and when its answers came."""
    begin(process)
    told: list[float] = json.loads(process.communicate(timeout=30)[0].splitlines()[-1])
    return told


async def collect(asked: list[list[float]], process: subprocess.Popen[str]) -> None:
    """The same, in a thread."""
    asked.append(await trio.to_thread.run_sync(asked_by, process))


async def test_two_processes_stay_within_one_weight() -> None:
    """Together they ask as often as one may, and both have their turns."""
    async with far_end() as urls:
        words = (urls.rest, WEIGHT, WINDOW, 2)
        with another(ASK, *words) as one, another(ASK, *words) as two:
            asked: list[list[float]] = []
            async with trio.open_nursery() as nursery:
                for process in (one, two):
                    nursery.start_soon(collect, asked, process)
        together = sorted(asked[0] + asked[1])
        requests = urls.statistics.requests

    assert min(map(len, asked)) > WEIGHT / 2
    most = WEIGHT + (together[-1] - together[0]) * WEIGHT / WINDOW
    assert WEIGHT < len(together) - 2 <= most and requests[200] <= most + 2


async def test_a_demand_for_silence_silences_all() -> None:
    """One process is refused; another that begins only then does not ask before the time is over."""
    async with far_end(faults=["429,count=1,retry_after=2"]) as urls:
        words = (urls.rest, 1000, 1, 4)
        with another(ASK, *words) as one, another(ASK, *words) as two:
            begin(one)
            while not urls.statistics.requests[429]:  # noqa: ASYNC110  (it is another process that asks)
                await trio.sleep(0.01)
            asked = await trio.to_thread.run_sync(asked_by, two)
        statistics = urls.statistics

    assert statistics.requests[429] == 1 and statistics.impatient == 0
    assert asked[1] - asked[0] > 1


async def test_who_is_killed_with_the_lock_leaves_it_behind() -> None:
    """While it holds it, nobody has a turn; once it is killed, the next one is at once."""
    shared = common("binance", "http://x")
    assert shared
    gate = gate_of(shared)
    with another(HOLD, shared.path, RECORD.size) as holder:
        with trio.move_on_after(0.3) as waiting:
            await gate.turn()
        assert waiting.cancelled_caught
        holder.kill()
        with trio.fail_after(5):
            await gate.turn()
    assert gate_of(shared).tokens == pytest.approx(WEIGHT - 1, abs=0.5)


async def test_who_is_stopped_with_the_lock_holds_up_nobody_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and this process goes by what it knows itself."""
    monkeypatch.setattr(budget, "PATIENCE", 0.1)
    shared = common("binance", "http://x")
    assert shared
    gate = gate_of(shared)
    with another(HOLD, shared.path, RECORD.size), capture_logs() as logs, trio.fail_after(20):
        await gate.turn()
        await gate.turn()
    assert [entry["event"] for entry in logs] == ["what other runs on this host ask is not known"]


async def test_what_one_gate_learns_another_knows() -> None:
    """Spacing, spending, silence and failures in a row; another exchange and another address know nothing of it."""
    one, two = (gate_of(common("binance", "http://x"), min_delay=100) for _ in range(2))
    others = [gate_of(common(*where)) for where in (("kraken", "http://x"), ("binance", "http://y"))]
    await one.turn(4)
    assert two.tokens == pytest.approx(6, abs=0.5)
    with trio.move_on_after(0.1) as spaced:
        await two.turn()
    assert spaced.cancelled_caught
    assert one.failed() == pytest.approx(100, abs=10) and two.silence == pytest.approx(100, abs=10)
    assert two.failed() == pytest.approx(200, abs=10)
    one.succeeded()
    two.closed_for(500)
    assert one.silence == pytest.approx(500, abs=10)
    assert [gate.silence for gate in others] == [0, 0] and others[0].tokens == WEIGHT


def test_what_was_written_before_the_host_started_is_nothing(tmp_path: Path) -> None:
    """Its clock began anew; so is a file without a record."""
    then, now = Common(tmp_path / "gate", clock=lambda: 1000.0), Common(tmp_path / "gate", clock=lambda: 50.0)
    with then.together(Moments(closed_until=1100.0), 0):
        pass
    for shared, expected in ((then, 1100.0), (now, 7.0)):
        mine = Moments(closed_until=7.0)
        with shared.together(mine, 0):
            assert mine.closed_until == expected
    for text in (b"", b"torn", NOTHING):
        (tmp_path / "gate").write_bytes(text)
        mine = Moments(closed_until=7.0)
        with then.together(mine, 0):
            assert mine == Moments(closed_until=7.0)


def test_files_are_private_and_go_when_nothing_in_them_can_hold(runtime: Path) -> None:
    """After three days, when another gate is made."""
    shared = common("binance", "http://x")
    assert shared
    with shared.together(Moments(), 0):
        pass
    found = [path.stat().st_mode & 0o777 for path in (runtime / "trioagg", shared.path.parent, shared.path)]
    assert found == [0o700, 0o700, 0o600]
    old = time.time() - LONGEST_SILENCE - 60
    os.utime(shared.path, (old, old))
    common("kraken", "http://x")
    assert not shared.path.exists()


async def test_without_a_folder_a_gate_is_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is told in one line, and works."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    with pytest.raises(OSError, match="none"):
        host.folder()
    with capture_logs() as logs:
        gate = gate_of(common("binance", "http://x"))
    assert [entry["event"] for entry in logs] == ["other runs on this host do not know what this one asks"]
    await gate.turn(4)
    assert gate.tokens == pytest.approx(6, abs=0.5)
