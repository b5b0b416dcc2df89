"""Where trades are not counted, each time without a connection is told, and bridged where REST reaches back."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
import trio
from attrs import define, evolve, field
from far_end import ask, far_end, settings_for
from msgspec.structs import replace

from trioagg.errors import LinkError
from trioagg.exchanges import Ack, Exchange, Feed, Fetch, Hole, Retire, Subscription, counts, load
from trioagg.integrity.ledger import Known, Ledger
from trioagg.integrity.repair import Progress, Stretch, bridged
from trioagg.model import Bridged, Broken, Carried, Channel, Consulted, Event, Forgone, Nanos, Note, Record, Trade
from trioagg.pipeline.flow import Outlet, flow
from trioagg.pipeline.holes import Holes
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.repair import RESTS, Repair
from trioagg.pipeline.rest import Rest
from trioagg.pipeline.run import Job, run
from trioagg.pipeline.tally import Tally
from trioagg.simulator.server import Urls
from trioagg.sinks import sqlite
from trioagg.sinks.sqlite import url_of
from trioagg.store import database, open_gaps
from trioagg.transport.clock import Stamps
from trioagg.transport.frames import Frames
from trioagg.views.verify import show_differences

ONE = Decimal(1)
SECOND = 1_000_000_000
GAPS = "SELECT first_missing, last_missing, missing, cause, status, closed FROM gaps ORDER BY detected"
ENDS = 'SELECT since, until, "before", "after", status FROM gap ORDER BY since'
WANT = Stretch((10, 20), 10, 20, frozenset({"a"}), frozenset({"z"}))


def trade(number: int | str, at: int | None, received: int = 1) -> Trade:
    return Trade("bybit", "BTC/USDT", number, ONE, ONE, "buy", at, received)


def told(**times: int) -> list[Trade]:
    """Trades by id, at these times."""
    return [trade(number, at) for number, at in times.items()]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (told(a=10, b=12, z=20), Progress((), None, moved=True)),
        (told(x=9, b=12, y=21), Progress((), None, moved=True)),
        (told(b=10, c=20), Progress((), WANT, moved=False)),
        (told(a=10, b=12), Progress((), Stretch((10, 20), 12, 20, frozenset("ab"), frozenset("z")), moved=True)),
        (told(b=12, z=20), Progress((), Stretch((10, 20), 10, 12, frozenset("a"), frozenset("bz")), moved=True)),
        (told(a=10), Progress((), WANT, moved=False)),
        (told(x=5, y=9), Progress((), WANT, moved=False)),
        (told(x=21, y=30), Progress([(10, 20)], None, moved=False)),
        (told(z=20, y=21), Progress([(10, 20)], None, moved=False)),
        ([], Progress((), WANT, moved=False)),
    ],
)
def test_what_an_answer_bridges(answer: list[Trade], expected: Progress) -> None:
    """A known trade, or one from beyond, joins an end; others of an end's own instant join nothing."""
    assert bridged(WANT, answer) == expected


def test_pages_must_overlap_each_other() -> None:
    """The page after one that ended amid an instant begins with a trade of that page, or proves nothing."""
    first = bridged(WANT, told(a=10, b=12)).left
    assert isinstance(first, Stretch)

    assert bridged(first, told(b=12, c=12, z=20)) == Progress((), None, moved=True)
    assert bridged(first, told(c=12, d=13)) == Progress((), first, moved=False)


def test_the_newest_page_again_is_the_end_of_it() -> None:
    """One that grew, too: nothing older came."""
    first = bridged(WANT, told(b=12, z=20, y=22)).left
    assert isinstance(first, Stretch)

    assert bridged(first, told(b=12, z=20, y=22, x=23)) == Progress([(10, 20)], None, moved=False)
    assert bridged(first, told(z=20, y=22, x=23)) == Progress([(10, 20)], None, moved=False)


UP = Carried("bybit", ("BTC/USDT",), 1)
DOWN = Broken("bybit", ("BTC/USDT",), "disconnected", 2)


