"""A run in several processes: one account, one way to stop, and a process that dies is started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from far_end import ask
from structlog.testing import capture_logs

import trioagg
from trioagg.cli import main
from trioagg.errors import SettingsError
from trioagg.model import Channel
from trioagg.pipeline import workers
from trioagg.pipeline.run import Job
from trioagg.pipeline.spool import folder_of, left_behind
from trioagg.pipeline.tally import Outcome
from trioagg.pipeline.worker import share
from trioagg.settings import Retry, Run, Settings, Shard
from trioagg.store import database
from trioagg.views.verify import show_differences

PAIR = ("-e", "binance", "-e", "kraken", "--workers", "2")
ROWS = "SELECT (SELECT count(*) FROM trades) + (SELECT count(*) FROM tickers)"
PARTS = ("stored", "duplicates", "quarantined", "conflated", "lost")
BEGUN = 'tell({"type": "Begun"});'
HEAD = """
import json, os, sys, time
def tell(told): os.write(1, json.dumps(told).encode() + b"\\n")
def account(**more):
    tally = {"received": 5, "stored": 3, "duplicates": 1, "quarantined": 0, "conflated": 1, "lost": 0, **more}
    beside = {"redis://x": {**tally, "spooled": 0, "belated": 2}}
    tell({"type": "Account", "outcome": {"tally": tally, "beside": beside, "failures": [], "drift": 1}})
"""


def job_of(folder: Path, **run: Any) -> Job:
    """Two exchanges for two workers, with short waits."""
    told = {"exchanges": ("binance", "kraken"), "workers": 2, "database": str(folder / "a.db"), **run}
    return Job(Settings(run=evolve(Run(), **told), retry=Retry(reconnect_delay=0.01, max_delay=0.05)))


async def lead(job: Job, script: str) -> tuple[Outcome, list[str]]:
    """A run whose workers are a script; and what was logged."""
    with capture_logs() as logs, trio.fail_after(30):
        outcome = await workers.lead(job, [sys.executable, "-c", HEAD + script])
    return outcome, [entry["event"] for entry in logs]


def test_exchanges_are_dealt_in_turn() -> None:
    """Each to one worker; there are no more workers than exchanges with a market."""
    settings = Settings(run=Run(exchanges=("binance", "kraken", "okx"), workers=2))
    parts = [evolve(settings, worker=Shard(number, 2)).exchanges for number in (1, 2)]
    assert parts == [("binance", "okx"), ("kraken",)]
    assert [workers.size(evolve(settings, run=evolve(settings.run, workers=n))) for n in (1, 2, 9)] == [1, 2, 3]


def test_a_worker_serves_on_a_port_of_its_own(tmp_path: Path) -> None:
    """The first one on the port that was named; the summary and the end are the parent's."""
    job = evolve(job_of(tmp_path), serve=("127.0.0.1", 9000), duration=3, display=True, simulated=True)
    second = share(job, Shard(2, 2))
    assert (second.serve, second.duration, second.display, second.simulated) == (
        ("127.0.0.1", 9001),
        None,
        False,
        False,
    )
    assert share(evolve(job, serve=("127.0.0.1", 0)), Shard(2, 2)).serve == ("127.0.0.1", 0)
    with pytest.raises(SettingsError, match="--serve: 2 workers need as many ports from 65535 on"):
        workers.check_workers(evolve(job, serve=("", 65535)))


def test_each_worker_has_a_spool_of_its_own(tmp_path: Path) -> None:
    """The first has that of a run without workers; those of workers that are none any more are found."""
    folders = [folder_of(tmp_path / "a.db", "redis://x", number) for number in (1, 2, 3)]
    assert folders[0] == folder_of(tmp_path / "a.db", "redis://x") and len(set(folders)) == 3
    for folder in folders:
        folder.mkdir(parents=True)
    assert [left_behind(tmp_path / "a.db", "redis://x", workers) for workers in (1, 2, 3)] == [
        folders[1:],
        folders[2:],
        [],
    ]


def test_python_starts_no_processes(tmp_path: Path) -> None:
    """A notebook has no command to start again."""
    with pytest.raises(SettingsError, match="workers=: only the command"):
        trioagg.run(workers=2, database=tmp_path / "a.db")


