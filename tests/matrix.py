"""The fault matrix: what befalls a run, and the stage on which it does. ``test_matrix`` says what must come of it.

Every case has its own far end, database and settings; all of them play at the same time, since most of it is waiting.
"""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random
from typing import Any

import trio
from attrs import define, evolve, field, frozen
from far_end import Names, ask, collected, far_end, ids, made, settings_for
from plain_sql import plain

from trioagg.model import Channel
from trioagg.pipeline.run import Job
from trioagg.pipeline.tally import Outcome
from trioagg.settings import Settings, Venue
from trioagg.simulator import load
from trioagg.simulator.faults import DISTORTIONS, Statistics, parse
from trioagg.simulator.market import Market
from trioagg.simulator.server import Urls
from trioagg.store import Writer

RATE = 100.0
"""Messages per second of each far end: half of them are trades."""
PATIENCE = 100.0
"""Seconds that one case may take, on a machine that does much else: pytest ends a test that takes 120."""
COMMIT_DELAY = 0.25
"""Seconds between transactions of those that are killed."""
STILL = 1.2
"""Seconds without a new row that are no chance; a write waits for a lock for 1."""
SECOND = 10**9
HOUR = 3600 * SECOND
NAME = "exchange.invalid"
ROOT = Path(__file__).parent.parent
OPENED: dict[Path, Writer] = {}
"""The open writers by their file."""


class Known(Writer):
    """A writer that can be found by its file, so that its disk can be made to fill up."""

    def __init__(self, db: Any) -> None:
        super().__init__(db)
        OPENED[db.path] = self


@define(eq=False)
class Stage:
    """One case while it plays.

    Attributes:
        case: what befalls it.
        urls: the far end's; the times of its faults count from ``began``, nanoseconds UTC, when ``begun`` is set.
        names: the name server.
        shift: nanoseconds by which our clock is wrong.
        outcomes: of each run so far.
        due: the next trade that the far end was to tell when the last run had nothing else to wait for.
        lost: trades that each kill cost.
        facts: what else is worth telling.
    """

    file: Path
    case: Case
    settings: Settings
    urls: Urls
    names: Names
    began: int = 0
    begun: trio.Event = field(factory=trio.Event)
    shift: int = 0
    outcomes: list[Outcome] = field(factory=list)
    due: int = 0
    lost: list[int] = field(factory=list)
    facts: dict[str, Any] = field(factory=dict)

    async def begin(self) -> None:
        """Let the times of the faults count once a trade is stored: they strike a run that is under way."""
        await self.grown()
        self.began = self.urls.begin()
        self.begun.set()

    async def collect(self, true: Callable[[], object]) -> None:
        """Run until something is true."""
        self.due = 0
        job = Job(self.settings, now=lambda: time.time_ns() + self.shift)
        self.outcomes.append(await collected(job, true))

    async def mend(self) -> None:
        """Run until nothing is missing any more."""
        before = self.stored()
        await self.collect(lambda: self.stored() > before and not self.missing and self.heard())

    def struck(self) -> bool:
        """Whether each fault did, what it must leave is in the ledger, and trades that came after it are stored."""
        causes = {cause for (cause,) in ask(self.file, "SELECT cause FROM gaps")}
        since = self.began + round((self.case.over + 0.1) * SECOND)
        later = self.begun.is_set() and ask(self.file, f"SELECT 1 FROM trade WHERE timestamp > {since} LIMIT 1")
        hurt = all(self.statistics.faults[kind] for kind in self.case.kinds)
        return bool(hurt and later and (causes & self.case.causes or not self.case.long))

    def heard(self) -> bool:
        """Whether a trade is stored that was sent after this had been asked in the run for the first time."""
        self.due = self.due or self.reached + 1
        return ids(self.file)[-1] >= self.due

    def over(self) -> bool:
        """Whether no more is to be waited for: each fault struck, and the run has mended what it left."""
        return made(self.file) and self.struck() and not self.missing and self.heard()

    def well(self) -> bool:
        """Whether the last run stored all that it had, and nothing is missing."""
        return bool(self.outcomes and self.stored() and not (self.missing or self.outcomes[-1].tally.lost))

    @property
    def exchange(self) -> str:
        return self.case.exchange

    @property
    def statistics(self) -> Statistics:
        return self.urls.statistics

    @property
    def venue(self) -> Venue:
        return self.settings.venues[self.exchange]

    def moved(self, **urls: Any) -> Settings:
        """Settings for other addresses of the far end."""
        return evolve(self.settings, venues={self.exchange: evolve(self.venue, **urls)})

    @property
    def missing(self) -> int:
        """Trades that the ledger names as missing."""
        return int(ask(self.file, "SELECT coalesce(sum(missing), 0) FROM gaps WHERE status = 'open'")[0][0])

    @property
    def reached(self) -> int:
        """The last trade that the far end came to."""
        return max(highest for _, highest in self.statistics.told.values())

    def stored(self) -> int:
        """Trades in the database, which need not be there yet."""
        if not self.file.exists() or not ask(self.file, "SELECT 1 FROM sqlite_schema WHERE name = 'trades'"):
            return 0
        return int(ask(self.file, "SELECT count(*) FROM trades")[0][0])

    async def grown(self, rows: int = 1) -> None:
        """Wait until so many more rows are stored."""
        wanted = self.stored() + rows
        while self.stored() < wanted:  # noqa: ASYNC110  (another process stores them)
            await trio.sleep(0.02)

    @asynccontextmanager
    async def process(self) -> AsyncIterator[trio.Process]:
        """A run in a process of its own, which has stored something by now; dead at the end."""
        config, log = self.file.with_suffix(".ini"), self.file.with_suffix(".log")
        config.write_text(_config(self.settings, self.exchange), encoding="utf-8")
        command = [sys.executable, "-m", "trioagg", "run", "--config", str(config), "--no-display"]
        with log.open("ab") as told:
            process = await trio.lowlevel.open_process(command, cwd=ROOT, stdout=told, stderr=told)
        try:
            await self.grown()
            yield process
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    def told(self) -> str:
        """What the processes logged."""
        return self.file.with_suffix(".log").read_text(encoding="utf-8")


