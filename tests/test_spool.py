"""A sink that is away: what it misses waits on disk, in order, and is delivered before anything newer."""

from __future__ import annotations

import logging
import math
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from test_conflation import ticker, trades
from trio.testing import MockClock

from trioagg.errors import SinkError, StoreError
from trioagg.exchanges import counts
from trioagg.integrity.continuity import Run
from trioagg.integrity.ledger import Draft, Known, Ledger
from trioagg.model import STATES, Event, Instrument, Loss, Nanos, Record, Trade
from trioagg.pipeline.flow import Conflation, Inlet, flow
from trioagg.pipeline.packing import FRAME
from trioagg.pipeline.patient import PORTION, PatientWriter
from trioagg.pipeline.spool import Spool, folder_of
from trioagg.pipeline.tally import SinkTally
from trioagg.settings import Buffers, redacted
from trioagg.store import Counts

T = TypeVar("T")

DOWN = SinkError("down")
LOSS = Loss("binance", "BTC/USDT", "book", 1, 2, "a change did not come", 3)


class Here(Spool):
    """A spool whose files are written in the task, since the fake clock jumps while a thread works."""

    async def aside(self, work: Callable[..., T], *args: Any, **_: Any) -> T:
        """Run it now."""
        await trio.lowlevel.checkpoint()
        return work(*args)


@define(eq=False)
class Place:
    """A sink in memory that tells what it has already; it is away in some spans of time, or hangs.

    Attributes:
        away: the spans, in seconds of the test's time.
        events: as they were offered.
        hangs: it fails at the end of the span only.
        takes: batches that it takes before it is away for good.
        deadly: a failure is for ever.
        largest: events of the largest batch that it was offered.
    """

    away: Sequence[tuple[float, float]] = ()
    hangs: bool = False
    takes: float = math.inf
    deadly: bool = False
    largest: int = 0
    events: list[Event] = field(factory=list)
    notes: list[Record] = field(factory=list)
    seen: set[tuple[type, Nanos]] = field(factory=set)

    async def write(self, batch: Sequence[Event], draft: Draft, /) -> Counts:
        """Keep the batch, unless it is away."""
        losses = draft.entries(lambda exchange, symbol: Known(None, None, ()), stale=False).losses
        await trio.lowlevel.checkpoint()
        self.largest = max(self.largest, len(batch))
        for since, until in self.away:
            if since <= trio.current_time() < until:
                await trio.sleep(until - trio.current_time() if self.hangs else 0)
                raise StoreError("gone") if self.deadly else DOWN
        if not self.takes:
            raise DOWN
        self.takes -= 1
        before = len(self.seen)
        self.seen |= {(type(event), event.received) for event in batch}
        self.events += batch
        self.notes += losses
        stored = len(self.seen) - before
        return Counts(stored=stored, duplicates=len(batch) - stored)

    async def around(self, exchange: str, symbol: str, run: Run, /) -> tuple[Nanos | None, Nanos | None]:
        """Nothing from before."""
        return None, None

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        """Keep nothing."""


def writer(
    place: Place, folder: Path, *, megabytes: float = 1, capacity: int = 100, rows: int = 10
) -> tuple[Inlet[Record], Any]:
    """A writer with a spool, on a flow of its own; it commits so many events at a time at the most."""
    tally = SinkTally()
    rule = Conflation(STATES, lambda event: (type(event), event.symbol), tally.conflate)
    inlet, outlet = flow("place", capacity, rule)
    ledgers = [Ledger(counts, cause="not received", first_cause="not running") for _ in range(2)]
    return inlet, PatientWriter(
        outlet=outlet,
        sink=place,
        ledger=ledgers[0],
        tally=tally,
        buffers=Buffers(commit_rows=rows, commit_delay=0.01),
        dead=lambda: None,
        noticed=lambda: None,
        spool=Here(folder, round(megabytes * 1e6)),
        earlier=ledgers[1],
    )