async def test_accounts_are_summed(tmp_path: Path) -> None:
    """Of the database and of each further store; the order to stop comes when the duration is over."""
    script = f"{BEGUN} assert sys.stdin.buffer.raw.read(1) == b's'; account()"
    outcome, events = await lead(evolve(job_of(tmp_path), duration=0.1), script)
    assert outcome.tally.counts() == {
        "received": 10,
        "stored": 6,
        "duplicates": 2,
        "quarantined": 0,
        "conflated": 2,
        "lost": 0,
    }
    assert (outcome.beside["redis://x"].belated, outcome.drift, outcome.problems) == (4, 2, [])
    assert events == ["a worker is started"] * 2 + ["done"]


async def test_who_dies_is_started_again_and_told(tmp_path: Path) -> None:
    """The other goes on; what the first life had received is in no account, and the exit code is 1."""
    died = tmp_path / "died"
    script = f"""
{BEGUN}
if sys.argv[-1] == "1/2" and not os.path.exists({str(died)!r}):
    open({str(died)!r}, "w").close()
    os.kill(os.getpid(), 9)
sys.stdin.buffer.raw.read(1)
account()
"""
    outcome, events = await lead(evolve(job_of(tmp_path), duration=1.5), script)
    assert outcome.problems == ["worker 1/2: it was killed by SIGKILL; what it had received is in no account"]
    assert outcome.tally.received == 10
    assert events.count("a worker is started") == 3 and events.count("starting the worker again") == 1


async def test_who_ends_well_by_itself_is_started_again(tmp_path: Path) -> None:
    """Somebody sent it a signal: its account counts, nothing failed."""
    outcome, _ = await lead(evolve(job_of(tmp_path), duration=1.5), f"{BEGUN} time.sleep(0.5); account()")
    assert outcome.tally.received >= 20 and not outcome.problems


@pytest.mark.parametrize("script", ["sys.exit(3)", f"{BEGUN} account(lost=1, stored=2)"])
async def test_what_no_other_will_do_better_ends_the_run(tmp_path: Path, script: str) -> None:
    """A worker that never begins, or one whose store takes nothing any more."""
    outcome, events = await lead(job_of(tmp_path), script)
    assert outcome.problems
    assert "starting the worker again" not in events


async def test_what_a_worker_refuses_is_refused(tmp_path: Path) -> None:
    """In one line of the parent's; so is a symbol that no exchange of any worker has."""
    with pytest.raises(SettingsError, match="no, never"):
        await lead(job_of(tmp_path), 'tell({"type": "Refused", "reason": "no, never"})')
    lacking = 'name = "binance" if sys.argv[-1] == "1/2" else "kraken";'
    lacking += 'tell({"type": "Lacking", "exchange": name, "symbol": "A/B", "message": name + " has none"});'
    with pytest.raises(SettingsError, match="has none"):
        await lead(job_of(tmp_path), f"{BEGUN} {lacking} sys.stdin.read()")


async def test_a_second_signal_is_passed_on_and_then_nobody_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them obeys at once; the other, which does not, is killed."""
    monkeypatch.setattr(workers, "OVERTIME", 0.3)
    script = f"""
{BEGUN}
orders = sys.stdin.buffer.raw.read(1) + sys.stdin.buffer.raw.read(1)
if sys.argv[-1] == "1/2":
    time.sleep(60)
