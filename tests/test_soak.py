"""The soak: its walk follows from the seed, and a short one works."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))  # behind the installed package

pytest.importorskip("resource", reason="the soak needs POSIX")

from bench import soak
from bench.walk import CHAPTER, FAR_END, NEAR_END, chapters
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


def test_a_short_soak_works(capsys: pytest.CaptureFixture[str]) -> None:
    """Five seconds, three faults: every trade is there in the end, and all that was promised is told."""
    assert soak.main(["--minutes", str(5 / 60), "--seed", "4"]) == 0

    told = capsys.readouterr().out
    for word in ("sent", "stored", "duplicated 0", "missing 0", "peak memory", "file handles", "tasks", "all is well"):
        assert word in told
