"""PostgreSQL and MariaDB as sinks: the same rows as the file's, once each, whatever happens to the connection."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path

import pytest
import trio
from attrs import define, field
from servers import Server, gate, ordered, shown

from trioagg import sinks
from trioagg.errors import SinkError, StoreError
from trioagg.exchanges import counts
from trioagg.integrity.ledger import Ask, Draft, Entries, Ledger
from trioagg.model import (
    Book,
    Candle,
    ClockCheck,
    Delta,
    Event,
    Funding,
    Instrument,
    Liquidation,
    Loss,
    Note,
    OpenInterest,
    Quarantined,
    Quote,
    Record,
    Session,
    Ticker,
    Trade,
)
from trioagg.pipeline.flow import flow
from trioagg.pipeline.replay import Choice, replay
from trioagg.pipeline.tally import Tally
from trioagg.pipeline.write import Writer
from trioagg.settings import Buffers, Run, Settings
from trioagg.sinks import Sink
from trioagg.store import COLUMNS, Counts, database, rows

T0 = 1_723_161_253_937_085_768
D = Decimal
SNOWMAN = "BTC/\u2603\U0001f680"


def trades(*ids: int | str, symbol: str = "BTC/USDT", exchange: str = "binance") -> list[Record]:
    """Trades of one market, each a nanosecond and a little dearer than the one before."""
    return [
        Trade(exchange, symbol, number, D(f"1.{n}0"), D("2E-8"), "buy", T0 + n, T0 + n) for n, number in enumerate(ids)
    ]


def ticker(bid: str, received: int = T0) -> Ticker:
    """One of many at its instant."""
    return Ticker("binance", "BTC/USDT", D(bid), None, D(2), D("3.000"), None, None, None, received)


def candle(close: str, received: int, *, closed: bool = False) -> Candle:
    """One minute in one of its states."""
    return Candle("binance", "BTC/USDT", "1m", T0, D(1), D(2), D("0.50"), D(close), D(7), closed, received)


def everything() -> list[Record]:
    """An event of every kind, with all that is awkward: many digits, none, no time, signs of every plane, raw bytes."""
    tiny, long = D("1E-30"), D("12345678901234567890123456789.010")
    side = ((D("2E-8"), long), (D("3.00"), D("0E-3")))
    of = ("binance", "BTC/USDT")
    return [
        *trades(1, 2, 7),
        *trades("a-1", "7", SNOWMAN, exchange="coinbase", symbol=SNOWMAN),
        Trade("binance", "ETH/USDT", 2**63 - 1, long, tiny, "sell", None, T0),
        Trade("binance", "ETH/USDT", 2**63 - 2, D("-0.00"), D("-0E-9"), "sell", None, T0),
        ticker("-0.00"),
        ticker("1.50"),
        ticker("1.50"),
        candle("1", 1),
        Book(*of, side, (), None, T0),
        Quote(*of, long, None, None, tiny, T0, T0),
        Delta(*of, (), side, whole=True, timestamp=None, received=T0),
        Funding(*of, D("-0.00010"), None, tiny, T0 + 1, None, T0),
        OpenInterest(*of, long, None, T0),
        Liquidation(*of, "sell", long, D("0.10"), T0, T0),
        Quarantined("binance", T0, f"torn {SNOWMAN}", b'{"a": "\\ud83d'),
        Quarantined("binance", T0, "raw", bytes(range(256)) * 300),
        Loss(*of, "book", None, None, "checksum", T0),
        Loss(*of, "book", 5, 9, "sequence", T0),
        Session("binance", "ws-1", 2, T0, None, ""),
        Session("binance", "ws-1", 2, T0, T0 + 5, "it said \u201cno\u201d"),
        ClockCheck("binance", None, 5, -7, T0),
    ]


LISTED = [
    Instrument("binance", "BTC/USDT", "BTCUSDT", "BTC", "USDT", D("0.010"), None, D(1), "BTC", "trading"),
    Instrument("binance", "ETH/USDT", "ETHUSDT", "ETH", "USDT", D("0.1"), D("1E-8"), D(1), "ETH", "break"),
]


@define
class Sitting:
    """One sink and its ledger, as a run has them."""

    sink: Sink
    ledger: Ledger

    async def write(self, *records: Record) -> Counts:
        """Store a batch."""
        draft = self.ledger.draft(records)
        written = await self.sink.write(events(records), draft)
        self.ledger.keep(draft)
        return written


def events(records: Sequence[Record]) -> list[Event]:
    """Without the notes."""
    return [record for record in records if not isinstance(record, Note)]


def begun(sink: Sink) -> Sitting:
    """A session on an open sink."""
    return Sitting(sink, Ledger(counts, cause="not received", first_cause="not running"))


async def store(url: str, *batches: Sequence[Record]) -> list[Counts]:
    """Write batches in a session of its own."""
    async with sinks.connect(url) as sink:
        session = begun(sink)
        return [await session.write(*batch) for batch in batches]


def same(server: Server, file: Path) -> dict[str, int]:
    """How many rows of each kind there are, the same in both to the last digit."""
    found = {}
    with database(file) as db:
        for kind in COLUMNS:
            told = [tuple(row.values()) for row in rows(db, kind, limit=10**6)]
            if kind == "quarantine":
                told = [(*row[:-1], row[-1].encode() if isinstance(row[-1], str) else row[-1]) for row in told]
            assert shown(server, kind) == ordered(told), kind
            found[kind] = len(told)
    return found


async def test_every_kind_is_the_same_as_in_the_file(server: Server, tmp_path: Path) -> None:
    """Row by row and digit by digit, ledger and quarantine included; the same again adds nothing, ever."""
    file = tmp_path / "a.db"
    for url in (server.url(), f"sqlite:///{file}"):
        first, again = await store(url, everything(), everything())
        (later,) = await store(url, everything())
        assert (first.stored, again.stored, later.stored) == (18, 0, 0), url
        async with sinks.connect(url) as sink:
            await sink.describe(LISTED[:1])
            await sink.describe(LISTED * 2)
    assert min(same(server, file).values()) > 0


async def test_a_recording_is_the_same_as_in_the_file(server: Server, tmp_path: Path, captures: Path) -> None:
    """A replay of what was received in reality; a second one adds nothing to either."""
    short, file = tmp_path / "short.jsonl", tmp_path / "a.db"
    with gzip.open(captures / "binance-btcusdt-20240808.jsonl.gz", "rt") as lines:
        short.write_text("".join(islice(lines, 3000)))
    settings = Settings(run=Run(database=str(file), sinks=(server.url(),)))
    outcomes = [await replay([short], settings, choice=Choice(), progress=lambda count: None) for _ in range(2)]
    (beside,) = outcomes[0].beside.values()
    assert beside.stored == outcomes[0].tally.stored > 1000
    assert [tally.stored for tally in outcomes[1].beside.values()] == [0]
    assert same(server, file)["trades"] > 500


CUTS: list[list[list[Record]]] = [
    [[ticker("1"), ticker("1"), ticker("2")], [ticker("3"), ticker("5", T0 + 1)], [ticker("4")]],
    [[ticker("1")], [ticker("1")], [ticker("2"), ticker("2.0")], [ticker("2"), ticker("2.0")]],
    [[candle("1", 5), candle("2", 4), candle("3", 5)], [candle("4", 4)], [candle("5", 6), candle("6", 1, closed=True)]],
    [[candle("1", 9, closed=True)], [candle("2", 10), candle("3", 9, closed=True)]],
    [trades(1, 5), trades(3), [*trades(5), *trades(4, 2)], trades(9, 1)],
]


@pytest.mark.parametrize("batches", CUTS, ids=["arrivals", "again", "candles", "final", "trades"])
async def test_batches_are_cut_as_they_come(server: Server, tmp_path: Path, batches: list[list[Record]]) -> None:
    """Ordinals, the renewal of candles and the ledger come out as in the file, and so does each batch's account."""
    file = tmp_path / "a.db"
    for _ in range(2):
        assert await store(server.url(), *batches) == await store(f"sqlite:///{file}", *batches)
    same(server, file)