async def store(file: Path, *batches: Sequence[Trade | Note], again: int = 1) -> None:
    """Write batches in a run of their own, each offered so many times."""
    async with sqlite.connect(url_of(file)) as sink:
        ledger = Ledger(counts, cause="not received", first_cause="not running")
        for batch in batches:
            records: list[Record] = list(batch)
            events: list[Event] = [record for record in batch if isinstance(record, Trade)]
            draft = ledger.draft(records)
            for _ in range(again):
                await sink.write(events, draft)
            ledger.keep(draft)


async def test_a_time_without_a_connection_is_an_entry(tmp_path: Path) -> None:
    """From the newest trade before to the first that is newer; late ones and those of its instant do not end it."""
    file = tmp_path / "a.db"

    await store(file, [UP, trade("a", 10), trade("b", 30), trade("c", 20)], [DOWN], [UP])
    assert ask(file, ENDS) == []

    await store(
        file,
        [UP, trade("d", 40), DOWN],
        [UP, trade("e", 40), trade("f", 35)],
        [trade("g", 41, 5), trade("h", 60)],
    )
    assert ask(file, ENDS) == [(30, 40, "b", "d", "open"), (40, 41, "d", "g", "open")]
    assert [row[:5] for row in ask(file, GAPS)] == [
        (None, None, None, "not running, unprovable", "open"),
        (None, None, None, "disconnected, unprovable", "open"),
    ]


async def test_entries_without_ids_are_open_gaps_and_no_contradiction(tmp_path: Path) -> None:
    """They count while they are open, and ``verify``, which reads ids, finds nothing wrong with them."""
    file = tmp_path / "a.db"
    await store(file, [UP, trade(1, 10), DOWN, UP, trade(5, 20)])

    with database(file) as db:
        assert open_gaps(db) == 1
    with database(file) as db:
        assert show_differences(db, "json") is False


def test_what_was_lost_on_a_connection_lies_in_its_place() -> None:
    """Between the trades on both sides of the jump in the count, in one read; the connection is replaced."""
    inlet, outlet = flow("test", 100)
    subscription = Subscription("BTC/USDT", Channel.TRADES, "tBTCUST")
    adapter = load("bitfinex")(Feed([subscription]))
    subscribed = b'{"event":"subscribed","channel":"trades","chanId":1,"symbol":"tBTCUST"}'
    frames = [subscribed, b'[1,"te",[7,1,1,5],1]', b'[1,"te",[8,2,1,5],2]', b'[1,"te",[9,3,1,5],4]', b'[1,"hb",5]']

    events, actions = Intake(Tally(), [inlet]).frames(adapter, "x", Frames(1, frames))

    expected = [Trade, Trade, Broken, Trade]
    assert list(map(type, outlet.take_waiting())) == expected
    assert [event.trade_id for event in events if isinstance(event, Trade)] == [7, 8, 9]
    assert list(map(type, actions)) == [Ack, Retire]


async def test_the_same_batch_again_changes_nothing(tmp_path: Path) -> None:
    """A batch that was offered again, though it had been stored."""
    file = tmp_path / "a.db"

    await store(file, [UP, trade("a", 10), DOWN, UP, trade("b", 20), trade("c", 30)], again=2)

    assert ask(file, ENDS) == [(10, 20, "a", "b", "open")]


async def test_nothing_is_missing_before_the_first_trade_ever(tmp_path: Path) -> None:
    """Nor while a connection carries on, nor without one: a replay has none."""
    file = tmp_path / "a.db"

    await store(file, [UP, DOWN, UP, trade("a", 10), trade("b", 99)])
    await store(file, [trade("c", 500)])

    assert ask(file, GAPS) == []


async def test_what_rest_tells_ends_no_stretch(tmp_path: Path) -> None:
    """It comes out of its turn, whatever batch it lies in."""
    file = tmp_path / "a.db"

    await store(
        file,
        [UP, trade("a", 10), DOWN, UP, Consulted("bybit", 7), trade("b", 15, 7)],
        [trade("c", 18, 7), trade("d", 20, 8), Consulted("bybit", 9), trade("e", 90, 9), DOWN, UP, trade("f", 30, 10)],
    )

    assert ask(file, ENDS) == [(10, 20, "a", "d", "open"), (20, 30, "d", "f", "open")]


