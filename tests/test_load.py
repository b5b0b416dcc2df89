"""Loaders, with a log that is a list in memory: what is told to be durable is, whoever takes the log over."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import define, field, fields
from told_rows import MARKET, T0, everything, expected, stored, ticker, trade

from trioagg import sources
from trioagg.cli import main
from trioagg.errors import SinkError, StoreError
from trioagg.exchanges import counts
from trioagg.integrity.ledger import Draft, Ledger
from trioagg.model import Event, Instrument
from trioagg.pipeline import load as module
from trioagg.pipeline.flow import flow
from trioagg.pipeline.load import CAUSE, LoadWriter, Reader
from trioagg.pipeline.progress import PATIENCE, Progress
from trioagg.pipeline.tally import LoadTally
from trioagg.settings import Buffers, Settings, at
from trioagg.sinks import Sink, sqlite
from trioagg.sinks._brokers import Access
from trioagg.sources import Ends, Haul
from trioagg.sources.kafka import MOST, Options
from trioagg.store import Counts

LISTED = Instrument(*MARKET, "BTCUSDT", "BTC", "USDT", None, None, trade(1).price, "BTC", "trading")


@define(eq=False)
class Log:
    """A log of one part; ``kept`` is where the next reader begins."""

    items: Sequence[Event | Instrument]
    most: int = 3
    kept: int = 0
    read: int = 0
    rests: int = 0

    @property
    def ended(self) -> bool:
        return self.read == len(self.items)

    async def take(self) -> Haul:
        await trio.sleep(0.01)
        items = self.items[self.read : self.read + self.most]
        self.read += len(items)
        return Haul(items, {"one": self.read} if items else {})

    async def rest(self) -> Haul:
        await trio.sleep(0.01)
        self.rests += 1
        return Haul()

    def keep(self, ends: Ends) -> None:
        self.kept = ends.get("one", self.kept)


@define(eq=False)
class Shelf:
    """A store that may be away for so many offers, or for good after so many batches."""

    away: int = 0
    good: float = float("inf")
    events: list[Event] = field(factory=list)
    listed: list[Instrument] = field(factory=list)

    async def write(self, batch: Sequence[Event], draft: Draft, /) -> Counts:
        self._try()
        self.events += batch
        return Counts(len(batch), 0, 0)

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        self._try()
        self.listed += instruments

    def _try(self) -> None:
        if self.away:
            self.away -= 1
            raise SinkError("away")
        if not self.good:
            raise StoreError("full for good")
        self.good -= 1


@define(eq=False)
class Load:
    """A reader and the writers of some stores, as a load puts them together."""

    log: Log
    sinks: Sequence[Sink]
    capacity: int = 1000
    tallies: list[LoadTally] = field(init=False)
    progress: Progress = field(init=False)
    reading: trio.CancelScope = field(factory=trio.CancelScope)
    writing: trio.CancelScope = field(factory=trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        self.tallies = [LoadTally() for _ in self.sinks]
        self.progress = Progress(len(self.sinks))

    async def run(self, *, drain: bool = True) -> None:
        pairs = [flow(f"shelf-{number}", self.capacity) for number in range(len(self.sinks))]
        async with trio.open_nursery() as nursery:
            with self.writing:
                async with trio.open_nursery() as writers:
                    for number, sink in enumerate(self.sinks):
                        writers.start_soon(self._writer(number, sink, pairs[number][1]).run)
                    with self.reading:
                        await Reader(self.log, [one for one, _ in pairs], self.progress, self.tallies).read(drain=drain)
                    for inlet, _ in pairs:
                        inlet.close()
            self.log.keep(self.progress.durable())
            nursery.cancel_scope.cancel()

    def _writer(self, number: int, sink: Sink, outlet: object) -> LoadWriter:
        ledger = Ledger(counts, cause=CAUSE, first_cause=CAUSE)
        dead, buffers = self.reading.cancel, Buffers(commit_delay=0, commit_rows=4)
        return LoadWriter(
            outlet,  # type: ignore[arg-type]
            sink,
            ledger,
            self.tallies[number],
            buffers,
            dead=dead,
            noticed=lambda: None,
            progress=self.progress,
            number=number,
        )


async def test_everything_is_stored_and_then_kept(tmp_path: Path) -> None:
    """In each store, instruments too; the account adds up."""
    batch = everything()
    shelf = Shelf()
    async with sqlite.connect(sqlite.url_of(tmp_path / "b.db")) as sink:
        load = Load(Log([LISTED, *batch]), [sink, shelf])
        await load.run()
    assert stored(tmp_path / "b.db") == expected(tmp_path / "a.db", batch)
    assert (shelf.events, shelf.listed, load.log.kept) == (batch, [LISTED], len(batch) + 1)
    first = load.tallies[0]
    assert (first.received, first.stored, first.duplicates, first.quarantined, first.left) == (21, 17, 2, 2, 0)


async def test_a_store_that_is_away_makes_the_log_wait(autojump_clock: trio.testing.MockClock) -> None:
    """The reader rests while its flow is full; nothing is kept before every store has it; then all goes on."""
    batch: list[Event] = [trade(number) for number in range(50)]
    near, far = Shelf(), Shelf(away=6)
    load = Load(Log(batch), [near, far], capacity=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        await trio.sleep(1)
        assert far.events == [] and load.log.kept == 0 and load.log.rests > 5
        assert 10 <= load.log.read <= 12 + 4 and len(near.events) == load.log.read
    assert near.events == far.events == batch and load.log.kept == 50
    assert [tally.left for tally in load.tallies] == [0, 0]


async def test_little_is_held_in_memory(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much the log has while a store is away: what a transaction takes, and as much behind it."""
    batch: list[Event] = [trade(number) for number in range(40_000)]
    log, shelf = Log(batch, most=MOST), Shelf(away=10)
    monkeypatch.setattr(sources, "connect", lambda *_: nullcontext(log))
    monkeypatch.setattr(module, "open_sinks", lambda stores: nullcontext({stores[0]: shelf}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(module.load, module.Job(Settings(), at("log:"), [at("shelf:")], drain=True))
        await trio.sleep(20)
        assert shelf.away and log.rests and log.read <= 2 * (module.HELD + MOST)
    assert shelf.events == batch


async def test_a_stop_while_a_store_is_away_leaves_it_in_the_log(autojump_clock: trio.testing.MockClock) -> None:
    """What was not stored is counted as left, is not kept, and the next loader stores it."""
    batch: list[Event] = [ticker(str(number), T0 + number // 3) for number in range(9)]
    shelf = Shelf(away=10**6)
    load = Load(Log(batch), [shelf])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run)
        await trio.sleep(2)
        load.reading.cancel()
        load.writing.cancel()
    (tally,) = load.tallies
    assert (tally.received, tally.left, tally.lost, load.log.kept) == (9, 9, 0, 0)
    shelf.away = 0
    await Load(Log(batch, kept=load.log.kept), [shelf]).run()
    assert shelf.events == batch


async def test_a_store_that_is_dead_ends_the_load(autojump_clock: trio.testing.MockClock) -> None:
    """The other one gets what was read; of the log nothing is kept that one of them lacks."""
    batch: list[Event] = [trade(number) for number in range(30)]
    dead, well = Shelf(good=2), Shelf()
    load = Load(Log(batch, most=4), [dead, well])
    await load.run(drain=False)
    assert load.log.kept == len(dead.events) == 8
    assert well.events == batch[: load.log.read] and load.tallies[0].left == load.log.read - 8


async def test_parts_go_only_with_what_is_durable(autojump_clock: trio.testing.MockClock) -> None:
    """Who gives parts back waits for what is under way, but not for ever; and never speaks of them again."""
    progress = Progress(2)
    progress.put(3, {"a": 3, "b": 7})
    progress.put(2, {"a": 5})
    progress.settle(0, 5)
    assert progress.durable() == {} and not progress.done
    progress.settle(1, 4)
    assert progress.durable() == {"a": 3, "b": 7}
    assert await released(progress, ["a"]) == (PATIENCE, {})
    progress.put(1, {"b": 8})
    progress.settle(0, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(later, partial(progress.settle, 1, 2))
        assert await released(progress, ["b"]) == (1, {"b": 8})
    assert progress.done


async def released(progress: Progress, parts: Collection[str]) -> tuple[float, Ends]:
    """After how long, and with what."""
    start = trio.current_time()
    ends = await progress.release(parts)
    return trio.current_time() - start, ends


async def later(work: partial[None]) -> None:
    """In a second."""
    await trio.sleep(1)
    work()


@pytest.mark.parametrize(
    ("source", "to", "words"),
    [
        ("nats://me:s3cret@h/t", "sqlite:///b.db", ["--from: no source is named 'nats'", "known: kafka"]),
        ("kafka://h", "sqlite:///b.db", ["--from: bad value 'kafka://h'", "kafka://broker:9092,broker:9092/prefix"]),
        ("kafka://h/t?gruop=a", "sqlite:///b.db", ["--from:", "unknown option 'gruop'", "did you mean group?"]),
        ("kafka://me:s3cret@h/t", "sqlite:///b.db", ["--from:", "security=sasl_ssl"]),
        ("kafka://h/t?session=0", "sqlite:///b.db", ["--from:", "session", "from 1 to 300"]),
        ("kafka://h/t?security=ssl&ca=/none", "sqlite:///b.db", ["--from:", "ca: bad value '/none'", "no such file"]),
        ("kafka://h/t?security=ssl&ca=empty.pem", "sqlite:///b.db", ["--from: bad value 'kafka://h/t'", "ssl.ca.loc"]),
        ("kafka://h/t", "kafka://h/t?security=ssl&ca=empty.pem", ["--to: bad value 'kafka://h/t'", "ssl.ca.loc"]),
        ("kafka://127.0.0.1:1/t", "postgers://me:s3cret@h", ["--to: no sink is named 'postgers'", "postgresql"]),
        ("kafka://127.0.0.1:1/t", "archive", ["--to: no sink is named 'archive'"]),
    ],
)
def test_a_mistake_is_one_line(
    *,
    source: str,
    to: str,
    words: Sequence[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 2, the flag, the bad value and the nearest good one; nothing on standard output, and no password."""
    monkeypatch.chdir(tmp_path)
    Path("empty.pem").touch()
    with pytest.raises(SystemExit) as ended:
        main(["load", "--from", source, "--to", to])
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1), err
    assert all(word in err for word in words) and "s3cret" not in err, err


def test_the_page_tells_every_option_with_its_default() -> None:
    """No more and no fewer."""
    page = (Path(__file__).parent.parent / "docs" / "loading.md").read_text(encoding="utf-8")
    own = [item for item in fields(Options) if item.name not in {one.name for one in fields(Access)}]
    told = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", page, flags=re.MULTILINE)
    assert told == [(item.name, f"{item.default:g}" if item.name == "session" else item.default) for item in own]