async def drive(
    inlet: Inlet[Record],
    task: PatientWriter,
    batches: Iterable[Sequence[Record]],
    *,
    every: float = 0.1,
    drain: float = 8,
) -> float:
    """A run that puts a batch from time to time, and then stops.

    Returns:
        Seconds that it waited for room.
    """
    waited = 0.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        for batch in batches:
            inlet.put(batch)
            before = trio.current_time()
            await inlet.room()
            waited += trio.current_time() - before
            await trio.sleep(every)
        inlet.close()
        nursery.cancel_scope.deadline = trio.current_time() + drain
    task.lose()
    return waited


def tens(first: int, last: int) -> list[list[Event]]:
    """Batches of ten trades each, numbered onwards."""
    return [trades(range(10 * number, 10 * number + 10)) for number in range(first, last)]


def flat(batches: Iterable[Sequence[Event]]) -> list[Event]:
    """All of them in a row."""
    return [event for batch in batches for event in batch]


def empty(folder: Path) -> bool:
    """Whether nothing was left behind."""
    return not list(folder.iterdir())


@pytest.mark.parametrize(
    "away",
    [
        [(0.0, 30.0)],
        [(10.0, 50.0)],
        [(at, at + 0.5) for at in range(40)],
        [(at, at + 7.0) for at in range(0, 50, 10)],
    ],
    ids=["from the start", "in the middle", "flapping", "slowly flapping"],
)
@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
async def test_what_a_sink_misses_comes_later_in_order(
    autojump_clock: MockClock, tmp_path: Path, away: Sequence[tuple[float, float]], *, hangs: bool
) -> None:
    """Once each, with nobody waiting for room, however long it was away; no file is left."""
    place, batches = Place(away, hangs), tens(0, 300)
    inlet, task = writer(place, tmp_path / "spool" / "a")
    waited = await drive(inlet, task, batches, every=0.2)

    assert place.events == flat(batches)
    assert task.tally == SinkTally(stored=3000)
    assert waited == 0 and inlet.gauge.peak <= 100
    assert empty(tmp_path)


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
async def test_little_is_held_in_memory(autojump_clock: MockClock, tmp_path: Path, *, hangs: bool) -> None:
    """While a sink is away, and while it catches up, however much waits and however large a transaction may be."""
    place, batches = Place([(1.0, 21.0)], hangs), [trades(range(first, first + 100)) for first in range(0, 30_000, 100)]
    inlet, task = writer(place, tmp_path / "a", megabytes=20, capacity=50_000, rows=10_000)
    await drive(inlet, task, batches)

    assert place.events == flat(batches)
    assert place.largest <= PORTION + FRAME
    assert inlet.gauge.peak <= 1_000