def _config(settings: Settings, exchange: str) -> str:
    chosen, venue = settings.run, settings.venues[exchange]
    return f"""
[run]
exchanges = {exchange}
symbols = {chosen.symbols[0]}
channels = trades
database = {chosen.database}
[retry]
reconnect_delay = 0.02
[buffers]
commit_delay = {COMMIT_DELAY}
[exchange:{exchange}]
rest_url = {venue.rest_url}
ws_url = {venue.ws_url}
min_delay = 0
"""


Act = Callable[[Stage], Awaitable[None]]
"""What happens to a run."""


async def alone(stage: Stage) -> None:
    """A run; the far end's faults are all there is."""
    await stage.collect(stage.over)


def beside(act: Act, true: Callable[[Stage], bool] = Stage.over) -> Act:
    """A run, and something that happens meanwhile."""

    async def both(stage: Stage) -> None:
        done = trio.Event()

        async def happen() -> None:
            await act(stage)
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(happen)
            await stage.collect(lambda: done.is_set() and true(stage))

    return both


async def no_names(stage: Stage) -> None:
    """The exchange's name is not known for a while, and the connection is cut just then."""
    urls = {name: getattr(stage.venue, name).replace("127.0.0.1", NAME) for name in ("rest_url", "ws_url")}
    stage.settings = stage.moved(**urls)

    async def fall(stage: Stage) -> None:
        await stage.begun.wait()
        stage.names.down = trio.current_time(), trio.current_time() + 1.4

    await beside(fall)(stage)
    stage.facts["failures"] = stage.names.failures


async def no_tls(stage: Stage) -> None:
    """Between two runs that are well, one finds nobody who speaks TLS."""
    await stage.collect(stage.over)
    well, stage.settings = stage.settings, stage.moved(ws_url=(stage.venue.ws_url or "").replace("ws://", "wss://"))
    late = trio.current_time() + 1.0
    await stage.collect(lambda: trio.current_time() > late)
    stage.facts["received"] = stage.outcomes[-1].tally.received
    stage.settings = well
    await stage.mend()


