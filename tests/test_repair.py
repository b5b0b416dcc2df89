"""Holes close by themselves: by id, newest first, within limits, and what nobody tells any more is given up."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import pytest
import trio
from attrs import define, field
from far_end import ask, far_end, ids, settings_for

from trioagg.errors import LinkError, Rejected
from trioagg.exchanges import Exchange, Feed, Fetch, Subscription, counts, load
from trioagg.integrity.continuity import Run
from trioagg.integrity.ledger import Known, Ledger
from trioagg.integrity.repair import Progress, Want, progress
from trioagg.model import Channel, Event, Forgone, Gap, Nanos, Record, Trade
from trioagg.pipeline.flow import Outlet, flow
from trioagg.pipeline.holes import Holes
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.repair import GRACE, RESTS, Repair
from trioagg.pipeline.rest import Rest
from trioagg.pipeline.run import Job, run
from trioagg.pipeline.tally import Tally
from trioagg.transport.clock import Stamps

ONE = Decimal(1)
SECOND = 1_000_000_000


def trade(number: int) -> Trade:
    """A trade whose time is ten times its id."""
    return Trade("binance", "BTC/USDT", number, ONE, ONE, "buy", number * 10, number)


def trades(*ids: int) -> list[Trade]:
    return [trade(number) for number in ids]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (trades(5, 6, 7, 8, 9), Progress([], None, moved=True)),
        (trades(3, 4, 5, 6), Progress([], Want(7, 9, 60, 100), moved=True)),
        (trades(8, 9, 10, 11), Progress([], Want(5, 7, 40, 80), moved=True)),
        (trades(5, 6, 8, 9), Progress([(7, 7)], None, moved=True)),
        (trades(4, 10), Progress([(5, 9)], None, moved=True)),
        (trades(1, 2, 3), Progress([], Want(5, 9, 40, 100), moved=False)),
        (trades(11, 12), Progress([], Want(5, 9, 40, 100), moved=False)),
        ([], Progress((), Want(5, 9, 40, 100), moved=False)),
    ],
)
def test_what_an_answer_proves(told: list[Trade], expected: Progress) -> None:
    """What came is off, what the exchange itself lacks is gone, the rest is asked for from where the answer ends."""
    assert progress(Want(5, 9, 40, 100), told) == expected


def test_pages_by_time_move_on_even_before_the_hole() -> None:
    """Many trades may lie between the time asked from and the first that is missing."""
    assert progress(Want(5, 9, 10, 100), trades(1, 2, 3)).left == Want(5, 9, 30, 100)


@define(eq=False)
class FakeRest:
    """An exchange's history: tells pages of what it has, or fails as it is told to."""

    has: set[int]
    page: int = 3
    failures: list[Exception] = field(factory=list)
    asked: list[tuple[float, int]] = field(factory=list)

    async def consult(self, adapter: Exchange, fetch: Fetch, intake: Intake) -> Sequence[Event]:
        """A page from the first id that is asked for on."""
        first = int(parse_qs(urlsplit(fetch.path).query)["fromId"][0])
        self.asked.append((trio.current_time(), first))
        if self.failures:
            raise self.failures.pop(0)
        found = cast(list[Event], trades(*sorted(number for number in self.has if number >= first)[: self.page]))
        intake.sinks[0].put(found)
        return found


@define(eq=False)
class Mending:
    """A repair of one market, a ledger that is told what the flow brings, and nothing else."""

    rest: FakeRest
    limit: int = 1000
    ledger: Ledger = field(factory=lambda: Ledger(counts, cause="not received", first_cause="not running"))
    notes: list[Forgone] = field(factory=list)

    async def run(self, stored: Sequence[Trade], seconds: float) -> list[tuple[int, int, str]]:
        """What became of each part of the gaps after so many seconds."""
        inlet, outlet = flow("test", 1000)
        holes = Holes(self.ledger, self._around)
        self._store(cast(list[Record], list(stored)), holes)
        subscription = Subscription("BTC/USDT", Channel.TRADES, "BTCUSDT")
        repair = Repair(
            adapter=load("binance"),
            feed=Feed([subscription]),
            rest=cast(Rest, self.rest),
            intake=Intake(Tally(), [inlet]),
            holes=holes,
            stamps=Stamps(lambda: round(trio.current_time() * SECOND) + 10**15),
            limit=self.limit,
        )
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, outlet, holes)
                nursery.start_soon(repair.run)
        return [(part.first, part.last, part.status) for gap in self._gaps() for part in gap.parts]

    def _gaps(self) -> list[Gap]:
        return sorted(self.ledger.unfilled("binance"), key=lambda gap: gap.first)

    async def _around(self, exchange: str, symbol: str, ids: Run) -> tuple[Nanos | None, Nanos | None]:
        return (ids[0] - 1) * 10, (ids[1] + 1) * 10

    async def _write(self, outlet: Outlet[Record], holes: Holes) -> None:
        while True:
            self._store(await outlet.take(1000), holes)

    def _store(self, batch: list[Record], holes: Holes) -> None:
        draft = self.ledger.draft(batch)
        draft.entries(lambda exchange, symbol: Known(None, None, ()), stale=False)
        self.notes += [record for record in batch if isinstance(record, Forgone)]
        if self.ledger.keep(draft):
            holes.tell()