@define(eq=False)
class Between(Draft):
    """A draft that lets something happen inside the transaction."""

    happen: Callable[[], object] = field(kw_only=True)

    def entries(self, ask: Ask, *, stale: bool) -> Entries:
        """As any draft reckons them."""
        found = super().entries(ask, stale=stale)
        self.happen()
        return found


def between(sitting: Sitting, records: Sequence[Record], happen: Callable[[], object]) -> Between:
    """The draft of a batch."""
    draft = sitting.ledger.draft(records)
    return Between(draft.ledger, draft.batch, happen=happen)


async def test_a_killed_connection_loses_and_doubles_nothing(server: Server, tmp_path: Path) -> None:
    """In the middle of a batch and between two: an error that passes, and the next offer of the batch is taken."""
    file = tmp_path / "a.db"
    batches = [[*trades(1, 2, 7), ticker("1")], [*trades(9), ticker("2"), ticker("3")], [*trades(4), ticker("4")]]
    async with sinks.connect(server.url()) as sink:
        session = begun(sink)
        assert (await session.write(*batches[0])).stored == 4
        with pytest.raises(SinkError) as error:
            await sink.write(events(batches[1]), between(session, batches[1], server.kill))
        assert "\n" not in str(error.value)
        assert len(shown(server, "trades")) == 3
        assert (await session.write(*batches[1])).stored == 3
        assert server.kill() == 1
        with pytest.raises(SinkError):
            await session.write(*batches[2])
        assert (await session.write(*batches[2])).stored == 2
    await store(f"sqlite:///{file}", *batches)
    same(server, file)