async def test_notes_wait_with_the_events(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What the ledger is told goes through the spool too, and is not counted."""
    place = Place([(0.0, 5.0)])
    inlet, task = writer(place, tmp_path / "a")
    await drive(inlet, task, [[*trades([1]), LOSS], [LOSS], trades([2])], drain=20)

    assert (place.events, place.notes) == ([], [])
    await trio.sleep(5)
    inlet, task = writer(place, tmp_path / "a")
    await drive(inlet, task, [])
    assert (place.events, place.notes) == (trades([1, 2]), [LOSS, LOSS])
    assert task.tally == SinkTally(belated=2)


async def test_a_stop_leaves_it_to_the_next_run(autojump_clock: MockClock, tmp_path: Path) -> None:
    """At once, counted and told; the next run delivers it before anything new, and each once."""
    place, folder = Place([(2.0, 60.0)]), tmp_path / "spool" / "a"
    inlet, task = writer(place, folder)
    with capture_logs() as logs:
        await drive(inlet, task, tens(0, 100))
    assert trio.current_time() < 10.1
    assert task.tally == SinkTally(stored=200, spooled=800)
    line = {"sink": "place", "spooled": 800, "earlier": 0, "folder": str(folder)}
    assert line.items() <= next(line for line in logs if line["event"].startswith("waits on disk")).items()
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}

    inlet, task = writer(place, folder)
    await drive(inlet, task, tens(100, 200))
    assert task.tally == SinkTally(spooled=1000)

    await trio.sleep(60)
    inlet, task = writer(place, folder)
    await drive(inlet, task, tens(200, 300))
    assert place.events == flat(tens(0, 300))
    assert task.tally == SinkTally(stored=1000, belated=1800)
    assert empty(tmp_path)


async def test_a_stop_while_it_catches_up_goes_on_there(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What was delivered of a segment before the second refusal is not offered again by the next run."""
    place = Place([(0.0, 3.0)], takes=7)
    inlet, task = writer(place, tmp_path / "a")
    await drive(inlet, task, tens(0, 60))
    assert task.tally == SinkTally(stored=70, spooled=530)

    place.takes = math.inf
    inlet, task = writer(place, tmp_path / "a")
    await drive(inlet, task, [])
    assert place.events == flat(tens(0, 60))


async def test_a_crash_and_a_torn_end(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What is whole is delivered; what is torn off is cut, and told; a lock that nobody holds hinders nobody."""
    place, folder = Place([(0.0, 30.0)]), tmp_path / "a"
    inlet, task = writer(place, folder)
    await drive(inlet, task, tens(0, 50))
    path = max(folder.glob("*.spool"))
    os.truncate(path, path.stat().st_size - 7)

    await trio.sleep(30)
    inlet, task = writer(place, folder)
    with capture_logs() as logs:
        await drive(inlet, task, tens(50, 60))
    assert place.events == flat(tens(0, 49)) + flat(tens(50, 60))
    assert task.tally == SinkTally(stored=100, belated=490)
    assert [line["bytes"] > 0 for line in logs if "torn end" in line["event"]] == [True]


async def test_a_damaged_segment_is_set_aside(autojump_clock: MockClock, tmp_path: Path) -> None:
    """The frames before the damage are delivered, the rest is kept for a person and told; what follows goes on."""
    place, folder = Place([(0.0, 30.0)]), tmp_path / "a"
    inlet, task = writer(place, folder, megabytes=0.1)
    await drive(inlet, task, tens(0, 100))
    first = min(folder.glob("*.spool"))
    flipped = bytearray(first.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    first.write_bytes(flipped)

    await trio.sleep(30)
    inlet, task = writer(place, folder)
    with capture_logs() as logs:
        await drive(inlet, task, [])
    (told,) = [line for line in logs if "cannot be read" in line["event"]]
    assert task.tally == SinkTally(belated=1000 - told["events"]) and 0 < told["events"] < 1000
    assert len(place.events) == 1000 - told["events"] and place.events[-1] == flat(tens(0, 100))[-1]
    assert [path.suffix for path in folder.iterdir() if path.stem.isdigit()] == [".damaged"]


async def test_a_full_spool_makes_trades_wait_and_tickers_conflate(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Nothing is lost, the bound holds, and it is told once a minute."""
    place, sizes = Place([(0.0, 200.0)]), list[int]()
    inlet, task = writer(place, tmp_path / "a", megabytes=0.02)

    async def look() -> None:
        while True:
            sizes.append(sum(path.stat().st_size for path in (tmp_path / "a").glob("*.spool")))
            await trio.sleep(1)

    batches: list[list[Event]] = [
        [*trades([number]), ticker(2 * number), ticker(2 * number + 1)] for number in range(500)
    ]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        with capture_logs() as logs:
            waited = await drive(inlet, task, batches, every=0.2)
        nursery.cancel_scope.cancel()

    assert [event for event in place.events if type(event) is Trade] == trades(range(500))
    assert place.events[-1] == ticker(999)
    assert task.tally.conflated == 1500 - len(place.events) > 0
    assert task.tally == SinkTally(stored=len(place.events), conflated=task.tally.conflated)
    assert waited > 100 and 15_000 < max(sizes) <= 20_000
    assert 2 <= len([line for line in logs if "takes nothing" in line["event"]]) <= 4


async def test_what_a_full_spool_cannot_take_at_a_stop_is_lost(autojump_clock: MockClock, tmp_path: Path) -> None:
    """And counted; what is in the spool stays there."""
    inlet, task = writer(Place([(0.0, 1e9)]), tmp_path / "a", megabytes=0.002)
    await drive(inlet, task, tens(0, 8), drain=2)

    assert task.tally.lost > 0 and task.tally == SinkTally(spooled=80 - task.tally.lost, lost=task.tally.lost)


async def test_a_dead_sink_loses_and_keeps_what_waits(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What comes after it died is lost; what was in the spool before stays."""
    place = Place([(1.0, 5.0), (5.0, 1e9)])
    inlet, task = writer(place, tmp_path / "a")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive, inlet, task, tens(0, 100))
        await trio.sleep(5)
        place.deadly = True

    assert task.tally.spooled > 0 and task.tally.lost > 0
    assert task.tally.stored + task.tally.spooled + task.tally.lost == 1000
    assert [path.suffix for path in (tmp_path / "a").glob("0*")] == [".spool"]


async def test_a_folder_that_another_run_holds_is_left_alone(autojump_clock: MockClock, tmp_path: Path) -> None:
    """This run has no spool then: it waits as it would without one, and loses nothing."""
    first = Here(tmp_path / "a", 1_000_000)
    await first.append(trades([1]))
    place = Place([(0.0, 20.0)])
    inlet, task = writer(place, tmp_path / "a")
    waited = await drive(inlet, task, tens(0, 100))
    await first.close()

    assert place.events == flat(tens(0, 100)) and task.tally == SinkTally(stored=1000)
    assert waited > 1


async def test_a_disk_that_takes_nothing_is_waited_for(autojump_clock: MockClock, tmp_path: Path) -> None:
    """As a full spool: told, and nothing is lost."""
    (tmp_path / "file").touch()
    place = Place([(0.0, 20.0)])
    inlet, task = writer(place, tmp_path / "file" / "a")
    await drive(inlet, task, tens(0, 100))

    assert place.events == flat(tens(0, 100)) and task.tally == SinkTally(stored=1000)


Spans = st.lists(st.tuples(st.floats(0, 30), st.floats(0.01, 20)), max_size=5)


@given(st.lists(st.lists(st.integers(0, 12), max_size=60), min_size=1, max_size=3), Spans, st.floats(0.5, 1000))
def test_a_sink_sees_what_was_put(runs: list[list[int]], spans: list[tuple[float, float]], kilobytes: float) -> None:
    """Any outages, stops and bounds: the order in which it was put, each once; the account adds up in every run."""
    place, put = Place([(since, since + length) for since, length in spans]), list[Event]()

    async def all_runs(folder: Path) -> None:
        for sizes in [*runs, []]:
            batches = []
            for size in sizes:
                batches.append(trades(range(len(put), len(put) + size)))
                put.extend(batches[-1])
            if not sizes:
                await trio.sleep(60)
            inlet, task = writer(place, folder, megabytes=kilobytes / 1e3)
            await drive(inlet, task, [batch for batch in batches if batch], drain=300)
            tally = task.tally
            assert tally.stored + tally.spooled == sum(sizes) and not tally.lost

    with tempfile.TemporaryDirectory() as folder:
        logging.disable()
        trio.run(all_runs, Path(folder) / "a", clock=MockClock(autojump_threshold=0))
        logging.disable(logging.NOTSET)
    assert place.events == put


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:s3cret@host:5432/db", "postgresql://host:5432/db"),
        ("postgresql://me:s3/c@ret@host/db", "postgresql://host/db"),
        ("redis://:s3cret@host/0", "redis://host/0"),
        ("kafka://host:9092/t?sasl_password=s3cret&x=1", "kafka://host:9092/t?sasl_password=...&x=1"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
    ],
)
def test_a_folder_s_name_knows_no_secret(url: str, shown: str) -> None:
    """A new password is the same sink; the name is a hash of what may be shown."""
    assert redacted(url) == shown
    assert folder_of(Path("x/a.db"), url) == folder_of(Path("x/a.db"), shown)
    assert folder_of(Path("x/a.db"), url).parent == Path("x/a.db-spool")
