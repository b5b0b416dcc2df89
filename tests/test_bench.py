"""The benchmark: every case sees every message, and all of them make the same events of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import asdict, evolve

sys.path.append(str(Path(__file__).parent.parent))  # behind the installed package

pytest.importorskip("resource", reason="the benchmark needs POSIX")

from bench import __main__ as command
from bench import report, stages
from bench.child import CASES
from bench.figures import Figures, Load
from bench.others import bare, plain
from bench.ours import adapter
from bench.server import blocks, load_server, natives, pattern, single
from trioagg.model import Trade

SYMBOLS, MESSAGES = 3, 700
FIGURES = Figures(messages=1000, seconds=0.5, cpu=0.25, rss=40.0, p50=1.0, p99=2.0)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The load server, in its own process."""
    with load_server() as address:
        yield address


@pytest.mark.parametrize("case", CASES)
async def test_a_case_ends_after_all_messages(server: str, case: str) -> None:
    """Each case takes exactly what was asked for, and its figures are possible."""
    figures = await CASES[case](Load(server, SYMBOLS, MESSAGES))

    assert figures.messages == MESSAGES
    assert 1_000 < figures.rate < 2_000_000
    assert 0 < figures.micros < 1_000
    assert 10 < figures.rss < 2_000
    assert (0 < figures.p50 <= figures.p99 < 1_000) == case.endswith("row")


async def test_a_live_feed_keeps_its_pace(server: str) -> None:
    """Frames come one by one, no faster than asked."""
    figures = await CASES["floor"](Load(server, SYMBOLS, 100, rate=2_000))

    assert 100 < figures.rate < 2_300


async def test_every_stage_costs_something() -> None:
    """Stages in the order of the line, each above nothing; the last is a difference, which noise may turn around."""
    micros = await stages.measure(SYMBOLS, 20_000)

    assert list(micros) == ["split", "decode, event (digest)", "intake, flow", "ledger", "row tuples", "store, SQLite"]
    assert all(cost > 0 for stage, cost in micros.items() if stage != "store, SQLite")


def test_a_case_runs_in_a_process_of_its_own(server: str) -> None:
    """What the child prints, the parent reads as figures."""
    assert Figures(**command.child("floor", Load(server, SYMBOLS, 10))).messages == 10


def test_the_frames_are_the_same_in_blocks_and_alone() -> None:
    """Both ways send the same bytes: about 170 a frame, ids contiguous per symbol and never twice."""
    whole = b"".join(blocks(SYMBOLS, MESSAGES))
    events, rest = bare(whole, natives(SYMBOLS))

    assert whole == b"".join(single(SYMBOLS, MESSAGES)) and not rest
    assert {len(frame) for frame in pattern(SYMBOLS)} <= set(range(165, 180))
    for symbol in natives(SYMBOLS).values():
        ids = [event.trade_id for event in events if event.symbol == symbol]
        assert ids == list(range(3_000_000_000, 3_000_000_000 + len(ids)))


def test_all_make_the_same_events() -> None:
    """Floor, naive loop and ours differ in nothing but the time of receipt."""
    frames = list(single(SYMBOLS, MESSAGES))
    texts = [frame[4:] for frame in frames]

    floor = bare(b"".join(frames), natives(SYMBOLS))[0]
    naive = [plain(text.decode(), natives(SYMBOLS)) for text in texts]
    ours = adapter(SYMBOLS).digest(texts, 0)
    assert undated(floor) == undated(naive) == undated(ours) and len(ours) == MESSAGES


def undated(events: object) -> list[Trade]:
    """Trades without their time of receipt."""
    assert isinstance(events, list)
    return [evolve(event, received=0) for event in events]


def test_the_report_compares_neighbours() -> None:
    """Ratios are taken round by round, and told as median and range."""
    twice = evolve(FIGURES, seconds=0.25)
    found = {"floor": [twice, FIGURES], "naive event": [FIGURES] * 2, "naive row": [FIGURES] * 2}
    text = report.ratios({**found, "our event": [twice, twice], "our row": [FIGURES, twice]})

    assert "| 2.00 (2.00 to 2.00) | 1.00 (1.00 to 1.00) |" in text
    assert "| 1.50 (1.00 to 2.00) |" in text
    assert "4,000 (4,000 to 4,000)" in report.throughput({"floor": [twice]})
    assert "250.0 (250.0 to 250.0) " in report.paced({"our row": [FIGURES]})
    assert "| all of them | 3.00" in report.stages([{"split": 1.0, "ledger": 2.0}])
    assert Figures(**asdict(twice)) == twice
