"""What a run collects changes while it runs, and nothing that stays is interrupted."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from far_end import ask, far_end, settings_for
from hypothesis import given
from hypothesis import strategies as st
from lines import Line, Lines, bids, lives, numbers, quotes, stream_of, together, trades

from trioagg.errors import SettingsError
from trioagg.exchanges import Exchange, Feed, Subscription, load
from trioagg.model import Broken, Channel, Record
from trioagg.pipeline.connections import Connections, rearranged
from trioagg.pipeline.flow import Outlet
from trioagg.pipeline.relay import SETTLE
from trioagg.pipeline.run import Job, run
from trioagg.settings import Settings, Venue
from trioagg.simulator.server import serve
from trioagg.store.opening import writable
from trioagg.transport.backoff import Attempts, Backoff

SUBSCRIPTIONS = [
    Subscription(f"{base}/USDT{kind}", channel, f"{base}USDT")
    for base in "ABCDE"
    for kind in ("", ":USDT")
    for channel in (Channel.TRADES, Channel.TICKER)
]
CHANGED = "handed over: its subscriptions changed"


def wants(*symbols: str) -> Feed:
    """Trades of some markets, and the quotes of the first."""
    ticker = [Subscription(symbols[0], Channel.TICKER, symbols[0])]
    return Feed([*(Subscription(symbol, Channel.TRADES, symbol) for symbol in symbols), *ticker])


def small(name: str, size: int) -> type[Exchange]:
    """An exchange that takes so many streams on a connection."""
    adapter = load(name)
    return type("Small", (adapter,), {"limits": evolve(adapter.limits, streams=size)})


@given(
    st.sampled_from(["binance", "binanceusdm", "bybit", "kraken"]),
    st.integers(1, 8),
    st.lists(st.lists(st.sampled_from(SUBSCRIPTIONS), unique=True), min_size=1, max_size=4),
)
def test_what_stays_stays_where_it_is(name: str, size: int, changes: list[list[Subscription]]) -> None:
    """Through any changes: all that is wanted is carried once, nothing moves, and a connection carries what it can."""
    adapter = small(name, size)
    carried: list[Sequence[Subscription]] = []
    for wanted in changes:
        before, carried = carried, rearranged(adapter, carried, wanted)
        assert Counter(item for some in carried for item in some) == Counter(wanted)
        assert all(len(adapter.connections(some)) == 1 for some in carried if some)
        places = {item: place for place, some in enumerate(before) for item in some}
        assert all(places.get(item, place) == place for place, some in enumerate(carried) for item in some)
        assert all(carried[place] == [] for place, some in enumerate(before) if not some)


def test_what_is_new_fills_a_connection_that_has_room() -> None:
    """One more connection only where it needs one."""
    one, two, three, four = SUBSCRIPTIONS[:4]
    adapter = small("kraken", 2)

    assert rearranged(adapter, [[one]], [one, two]) == [[one, two]]
    assert rearranged(adapter, [[one, two], [three]], [one, two, three, four]) == [[one, two], [three, four]]
    assert rearranged(adapter, [[one, two]], [two, three, four]) == [[two], [three, four]]
    assert rearranged(adapter, [[one, two]], [three]) == [[], [three]]


async def collected(
    lines: list[Line], monkeypatch: pytest.MonkeyPatch, *changes: tuple[float, Feed], seconds: float = 100
) -> list[Record]:
    """What connections over some lines brought, whose subscriptions change at times."""
    outlets: list[Outlet[Record]] = []
    monkeypatch.setattr("trioagg.transport.websocket.connect", Lines(lines).connect)
    stream = stream_of(outlets)
    connections = Connections(
        adapter=load("binance"),
        stream=lambda feed, name: evolve(stream, feed=feed, name=name),
        attempts=partial(Attempts, Backoff(1, 60)),
        redundancy=1,
        intake=stream.intake,
        hint=dict,
    )
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for at, feed in changes:
                await trio.sleep_until(at)
                connections.carry(feed, nursery)
    return outlets[0].take_waiting()


def market(*symbols: str) -> list[tuple[float, bytes]]:
    """A trade of each a second, and the quotes of S0 between them."""
    return together(*(trades(every=1, until=200, symbol=symbol) for symbol in symbols), quotes(every=1, until=200))


async def test_a_changed_subscription_leaves_no_gap(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays comes on, no quote twice; what is new comes from the change on; what is given up is told to be so."""
    lines = [Line(market("S0", "S1")), Line(market("S0", "S2"), lag=0.1)]
    came = await collected(lines, monkeypatch, (0, wants("S0", "S1")), (20.2, wants("S0", "S2")))

    assert sorted(set(numbers(came))) == list(range(1, 100))
    assert bids(came) == list(range(1, 101))
    assert numbers(came, "S2")[0] == 21 and numbers(came, "S1")[-1] in (25, 26)
    assert lives(came) == [(0, pytest.approx(20.2 + SETTLE, abs=1), CHANGED), (20.2, 100, "stopped")]
    (given_up, at_the_end) = (record for record in came if isinstance(record, Broken))
    assert (given_up.symbols, given_up.cause) == (("S1",), "not subscribed")
    assert (set(at_the_end.symbols), at_the_end.cause) == ({"S0", "S2"}, "disconnected")


