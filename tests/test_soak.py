"""The soak: its walk follows from the seed, a short one works, and what it compares it can tell apart."""

from __future__ import annotations

import re
import signal
import sqlite3
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))  # behind the installed package

pytest.importorskip("resource", reason="the soak needs POSIX")

from bench import counters, soak
from bench.collector import Collector, Figures, Life
from bench.course import risen
from bench.walk import CHAPTER, ENDS, FAR_END, NEAR_END, chapters
from trioagg.simulator.faults import parse


def test_a_walk_follows_from_its_seed() -> None:
    """The same seed leads the same way, past every fault, in chapters that end; each is one that the far end knows."""
    one, same, other = (list(chapters(3600, seed)) for seed in (1, 1, 2))

    assert one == same != other
    assert sum(chapter.length for chapter in one) == 3600 and max(chapter.length for chapter in one) == CHAPTER
    assert {step.name for chapter in one for step in chapter.steps} == {*FAR_END, *NEAR_END}
    for chapter in one:
        assert all(0 < a.at < b.at < chapter.length for a, b in pairwise(chapter.steps))
        assert all(parse(spec) for spec in chapter.specs) and len(chapter.steps) < CHAPTER / 2
    ends = [n * CHAPTER + step.at for n, chapter in enumerate(one) for step in chapter.steps if step.name in ENDS]
    assert ends and max(ends) < 3600 / 2  # and then it lives


def test_a_short_soak_works(capsys: pytest.CaptureFixture[str]) -> None:
    """Five seconds, three faults: every trade is there in the end, and all that was promised is told.

    The rows prove each counter that a run serves: were one of them one more, or were a row gone, that would be told.
    """
    assert soak.main(["--minutes", str(5 / 60), "--seed", "4"]) == 0

    told = capsys.readouterr().out
    for word in ("sent", "stored", "duplicated 0", "missing 0", "peak memory", "file handles", "tasks", "all is well"):
        assert word in told
    file = Path(re.findall(r"database and log in (\S+)", told)[0]) / "soak.db"
    served = proved(file)
    assert counters.differences(served, file, since=0) == []
    for name in served:
        assert counters.differences({**served, name: served[name] + 1}, file, since=0) != [], name
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("DELETE FROM trade WHERE received = (SELECT max(received) FROM trade)")
    assert "trades" in " ".join(counters.differences(served, file, since=0))


def proved(file: Path) -> dict[tuple[str, ...], float]:
    """The counters of a run that left these rows, and nothing that no row could tell."""
    with closing(sqlite3.connect(file)) as db:
        of = dict(counters.stored(db, 0))
    kept = {("trioagg_messages_total", *rest): n for (name, *rest), n in of.items() if name == counters.ROWS}
    bad = {("trioagg_messages_total", "unknown", *rest): n for (name, *rest), n in of.items() if "quarantined" in name}
    return {**of, **kept, **bad, ("trioagg_commit_seconds_count",): sum(kept.values()) + sum(bad.values())}


@pytest.mark.parametrize(
    ("asked", "told", "well"),
    [
        (signal.SIGTERM, 1, [0]),
        (signal.SIGTERM, 0, [0, -signal.SIGTERM]),  # it had not begun to hold signals back
        (signal.SIGKILL, 1, [-signal.SIGKILL]),
        (None, 1, []),
    ],
)
def test_an_end_that_nobody_asked_for_is_a_failure(asked: signal.Signals | None, told: int, well: list[int]) -> None:
    """Each signal has its exit codes; a process that has told nothing yet may die of any."""
    for code in (0, 1, 2, -signal.SIGTERM):
        collector = Collector(Path("none"), asked=asked, life=Life(course=[Figures()] * told))
        collector.judge(code)
        assert (collector.failures == []) is (code in well), code


def test_what_grows_with_age_is_told() -> None:
    """A course that is flat once it is warm is well, and so is a moment's need; a slow rise is not."""
    warm = [Figures(100 - 50 // (n + 1), 20, 30) for n in range(1200)]
    busy = [Figures(150, 90, 60) if n % 5 else figures for n, figures in enumerate(warm)]
    rising = [Figures(100 + n // 40, 20 + n // 300, 30) for n in range(1200)]

    assert risen(warm) == risen(busy) == []
    assert risen(rising) == ["memory rose from 110 to 125", "handles rose from 21 to 23"]
    assert risen(rising[:1000]) == []  # too short to tell
