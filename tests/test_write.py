"""Writers: every event ends as stored, duplicate, quarantined or lost, whatever the sink and the clock do."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import trio
from attrs import define, field

from trioagg.errors import SinkError, StoreError
from trioagg.exchanges import counts
from trioagg.integrity.continuity import Run
from trioagg.integrity.ledger import Draft, Known, Ledger
from trioagg.model import Event, Gap, Instrument, Nanos, Record, Trade
from trioagg.pipeline.flow import Inlet, flow
from trioagg.pipeline.tally import Tally
from trioagg.pipeline.write import Writer
from trioagg.settings import Buffers
from trioagg.store import Counts

ONE = Decimal(1)


def trades(*ids: int) -> list[Event]:
    """Trades of one market."""
    return [Trade("binance", "BTC/USDT", number, ONE, ONE, "buy", number, number) for number in ids]


@define(eq=False)
class Memory:
    """A sink in memory that fails as often as it is told, and takes its time."""

    failures: list[Exception] = field(factory=list)
    seconds: float = 0.0
    batches: list[list[Event]] = field(factory=list)
    gaps: list[list[Gap]] = field(factory=list)

    async def write(self, batch: Sequence[Event], draft: Draft, /) -> Counts:
        """Keep the batch, or fail."""
        told = draft.entries(lambda exchange, symbol: Known(None, None, ()), stale=False).gaps
        await trio.sleep(self.seconds)
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(list(batch))
        self.gaps.append(list(told))
        return Counts(stored=len(batch))

    async def around(self, exchange: str, symbol: str, run: Run, /) -> tuple[Nanos | None, Nanos | None]:
        """Nothing from before."""
        return None, None

    async def tend(self) -> None:
        """Nothing is out of order."""

    async def describe(self, instruments: Sequence[Instrument], /) -> None:
        """Keep nothing."""


def nothing() -> None:
    """Nobody wants to know."""


def writer(sink: Memory, dead: trio.Event | None = None, *, commit_delay: float = 0.02) -> tuple[Inlet[Record], Writer]:
    """A writer on a flow of its own."""
    inlet, outlet = flow("test", 100)
    ends = dead.set if dead is not None else lambda: None
    ledger = Ledger(counts, cause="not received", first_cause="not running")
    buffers = Buffers(commit_rows=10, commit_delay=commit_delay)
    return inlet, Writer(outlet, sink, ledger, Tally(), buffers, dead=ends, noticed=nothing)


async def test_events_are_gathered_for_the_commit_delay(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """The first is stored at once; what comes within the delay after it is the next transaction."""
    sink = Memory()
    inlet, task = writer(sink, commit_delay=0.02)
    nursery.start_soon(task.run)
    inlet.put(trades(1))
    await trio.sleep(0.001)
    inlet.put(trades(2))
    await trio.sleep(0.018)
    inlet.put(trades(3))
    await trio.sleep(0.002)
    inlet.put(trades(4))
    inlet.close()
    await trio.sleep(1)

    assert sink.batches == [trades(1), trades(2, 3), trades(4)]


async def test_a_whole_transaction_does_not_wait(autojump_clock: trio.testing.MockClock, nursery: trio.Nursery) -> None:
    """As many events as a commit takes go at once."""
    sink = Memory()
    inlet, task = writer(sink, commit_delay=60.0)
    nursery.start_soon(task.run)
    inlet.put(trades(1))
    await trio.sleep(0.001)
    inlet.put(trades(*range(10)))
    await trio.sleep(0.001)

    assert len(sink.batches) == 2


async def test_a_batch_is_offered_until_it_is_taken(autojump_clock: trio.testing.MockClock) -> None:
    """With growing waits; the ledger's gaps come with the batch that is taken, once."""
    sink = Memory(failures=[SinkError("locked"), SinkError("locked"), SinkError("full")])
    inlet, task = writer(sink)
    inlet.put(trades(1, 5))
    inlet.close()
    began = trio.current_time()
    await task.run()

    assert 0.7 <= trio.current_time() - began <= 1.1
    assert sink.batches == [trades(1, 5)]
    assert [[(gap.first, gap.last) for gap in gaps] for gaps in sink.gaps] == [[(2, 4)]]
    assert task.tally == Tally(stored=2)


async def test_what_a_stop_cannot_store_is_counted_as_lost(autojump_clock: trio.testing.MockClock) -> None:
    """In hand and waiting alike."""
    sink = Memory(failures=[SinkError("down")] * 1000)
    inlet, task = writer(sink)
    inlet.put(trades(1, 2, 3))
    with trio.move_on_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task.run)
            await trio.sleep(1)
            inlet.put(trades(4, 5))

    assert (task.tally.stored, task.tally.lost) == (0, 5)


async def test_a_dead_sink_is_told_and_its_flow_kept_empty(autojump_clock: trio.testing.MockClock) -> None:
    """So that it holds up nobody; what comes after is lost, and counted."""
    sink, dead = Memory(failures=[StoreError("gone")]), trio.Event()
    inlet, task = writer(sink, dead)
    inlet.put(trades(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        await dead.wait()
        for number in range(300):
            inlet.put(trades(number))
            await inlet.room()
        inlet.close()

    assert (task.tally.stored, task.tally.lost) == (0, 301)


async def test_a_slow_sink_makes_the_producer_wait(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing is lost, and no more waits than the flow holds and one batch."""
    sink = Memory(seconds=1.0)
    inlet, task = writer(sink)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task.run)
        for number in range(50):
            inlet.put(trades(*range(number * 20, number * 20 + 20)))
            await inlet.room()
        inlet.close()

    assert inlet.gauge.peak <= 120
    assert [event for batch in sink.batches for event in batch] == trades(*range(1000))