async def test_nothing_is_opened_for_what_stays(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same again is no change."""
    came = await collected([Line(market("S0"))], monkeypatch, (0, wants("S0")), (20.2, wants("S0")))

    assert lives(came) == [(0, 100, "stopped")]


async def test_a_change_amid_another_ends_with_the_last(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A successor that is opening is succeeded in its turn."""
    lines = [Line(market("S0")), Line(market("S0", "S1")), Line(market("S0", "S2"))]
    came = await collected(lines, monkeypatch, (0, wants("S0")), (20.2, wants("S0", "S1")), (22, wants("S0", "S2")))

    assert sorted(set(numbers(came))) == list(range(1, 100))
    assert bids(came) == list(range(1, 101))
    assert [line.closed is not None and line.closed < 100 for line in lines] == [True, True, False]
    assert numbers(came, "S2")[-1] == 99


async def test_a_connection_of_which_nothing_is_left_ends(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once; another is opened when something is wanted again."""
    lines = [Line(market("S0")), Line(market("S0"))]
    came = await collected(lines, monkeypatch, (0, wants("S0")), (20.2, Feed()), (40.2, wants("S0")))

    assert numbers(came) == [*range(1, 21), *range(41, 100)]
    assert lives(came) == [(0, 20.2, "stopped"), (40.2, 100, "stopped")]
    assert [record.cause for record in came if isinstance(record, Broken)] == ["not subscribed", "disconnected"]


class Wishes:
    """Settings that change from one reading to the next."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.trouble = ""
        self.readings = 0

    def read(self) -> Settings:
        """The newest."""
        self.readings += 1
        if self.trouble:
            raise SettingsError(self.trouble)
        return self.settings

    async def want(self, **run: Any) -> None:
        """Change them, say so, and wait until they are read."""
        self.settings = evolve(self.settings, run=evolve(self.settings.run, **run))
        before = self.readings
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: self.readings > before)


async def until(what: Callable[[], object]) -> None:
    """Wait for it, but not for ever."""
    with trio.fail_after(20):
        while not what():  # noqa: ASYNC110 - nothing but the database tells
            await trio.sleep(0.02)


def count(file: Path, symbol: str) -> int:
    """The trades of a market that are stored."""
    return int(ask(file, f"SELECT count(*) FROM trades WHERE symbol = '{symbol}'")[0][0])


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
async def test_settings_that_change_in_a_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Another symbol, another channel; what is wrong is told, and all goes on; no id is missing of what stays."""
    file = tmp_path / "a.db"
    writable(file).close()
    async with far_end(symbols=("BTC/USDT", "ETH/USDT"), rate=100) as urls:
        wishes = Wishes(settings_for(urls, file, channels=(Channel.TRADES,), first_data_timeout=5.0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, Job(wishes.settings, reread=wishes.read))
            await until(lambda: count(file, "BTC/USDT"))
            assert count(file, "ETH/USDT") == 0
            wishes.trouble = "settings.ini [run] symbols: bad value"
            await wishes.want()
            wishes.trouble = ""
            await wishes.want(symbols=("BTC/USDT", "ETH/USDT", "NONE/USDT"), channels=(Channel.TRADES, Channel.TICKER))
            await until(lambda: count(file, "ETH/USDT") and ask(file, "SELECT count(*) FROM tickers")[0][0])
            await until(lambda: ask(file, f"SELECT count(*) FROM sessions WHERE reason = '{CHANGED}'")[0][0])
            os.kill(os.getpid(), signal.SIGTERM)
    counts = "SELECT count(*), max(trade_id + 0) - min(trade_id + 0) + 1 FROM trades WHERE symbol = 'BTC/USDT'"
    stored, counted = ask(file, counts)[0]
    assert stored == counted > 0
    assert ask(file, "SELECT count(*) FROM gaps") == [(0,)]
    assert "settings.ini [run] symbols: bad value" in capfd.readouterr().out


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
async def test_exchanges_that_come_and_go_in_a_run(tmp_path: Path) -> None:
    """Another exchange is collected too; one that is not wanted any more is left, and its connection ended by us."""
    file = tmp_path / "a.db"
    writable(file).close()
    opened = "SELECT exchange, closed, reason FROM sessions ORDER BY opened"
    async with trio.open_nursery() as far:
        urls = await far.start(partial(serve, exchanges=("binance", "kraken"), symbols=("BTC/USDT",), rate=100))
        venues = {name: Venue(rest_url=told.rest, ws_url=told.ws, min_delay=0.0) for name, told in urls.items()}
        wishes = Wishes(evolve(settings_for(urls["binance"], file, channels=(Channel.TRADES,)), venues=venues))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, Job(wishes.settings, reread=wishes.read))
            await until(lambda: count(file, "BTC/USDT"))
            await wishes.want(exchanges=("binance", "kraken"))
            await until(lambda: ask(file, "SELECT count(*) FROM trades WHERE exchange = 'kraken'") > [(0,)])
            await wishes.want(exchanges=("kraken",))
            await until(lambda: ask(file, opened)[0][1])
            assert [row[::2] for row in ask(file, opened)] == [("binance", "stopped"), ("kraken", "")]
            os.kill(os.getpid(), signal.SIGTERM)
        far.cancel_scope.cancel()
    assert ask(file, "SELECT count(*) FROM gaps") == [(0,)]


async def test_a_late_instrument_list_disturbs_nothing_that_it_confirms(tmp_path: Path) -> None:
    """The streams did not wait for it; once it is there the instruments are stored, on the same connection."""
    file = tmp_path / "a.db"
    writable(file).close()
    async with far_end(rate=100, faults=("5xx,count=4",)) as urls:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, Job(settings_for(urls, file, channels=(Channel.TRADES,))))
            await until(lambda: count(file, "BTC/USDT"))
            await until(lambda: ask(file, "SELECT count(*) FROM instruments WHERE tick_size IS NOT NULL") > [(0,)])
            os.kill(os.getpid(), signal.SIGTERM)
        assert urls.statistics.requests[503] == 4
    assert ask(file, "SELECT count(*) FROM sessions") == [(1,)]