def shifted(by: int) -> Act:
    """Our clock jumps: after frames were skipped, before a cut."""

    async def jump(stage: Stage) -> None:
        await stage.begun.wait()
        await trio.sleep(1.2)
        stage.shift = by

    return beside(jump)


async def _stands(stage: Stage) -> None:
    """Wait until nothing has been stored for a while."""
    stored, since = stage.stored(), trio.current_time()
    while trio.current_time() < since + STILL:
        await trio.sleep(0.05)
        if stage.stored() > stored:
            stored, since = stage.stored(), trio.current_time()
    stage.facts["stood still"] = True


async def full(stage: Stage) -> None:
    """There is no room on the disk for a while."""
    await stage.grown()
    db = OPENED[stage.file]._db
    db.pragma("max_page_count", db.pragma("page_count"))
    await _stands(stage)
    db.execute("PRAGMA max_page_count = 1000000")


async def full_to_the_end(stage: Stage) -> None:
    """There is no room on the disk any more, and then the run is over."""
    await stage.grown()
    db = OPENED[stage.file]._db
    db.pragma("max_page_count", db.pragma("page_count"))
    await _stands(stage)


async def locked(stage: Stage) -> None:
    """Another program holds the database for longer than a write waits for it."""
    await stage.grown()
    with closing(plain(stage.file)) as other:
        other.execute("BEGIN EXCLUSIVE")
        await _stands(stage)
        other.execute("ROLLBACK")


async def taken_away(stage: Stage) -> None:
    """The database is moved away under the run, which ends; then it is put back."""
    elsewhere = stage.file.with_suffix(".away")

    async def move(stage: Stage) -> None:
        await stage.grown()
        stage.file.rename(elsewhere)

    await beside(move)(stage)
    elsewhere.rename(stage.file)


async def terminated(stage: Stage) -> None:
    """SIGTERM: a clean stop."""
    async with stage.process() as process:
        await trio.sleep(0.3)
        process.terminate()
        stage.facts["exit"] = await process.wait()


async def killed(stage: Stage) -> None:
    """SIGKILL, four times, at moments out of a seed."""
    random = Random(7)
    for _ in range(4):
        async with stage.process() as process:
            await trio.sleep(random.uniform(0, 0.5))
            reached = stage.reached
            process.kill()
            await process.wait()
            stage.lost.append(reached - ids(stage.file)[-1])
    stage.facts["sessions"] = ask(stage.file, "SELECT count(*) FROM sessions WHERE closed IS NULL")[0][0]


async def stopped(stage: Stage) -> None:
    """The process stands still for a while, and reads nothing."""
    async with stage.process() as process:
        process.send_signal(signal.SIGSTOP)
        await _stands(stage)
        process.send_signal(signal.SIGCONT)
        await stage.grown(50)
        process.terminate()
        await process.wait()


async def failing_disk(stage: Stage) -> None:
    """The system refuses to write further for a while: no file may grow."""
    async with stage.process() as process:
        log = stage.file.with_name(stage.file.name + "-wal")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, resource.RLIM_INFINITY))
        await _stands(stage)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await stage.grown(50)
        process.terminate()
        await process.wait()


def market(exchange: str) -> Market:
    """What the far end of an exchange makes up."""
    return Market(symbols=["BTC/USDT"], rate=RATE, lists=load(exchange).lists)


@frozen
class Case:
    """One fault.

    Attributes:
        faults: of the far end, each of which must strike.
        act: what happens to the run.
        causes: that the holes which it leaves have; those of a later start are not counted.
        run: settings of the run beside the usual.
        channel: events that may wait for the store.
        process: whether the run is a process of its own.
        needs: what not every system has.
        long: whether it cannot pass between two trades: it leaves a hole.
    """

    faults: Sequence[str] = ()
    act: Act = alone
    causes: frozenset[str] = frozenset()
    exchange: str = "binance"
    run: Mapping[str, Any] = field(factory=dict)
    channel: int = 50_000
    process: bool = False
    needs: str = ""
    long: bool = False

    @property
    def kinds(self) -> list[str]:
        """The faults that are counted when they strike."""
        return [kind for kind in (spec.partition(",")[0] for spec in self.faults) if kind != "slow"]

    @property
    def over(self) -> float:
        """Seconds until the last of them has begun, and none of them touches single frames any more."""
        faults = [parse(spec) for spec in self.faults]
        return max((fault.at + (fault.lasting if fault.kind in DISTORTIONS else 0) for fault in faults), default=0.0)