async def test_a_gap_is_filled_page_by_page(autojump_clock: trio.testing.MockClock) -> None:
    """Not before late trades had time to come, and each id is asked for once."""
    rest = FakeRest(set(range(100)))
    mending = Mending(rest)

    assert await mending.run(trades(10, 20), 60) == []
    assert [first for _, first in rest.asked] == [11, 14, 17]


async def test_the_newest_gap_is_filled_first(autojump_clock: trio.testing.MockClock) -> None:
    """Gaps that lie close together are asked for in one go, others one after the other."""
    rest = FakeRest(set(range(10_000)), page=9000)

    assert await Mending(rest, limit=9000).run(trades(10, 4900, 5000, 5010, 5020), 60) == []
    assert [first for _, first in rest.asked] == [4901, 11]


async def test_a_run_asks_for_no_more_than_its_limit(autojump_clock: trio.testing.MockClock) -> None:
    """The newest of a long hole; the rest stays open for another run."""
    rest = FakeRest(set(range(1000)), page=500)

    left = await Mending(rest, limit=100).run(trades(10, 900), 60)

    assert left == [(11, 799, "open"), (800, 899, "filled")]


async def test_what_the_exchange_itself_lacks_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """Its answer tells the trades on both sides; the others are filled."""
    rest = FakeRest({*range(100)} - {14, 15}, page=50)

    assert await Mending(rest).run(trades(10, 20), 60) == [
        (11, 13, "filled"),
        (14, 15, "unfillable"),
        (16, 19, "filled"),
    ]


async def test_what_nobody_tells_is_given_up_in_the_end(autojump_clock: trio.testing.MockClock) -> None:
    """After some patience, with growing waits."""
    rest = FakeRest(set())

    assert await Mending(rest).run(trades(10, 20), 1000) == [(11, 19, "unfillable")]
    assert len(rest.asked) == len(RESTS) + 1
    assert rest.asked[1][0] - rest.asked[0][0] >= RESTS[0]


async def test_a_failing_link_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    """The gap rests meanwhile, and closes then."""
    rest = FakeRest(set(range(100)), failures=[LinkError("down"), LinkError("down")])

    assert await Mending(rest).run(trades(10, 20), 100) == []


async def test_a_refusal_is_final_for_this_run(autojump_clock: trio.testing.MockClock) -> None:
    """The gap stays open: another run may be answered."""
    rest = FakeRest(set(range(100)), failures=[Rejected("needs a key", 401, b"")])

    assert await Mending(rest).run(trades(10, 20), 1000) == [(11, 19, "open")]
    assert len(rest.asked) == 1


async def test_every_hole_of_a_run_closes(tmp_path: Path) -> None:
    """Frames that are never sent, and a cut: the rows are what the far end has, and the ledger says when each came."""
    file = tmp_path / "a.db"
    async with far_end(faults=["skip,share=0.03,for=2", "cut,at=1.5"]) as urls:
        await run(Job(settings_for(urls, file, channels=(Channel.TRADES,)), duration=2 + GRACE + 2.5))

    stored = ids(file)
    assert stored == list(range(stored[0], stored[-1] + 1))
    assert {status for (status,) in ask(file, "SELECT status FROM gaps")} == {"filled"}


async def test_a_hole_above_the_limit_rests_too(autojump_clock: trio.testing.MockClock) -> None:
    """An id far away makes one, of which the newest part is asked for, no more often than of any other hole."""
    rest = FakeRest({1, 2**60})
    await Mending(rest, limit=100).run(trades(1, 2**60), seconds=GRACE + sum(RESTS) + 10)

    pauses = [later - earlier for (earlier, _), (later, _) in pairwise(rest.asked)]
    assert {first for _, first in rest.asked} == {2**60 - 100}
    assert len(pauses) == len(RESTS)
    assert all(wait <= pause <= wait + GRACE for wait, pause in zip(RESTS, pauses, strict=True))
