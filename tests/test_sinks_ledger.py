"""The ledger on a database server is the file's: what came last, what was killed, what no id tells."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from attrs import define
from far_end import ask
from servers import Server
from test_sinks_servers import begun, same, store

from trioagg import sinks
from trioagg.errors import SinkError
from trioagg.integrity.ledger import Ask, Draft, Entries, Known
from trioagg.model import Broken, Carried, Record, Session, Trade
from trioagg.sinks.sqlite import url_of

UP = Carried("bybit", ("BTC/USDT",), 1)
DOWN = Broken("bybit", ("BTC/USDT",), "disconnected", 2)
ENDS = 'SELECT since, until, "before", "after", status FROM gap ORDER BY since'
SESSIONS = "SELECT opened, closed, reason, missed FROM sessions ORDER BY opened"


def trade(number: int | str, at: int | None, received: int = 9, exchange: str = "bybit") -> Trade:
    """One of a market."""
    return Trade(exchange, "BTC/USDT", number, Decimal(1), Decimal(1), "buy", at, received)


def life(opened: int, closed: int | None = None) -> Session:
    """A connection, while it lives or when it ended."""
    missed = None if closed is None else 3
    return Session("binance", "ws-1", 2, opened, closed, "" if closed is None else "it broke", missed)


def counted(*ids: int) -> list[Record]:
    """Trades of an exchange that counts them."""
    return [trade(number, number, exchange="binance") for number in ids]


async def both(server: Server, file: Path, *batches: Sequence[Record]) -> None:
    """Write batches in a run of their own, to the server and to the file."""
    for url in (server.url(), url_of(file)):
        await store(url, *batches)


async def test_a_killed_process_is_the_cause_as_in_the_file(server: Server, tmp_path: Path) -> None:
    """Its connection says so from then on; the next run, which ended well, is no cause."""
    file = tmp_path / "a.db"
    await both(server, file, [life(1), *counted(1, 2)])
    await both(server, file, [life(10), *counted(12), life(10, 13)])
    await both(server, file, [life(20), *counted(22), life(20, 23)])

    assert server.ask("SELECT cause FROM gaps ORDER BY detected") == [("killed",), ("not running",)]
    assert server.ask(SESSIONS) == [(1, None, "killed", None), (10, 13, "it broke", 3), (20, 23, "it broke", 3)]
    same(server, file)


async def test_an_end_that_comes_late_was_no_kill(server: Server, tmp_path: Path) -> None:
    """It waited in the spool while the sink was away."""
    file = tmp_path / "a.db"
    await both(server, file, [life(1), *counted(1, 2)])
    await both(server, file, [life(1, 3)], [life(10), *counted(12)])

    assert server.ask("SELECT cause FROM gaps") == ask(file, "SELECT cause FROM gaps") == [("not running",)]


async def test_a_connection_made_anew_is_no_new_process(server: Server, tmp_path: Path) -> None:
    """The run's own connections to the exchange stay open."""
    async with sinks.connect(server.url()) as sink:
        sitting = begun(sink)
        await sitting.write(life(1), *counted(1))
        assert server.kill() == 1
        with pytest.raises(SinkError):
            await sitting.write(life(2), *counted(3))
        await sitting.write(life(2), *counted(3))
    assert server.ask(SESSIONS) == [(1, None, "", None), (2, None, "", None)]


async def test_a_stretch_without_ids_is_the_same_as_in_the_file(server: Server, tmp_path: Path) -> None:
    """Its ends are the trades on both sides; the next run begins where the newest trade is."""
    file = tmp_path / "a.db"
    await both(server, file, [UP, trade("a", 10), trade("b", 20)], [DOWN, UP, trade("c", 30)])
    await both(server, file, [UP, trade("d", 50)])

    assert server.ask(ENDS) == ask(file, ENDS) == [(20, 30, "b", "c", "open"), (30, 50, "c", "d", "open")]
    same(server, file)


@define(eq=False)
class Asking(Draft):
    """A draft that keeps what the store knows."""

    found: Known | None = None

    def entries(self, ask: Ask, *, stale: bool) -> Entries:
        """Nothing."""
        self.found = ask("bybit", "BTC/USDT")
        return Entries()


async def known(url: str) -> Known | None:
    """What a store says of a market."""
    async with sinks.connect(url) as sink:
        draft = Asking(begun(sink).ledger, [])
        await sink.write([], draft)
        return draft.found


async def test_what_came_last_is_the_same_as_in_the_file(server: Server, tmp_path: Path) -> None:
    """With and without a number, with and without a time of its own."""
    file = tmp_path / "a.db"
    for some in ([trade(5, 40), trade(7, 30)], [trade("a", None, 35)], [trade("b", 36), trade("c", 12)]):
        await both(server, file, some)
        assert await known(server.url()) == await known(url_of(file))
    found = await known(server.url())
    assert found and found.newest == (36, "b") and (found.lowest, found.highest) == (5, 7)