TORN, SKIPPED = frozenset({"disconnected"}), frozenset({"not received"})
BRIEF = {"stall_timeout": 1.5}
CASES = {
    "RST": Case(["cut,at=0.5,how=reset"], causes=TORN),
    "FIN": Case(["cut,at=0.5,how=drop"], causes=TORN),
    "close frame": Case(["cut,at=0.5,how=close"], causes=TORN),
    "stall": Case(["stall,at=0.5"], causes=TORN, run=BRIEF, long=True),
    "partition while sending": Case(["partition,at=0.5,for=8"], causes=TORN, run=BRIEF, long=True),
    "refused for a while": Case(["cut,at=0.5", "refuse,at=0.4,count=6"], causes=TORN, long=True),
    "DNS": Case(["cut,at=0.5"], no_names, TORN, long=True),
    "TLS": Case(act=no_tls),
    "slow link": Case(["slow,at=0.5,for=1,rate=3000"]),
    "slow reader": Case(act=stopped, process=True, needs="SIGSTOP"),
    "429": Case(["cut,at=0.5", "429,at=0.4,count=2,retry_after=1"], causes=TORN),
    "418": Case(["cut,at=0.5", "418,at=0.4,count=2,retry_after=1"], causes=TORN),
    "5xx": Case(["cut,at=0.5", "5xx,at=0.4,count=6"], causes=TORN),
    "never-ack": Case(["never-ack"], exchange="coinbase"),
    "ack-and-silence": Case(["ack-and-silence,at=0.5,for=2"], causes=TORN | SKIPPED, run=BRIEF, exchange="coinbase"),
    "duplicate": Case(["repeat,share=0.3,for=1"]),
    "reorder": Case(["reorder,share=0.2,for=1"], causes=SKIPPED),
    "skip": Case(["skip,share=0.3,for=1"], causes=SKIPPED, long=True),
    "garble": Case(["garble,share=0.3,for=1"], causes=SKIPPED, long=True),
    "unknown kind": Case(["unknown,share=0.3,for=1"]),
    "10 MB frame": Case(["huge,at=0.5"]),
    "frame above the limit": Case(["huge,at=0.5,size=17"], causes=TORN),
    "clock +1 h": Case(["skip,share=0.2,for=1", "cut,at=1.5"], shifted(HOUR), SKIPPED | TORN),
    "clock -1 h": Case(["skip,share=0.2,for=1", "cut,at=1.5"], shifted(-HOUR), SKIPPED | TORN),
    "SIGTERM": Case(act=terminated, process=True),
    "SIGKILL": Case(act=killed, causes=frozenset({"killed"}), process=True, long=True),
    "ENOSPC": Case(act=beside(full)),
    "ENOSPC at the stop": Case(
        act=beside(full_to_the_end, lambda stage: True), causes=frozenset({"killed"}), run={"drain_timeout": 0.3}
    ),
    "EIO": Case(act=failing_disk, process=True, needs="prlimit"),
    "locked database": Case(act=beside(locked)),
    "killed sink": Case(act=taken_away, causes=frozenset({"killed"})),
    "sink down": Case(act=beside(locked), channel=10),
}


async def play(case: Case, file: Path, names: Names) -> Stage:
    """A case from its beginning until the database lacks nothing."""
    async with far_end(exchanges=(case.exchange,), rate=RATE, faults=case.faults, held=True) as urls:
        chosen = {"channels": (Channel.TRADES,), "exchanges": (case.exchange,), "drain_timeout": 5.0, **case.run}
        usual = settings_for(urls, file, **chosen)
        settings = evolve(usual, buffers=evolve(usual.buffers, channel=case.channel))
        stage = Stage(file, case, settings, urls, names)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.begin)
            with trio.fail_after(PATIENCE):
                await case.act(stage)
                while not stage.well():
                    await stage.mend()
        return stage