@pytest.mark.parametrize(("kind", "status", "by"), [(Bridged, "filled", "rest"), (Forgone, "unfillable", None)])
async def test_a_later_run_closes_what_an_earlier_left(tmp_path: Path, kind: Any, status: str, by: str | None) -> None:
    """Ids that are numbers or texts alike; closed is closed."""
    file = tmp_path / "a.db"

    await store(file, [UP, trade(1, 10), DOWN, UP, trade(2, 20)])
    await store(file, [UP, kind("bybit", "BTC/USDT", 10, 20, 77)])
    await store(file, [UP, kind("bybit", "BTC/USDT", 10, 20, 99), trade(3, 30)])

    assert [row[4:] for row in ask(file, GAPS)] == [(status, 77), ("open", None)]
    assert ask(file, "SELECT filled_by FROM gaps ORDER BY detected") == [(by,), (None,)]
    assert ask(file, ENDS)[1] == (20, 30, "2", "3", "open")


async def test_trades_without_a_time_count_by_their_arrival(tmp_path: Path) -> None:
    """As they do in the database."""
    file = tmp_path / "a.db"

    await store(file, [UP, trade("a", None, 10), DOWN, UP, trade("b", None, 30)])

    assert ask(file, ENDS) == [(10, 30, "a", "b", "open")]


@define(eq=False)
class FakeRest:
    """An exchange's history, by second: oldest first from a time on, or the newest of it, whatever is asked for."""

    name: str
    has: list[int]
    page: int
    newest: bool = False
    failures: list[Exception] = field(factory=list)
    asked: list[int] = field(factory=list)

    async def consult(self, adapter: Exchange, fetch: Fetch, intake: Intake) -> Sequence[Event]:
        """A page of it, as it is stored."""
        start = int(parse_qs(urlsplit(fetch.path).query).get("start", ["0"])[0]) // 1000
        self.asked.append(start)
        if self.failures:
            raise self.failures.pop(0)
        told = [at for at in self.has if at >= start]
        found = cast(list[Event], seconds(self.name, *(told[-self.page :] if self.newest else told[: self.page])))
        intake.sinks[0].put([Consulted(self.name, 1)])
        intake.sinks[0].put(found)
        return found


def seconds(name: str, *times: int) -> list[Trade]:
    """Trades whose id is their second, as text."""
    return [Trade(name, "BTC/USDT", str(at), ONE, ONE, "buy", at * SECOND, 1) for at in times]


async def mended(rest: FakeRest, limit: int = 1000, patience: float = 1000) -> list[str]:
    """What becomes of the stretch between second 100 and second 200, while the connection goes on."""
    ledger = Ledger(counts, cause="not received", first_cause="not running")
    inlet, outlet = flow("test", 1000)
    kept: dict[int, str] = {}

    async def around(exchange: str, symbol: str, ids: tuple[int, int]) -> tuple[None, None]:
        raise AssertionError("nothing is counted here")

    holes = Holes(ledger, around)

    async def write(outlet: Outlet[Record]) -> None:
        while True:
            draft = ledger.draft(await outlet.take(1000))
            told = draft.entries(lambda exchange, symbol: Known(None, None, ()), stale=False).gaps
            kept.update((gap.first, gap.parts[0].status) for gap in told)
            if ledger.keep(draft):
                holes.tell()

    up, down = replace(UP, exchange=rest.name), replace(DOWN, exchange=rest.name)
    inlet.put([up, *seconds(rest.name, 90, 100), down, up, *seconds(rest.name, 200, 201)])
    repair = Repair(
        adapter=load(rest.name),
        feed=Feed([Subscription("BTC/USDT", Channel.TRADES, "BTCUSDT")]),
        rest=cast(Rest, rest),
        intake=Intake(Tally(), [inlet]),
        holes=holes,
        stamps=Stamps(lambda: round(trio.current_time() * SECOND) + 10**15),
        limit=limit,
    )
    with trio.move_on_after(patience):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, outlet)
            nursery.start_soon(repair.run)
    return list(kept.values())