account(lost=len(orders), stored=1) if orders == b"sn" else None
"""

    async def interrupt() -> None:
        for _ in range(2):
            await trio.sleep(1)
            signal.raise_signal(signal.SIGINT)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(interrupt)
        outcome, _ = await lead(job_of(tmp_path), script)
    late = "worker 1/2: it did not end in time and was killed; what it had received is in no account"
    assert outcome.tally.lost == 2 and outcome.failures == [late]


@contextmanager
def running(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The command against the built-in exchange, in a process group of its own; JSON lines on standard error."""
    command = [sys.executable, "-m", "trioagg", "run", "--simulated", "--no-display", "--log-format", "json"]
    command += [*PAIR, "-c", "trades", "-d", str(folder / "a.db"), *words]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(true: Callable[[], object]) -> None:
    """Look again and again, for a minute at most."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def both_store(file: Path, *, since: int = 0) -> bool:
    """Whether trades of both exchanges are there."""
    if not file.exists() or not ask(file, "SELECT 1 FROM sqlite_schema WHERE name = 'clocks'"):
        return False
    return ask(file, f"SELECT count(DISTINCT exchange) FROM trades WHERE received > {since}") == [(2,)]


def logged(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """All that it said until it ended."""
    _, err = process.communicate(timeout=60)
    return [json.loads(line) for line in err.splitlines()]


def pids_of(parent: int) -> list[int]:
    """Its child processes."""
    threads = Path(f"/proc/{parent}/task").glob("*/children")  # whichever of them began it
    return [int(word) for thread in threads for word in thread.read_text().split()]


def balanced(last: dict[str, Any], file: Path) -> None:
    """The sums are exact, and the rows are there."""
    assert last["event"] == "done" and last["received"] == sum(last[name] for name in PARTS)
    assert ask(file, ROWS) >= [(last["stored"],)] and last["received"] > 0


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_ctrl_c_stops_all_once_and_the_last_line_is_the_sum(tmp_path: Path) -> None:
    """To the process group, as a terminal does, and to each worker, as a supervisor does: nothing is lost."""
    file = tmp_path / "a.db"
    with running(tmp_path) as process:
        until(lambda: both_store(file))
        children = pids_of(process.pid)
        for number in (signal.SIGINT, signal.SIGTERM):
            for child in children:
                os.kill(child, number)
        os.killpg(process.pid, signal.SIGINT)
        lines = logged(process)

    assert (process.returncode, len(children)) == (0, 2)
    balanced(lines[-1], file)
    assert lines[-1]["lost"] == 0 and ask(file, ROWS) == [(lines[-1]["stored"],)]
    assert ask(file, "SELECT DISTINCT reason FROM sessions") == [("stopped",)]
    assert sum(line["event"] == "done" for line in lines) == 1


@linux
def test_a_worker_that_is_killed_comes_back_and_its_hole_is_filled(tmp_path: Path) -> None:
    """Its session is marked, the other's is not; the ledger agrees with the rows; exit 1."""
    file = tmp_path / "a.db"
    with running(tmp_path) as process:
        until(lambda: both_store(file))
        os.kill(pids_of(process.pid)[0], signal.SIGKILL)
        killed = time.time_ns()
        until(lambda: both_store(file, since=killed + 10**9))
        process.send_signal(signal.SIGTERM)
        lines = logged(process)

    assert process.returncode == 1
    balanced(lines[-1], file)
    assert any("killed by SIGKILL" in line["event"] for line in lines)
    lives = ask(file, "SELECT exchange, closed IS NULL, reason FROM sessions ORDER BY opened")
    assert sorted(reason for _, _, reason in lives) == ["killed", "stopped", "stopped"], lives
    with database(file) as db:
        assert not show_differences(db, "json")


@linux
def test_workers_without_a_parent_store_what_they_have_and_end(tmp_path: Path) -> None:
    """It was killed: nobody is left to count, and nothing is left behind."""
    file = tmp_path / "a.db"
    with running(tmp_path) as process:
        until(lambda: both_store(file))
        children = pids_of(process.pid)
        process.kill()
        process.wait()
        until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))

    assert ask(file, "SELECT count(*) FROM sessions WHERE closed IS NULL") == [(0,)]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--workers", "0"], ["--workers", "'0'", "from 1 to 64"]),
        ([*PAIR, "--sink", "parquet:///files"], ["--workers", "parquet:///files", "one process"]),
        ([*PAIR, "--serve", "65535"], ["--serve", "65535"]),
        (["--worker", "3/2"], ["--worker", "'3/2'"]),
    ],
)
def test_what_several_processes_cannot_do_is_one_line(
    words: Sequence[str], told: Sequence[str], elsewhere: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """And exit 2."""
    with pytest.raises(SystemExit) as ended:
        main(["run", "-c", Channel.TRADES.value, *words])
    out, err = capsys.readouterr()
    assert (ended.value.code, out, len(err.splitlines())) == (2, "", 1), err
    assert all(word in err for word in told), err