async def test_a_run_of_kills(server: Server, tmp_path: Path) -> None:
    """Connections that die again and again under a busy writer cost time alone: every row is there, once."""
    file, batches = tmp_path / "a.db", [[*trades(n, n + 1, n + 3), ticker(str(n))] for n in range(1, 80, 4)]
    inlet, outlet = flow("test", 1000)
    for batch in batches:
        inlet.put(batch)
    inlet.close()
    async with sinks.connect(server.url()) as sink:
        ledger, buffers = Ledger(counts, cause="not received", first_cause="not running"), Buffers(commit_rows=4)
        writer = Writer(outlet, sink, ledger, Tally(), buffers, dead=failed, noticed=lambda: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            for _ in range(5):
                await trio.sleep(0.03)
                await trio.to_thread.run_sync(server.kill)
    assert writer.tally.lost == 0
    await store(f"sqlite:///{file}", *batches)
    assert same(server, file)["trades"] == 60


def failed() -> None:
    """A sink that is dead has lost something."""
    pytest.fail("the sink gave up")


async def test_a_server_that_is_away_for_a_while(server: Server, tmp_path: Path) -> None:
    """At the beginning and later: a write says so in one line, and is taken when the server is there again."""
    async with gate(server) as door:
        await door.shut()
        async with sinks.connect(server.url(door.port)) as sink:
            session = begun(sink)
            for number in (1, 3):
                for _ in range(2):
                    with pytest.raises(SinkError, match="does not work now") as error:
                        await session.write(*trades(number))
                    assert "ss@" not in str(error.value) and "\n" not in str(error.value)
                await door.open()
                assert (await session.write(*trades(number))).stored == 1
                await door.shut()
    await store(f"sqlite:///{tmp_path / 'a.db'}", trades(1), trades(3))
    same(server, tmp_path / "a.db")


async def test_a_stop_does_not_wait_for_a_silent_server(server: Server) -> None:
    """A write that another's lock holds up is left behind when it is cancelled; nothing of it is there."""
    held, release = trio.Event(), trio.Event()

    def hold() -> None:
        trio.from_thread.run_sync(held.set)
        trio.from_thread.run(release.wait)

    opened = sinks.connect(server.url())
    async with opened as one, sinks.connect(server.url()) as two, trio.open_nursery() as nursery:
        first, second = begun(one), begun(two)
        nursery.start_soon(one.write, events(trades(1)), between(first, trades(1), hold))
        await held.wait()
        with trio.move_on_after(0.1) as stop:
            await second.write(*trades(1))
        assert stop.cancelled_caught
        release.set()
    assert len(shown(server, "trades")) == 1


async def test_two_writers_share_one_ledger(server: Server) -> None:
    """What one stored is known to the other, which opens no gap where there is none, and fills what there is."""
    async with sinks.connect(server.url()) as one, sinks.connect(server.url()) as two:
        first, second = begun(one), begun(two)
        await first.write(*trades(1))
        await second.write(*trades(2))
        await first.write(*trades(3, 6))
        await second.write(*trades(7, 4))
        await first.write(*trades(8))
    assert [row[3:6] + row[7:8] for row in shown(server, "gaps")] == [
        ("4", "4", 1, "filled"),
        ("5", "5", 1, "open"),
    ]


async def test_many_open_an_empty_store_at_once(fresh: Server) -> None:
    """The tables are made once, and all of them write."""
    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(store, fresh.url(), trades(number))
    assert len(shown(fresh, "trades")) == 4


async def test_a_store_of_another_program_is_left_alone(fresh: Server) -> None:
    """A table of ours that is not ours: one line that names it, and nothing is made beside it."""
    fresh.ask("CREATE TABLE trade (title INT)")
    with pytest.raises(StoreError, match="holds tables of another program: trade"):
        await store(fresh.url(), trades(1))
    with pytest.raises(Exception, match="instrument"):
        fresh.ask("SELECT * FROM instrument")


OLDER = "CREATE INDEX trade_by_instrument_number_timestamp_received ON trade (instrument, number, timestamp, received)"
NEWER = {
    "postgresql": ["DROP INDEX trade_by_number", "DROP INDEX trade_by_time"],
    "mysql": ["DROP INDEX trade_by_number ON trade", "ALTER TABLE trade DROP COLUMN moment"],
}
"""What takes away that version 1 did not have."""


async def test_an_older_schema_is_brought_up_to_date(fresh: Server, tmp_path: Path) -> None:
    """Its rows stay, and gaps that are filled from then on say by what."""
    file = tmp_path / "a.db"
    for url in (fresh.url(), f"sqlite:///{file}"):
        await store(url, [*trades(1), *trades(4)])
    fresh.ask("DROP VIEW gaps", "ALTER TABLE gap DROP COLUMN filled_by", "UPDATE trioagg SET version = 1")
    fresh.ask(*NEWER[fresh.scheme], OLDER)
    for url in (fresh.url(), f"sqlite:///{file}"):
        await store(url, trades(2))
        await store(url, trades(3))
    assert fresh.ask("SELECT missing, filled_by FROM gaps") == [(2, "stream")]
    same(fresh, file)


async def test_a_newer_schema_is_refused(fresh: Server) -> None:
    """And says that it is newer."""
    await store(fresh.url(), trades(1))
    fresh.ask("UPDATE trioagg SET version = 99")
    with pytest.raises(StoreError, match="made by a newer trioagg: its schema is 99"):
        await store(fresh.url(), trades(2))


async def test_a_store_that_is_made_anew(fresh: Server) -> None:
    """What comes after a new connection goes into tables made anew, whatever was known of the old ones."""
    other = trades(5, symbol="ETH/USDT")
    async with sinks.connect(fresh.url()) as sink:
        session = begun(sink)
        await session.write(*trades(1), *other)
        fresh.renew()
        with pytest.raises((SinkError, StoreError)):
            await session.write(*other)
        assert (await session.write(*other)).stored == 1
    assert [row[:3] for row in shown(fresh, "trades")] == [("binance", "ETH/USDT", "5")]


async def test_what_the_server_refuses_for_good_ends_that_sink_alone(fresh: Server) -> None:
    """A table that a person took away is no trouble that passes, and no bug."""
    async with sinks.connect(fresh.url()) as sink:
        session = begun(sink)
        await session.write(*trades(1))
        fresh.ask("DROP TABLE session CASCADE")
        with pytest.raises(StoreError, match="session"):
            await session.write(Session("binance", "ws-1", 2, T0, None, ""))


async def test_plain_sql_calculates(server: Server) -> None:
    """Numbers are numbers, and every time is there as the server's own too, to the microsecond."""
    await store(server.url(), trades(5, 30, 200))
    assert server.ask("SELECT max(price), count(*) FROM trades WHERE amount < 1") == [(D("1.2"), 3)]
    ((at,),) = server.ask("SELECT received_at FROM trades WHERE trade_id = '5'")
    assert at.replace(tzinfo=None).isoformat() == "2024-08-08T23:54:13.937085"


@pytest.mark.parametrize("server", ["mysql"], indirect=True)
async def test_what_mariadb_s_numbers_cannot_hold(server: Server) -> None:
    """The text beside has every digit; the number is rounded behind the 18th place, and null above 20 places."""
    long, wide = D("0.12345678901234567890"), D(f"-{'9' * 21}.5")
    await store(server.url(), [Trade("binance", "A/B", "1", long, wide, "buy", None, T0)])
    told = server.ask("SELECT price, price_text, amount, amount_text FROM trades")
    assert told == [(D("0.123456789012345679"), f"{long:f}", None, f"{wide:f}")]


@pytest.mark.parametrize("fresh", ["postgresql"], indirect=True)
async def test_timescale_gets_hypertables(fresh: Server) -> None:
    """Where its function is, each table whose key holds a time is made one, by that time; trades stay as they are."""
    fresh.ask("CREATE TABLE made (name TEXT, moment TEXT, span BIGINT)")
    fresh.ask(
        "CREATE FUNCTION create_hypertable(relation regclass, time_column_name name, chunk_time_interval bigint,"
        " create_default_indexes boolean) RETURNS void LANGUAGE SQL AS"
        " 'INSERT INTO made VALUES (relation::text, time_column_name, chunk_time_interval)'"
    )
    await store(fresh.url(), everything())
    told = fresh.ask("SELECT DISTINCT moment FROM made WHERE span = 86400000000000 ORDER BY 1")
    assert told == [("open_time",), ("received",)]
    assert ("trade",) not in fresh.ask("SELECT name FROM made")


@pytest.mark.parametrize("server", ["postgresql"], indirect=True)
async def test_a_sign_that_postgresql_s_texts_cannot_hold(server: Server) -> None:
    """NUL becomes the sign for what cannot be shown, rather than ending the sink."""
    await store(server.url(), trades("a\0b", exchange="coinbase"), [Quarantined("coinbase", T0, "bad \0", b"\0")])
    assert [row[2] for row in shown(server, "trades")] == ["a\ufffdb"]
    assert shown(server, "quarantine") == [("coinbase", T0, "bad \ufffd", b"\0")]