async def test_pages_by_time_go_on_until_they_overlap(autojump_clock: trio.testing.MockClock) -> None:
    """Each from the time where the one before it ended."""
    rest = FakeRest("bitfinex", [90, *range(100, 300)], page=60)

    assert await mended(rest) == ["filled"]
    assert rest.asked == [99, 159]


@pytest.mark.parametrize(
    ("page", "status", "asked"), [(200, "filled", 1), (150, "unfillable", 2), (50, "unfillable", 1)]
)
async def test_the_newest_page_reaches_back_or_does_not(
    page: int, status: str, asked: int, autojump_clock: trio.testing.MockClock
) -> None:
    """To the trade that was stored before; one that does not is asked for no more than twice."""
    rest = FakeRest("bybit", [90, *range(100, 300)], page=page, newest=True)

    assert await mended(rest) == [status]
    assert len(rest.asked) == asked


async def test_an_exchange_that_lags_is_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    """And so is one that fails; after some patience it is given up."""
    late = FakeRest("bitfinex", list(range(100, 150)), page=60)
    assert await mended(late) == ["unfillable"]
    assert len(late.asked) > len(RESTS)

    well = FakeRest("bitfinex", list(range(100, 300)), page=500, failures=[LinkError("down")])
    assert await mended(well) == ["filled"]


async def test_a_run_asks_for_no_more_than_its_limit(autojump_clock: trio.testing.MockClock) -> None:
    """What is not bridged by then stays open for another run."""
    rest = FakeRest("bitfinex", list(range(100, 300)), page=20)

    assert await mended(rest, limit=60) == ["open"]
    assert len(rest.asked) == 3


async def history(name: str, urls: Urls, since: Nanos, until: Nanos) -> set[str]:
    """The ids of all trades that the far end tells of a time."""
    kind = load(name)
    native = kind.native("BTC/USDT")
    adapter = kind(Feed([Subscription("BTC/USDT", Channel.TRADES, native)]))
    fetch = adapter.missing(Hole("BTC/USDT", native, None, None, since, until))
    assert fetch is not None
    body = await trio.to_thread.run_sync(lambda: urlopen(urls.rest + fetch.path).read())
    return {
        str(item.trade_id)
        for item in adapter.answered(fetch, body, 1)
        if isinstance(item, Trade) and since <= (item.timestamp or 0) <= until
    }


@pytest.mark.parametrize("name", ["bitfinex", "bybit"])
async def test_a_cut_is_bridged_where_rest_reaches_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By time, or by the newest page; then a run more: the rows are what the far end has, and no entry is open."""
    monkeypatch.setattr("trioagg.pipeline.repair.GRACE", 0.3)
    file = tmp_path / "a.db"
    async with far_end(exchanges=[name], faults=["cut,at=0.8"], rate=20.0) as urls:
        settings = settings_for(urls, file, exchanges=(name,), channels=(Channel.TRADES,))
        slow = evolve(settings, retry=evolve(settings.retry, reconnect_delay=0.5))
        await run(Job(slow, duration=2.5))
        await trio.sleep(0.5)
        await run(Job(settings, duration=1))
        (ends,) = ask(file, "SELECT min(timestamp), max(timestamp) FROM trades")
        there = await history(name, urls, *ends)

    assert [row[:5] for row in ask(file, GAPS)] == [
        (None, None, None, "disconnected, unprovable", "filled"),
        (None, None, None, "not running, unprovable", "filled"),
    ]
    stored = {number for (number,) in ask(file, "SELECT trade_id FROM trades")}
    assert len(there) > 20 and there <= stored


async def test_what_no_exchange_tells_is_unfillable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hyperliquid has no history: the entry says so, and nothing stays open."""
    monkeypatch.setattr("trioagg.pipeline.repair.GRACE", 0.1)
    file = tmp_path / "a.db"
    async with far_end(exchanges=["hyperliquid"], symbols=("BTC/USDC:USDC",), faults=["cut,at=0.5"]) as urls:
        chosen = {"symbols": ("BTC/USDC:USDC",), "channels": (Channel.TRADES,)}
        await run(Job(settings_for(urls, file, exchanges=("hyperliquid",), **chosen), duration=1.5))

    assert [row[:5] for row in ask(file, GAPS)] == [(None, None, None, "disconnected, unprovable", "unfillable")]
