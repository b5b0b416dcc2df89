"""A soak: ``python -m bench.soak --minutes 5 --seed 1`` walks the fault matrix at random, and counts every trade.

A run in a process of its own collects from a far end with faults in this one, is killed, stopped and held up, and
starts again. The far end numbers its trades, so at the end the rows are compared with what it had, one by one.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from decimal import Decimal
from functools import partial
from itertools import zip_longest
from pathlib import Path
from random import SystemRandom

import trio
from attrs import define, field

from bench.collector import Collector
from bench.walk import Chapter, Step, chapters
from trioagg import exchanges
from trioagg.integrity.agreement import differences
from trioagg.simulator import SCALE, load
from trioagg.simulator.faults import Statistics
from trioagg.simulator.market import Market
from trioagg.simulator.server import serve
from trioagg.store import database, examine, open_gaps

SYMBOLS = ("BTC/USDT", "ETH/USDT")
RATE = 200.0
"""Messages per second; half of them are trades."""
QUIET = 240.0
"""Seconds after the last fault in which every hole must close."""
LEAST = 3.0
"""Seconds of quiet at the least."""
STEP = 0.25
MS = 1_000_000
CONFIG = """
[run]
exchanges = binance
symbols = {symbols}
channels = trades
database = {database}
stall_timeout = 1.5
[retry]
base_delay = 0.2
max_delay = 1
reconnect_delay = 0.05
[exchange:binance]
rest_url = {rest}
ws_url = {ws}
min_delay = 0
"""


@define
class Count:
    """What is stored.

    Attributes:
        twice: rows beyond the first of their trade.
        missing: trades that the ledger names, and that may still come.
    """

    stored: int = 0
    twice: int = 0
    missing: int = 0


@define(eq=False)
class Soak:
    """One soak.

    Attributes:
        sent: frames that earlier lives of the far end sent.
        now: the fault that came last.
    """

    folder: Path
    seconds: float
    seed: int
    collector: Collector = field(init=False)
    sent: int = 0
    now: str = "none yet"
    _statistics: Statistics = field(factory=Statistics)
    _port: int = 0

    def __attrs_post_init__(self) -> None:
        self.collector = Collector(self.folder / "settings.ini")

    @property
    def file(self) -> Path:
        """The database."""
        return self.folder / "soak.db"

    async def run(self) -> list[str]:
        """Walk, wait until all is well, and judge.

        Returns:
            What is wrong, a line each.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell)
            for chapter in chapters(self.seconds, self.seed):
                await self._far_end(nursery, chapter)
            await self._far_end(nursery, None)
            nursery.cancel_scope.cancel()
        self._say("end")
        return [*self.collector.failures, *self._wrong()]

    async def _far_end(self, whole: trio.Nursery, chapter: Chapter | None) -> None:
        """One life of the far end: with a chapter's faults, or the quiet at the end."""
        async with trio.open_nursery() as nursery:
            specs = chapter.specs if chapter else ()
            urls = (await nursery.start(partial(serve, symbols=SYMBOLS, rate=RATE, faults=specs, port=self._port)))[
                "binance"
            ]
            self._statistics = urls.statistics
            if not self._port:
                self._port = int(urls.rest.rpartition(":")[2])
                config = CONFIG.format(symbols=", ".join(SYMBOLS), database=self.file, rest=urls.rest, ws=urls.ws)
                self.collector.config.write_text(config, encoding="utf-8")
                whole.start_soon(self.collector.keep)
            await (self._walk(chapter) if chapter else self._quiet())
            nursery.cancel_scope.cancel()
        self.sent, self._statistics = self.sent + urls.statistics.sent, Statistics()

    async def _walk(self, chapter: Chapter) -> None:
        begin = trio.current_time()
        with trio.move_on_at(begin + chapter.length):
            for step in chapter.steps:
                await trio.sleep_until(begin + step.at)
                self.now = step.name
                if step in chapter.acts:
                    await self._strike(step)
            await trio.sleep_forever()

    async def _strike(self, step: Step) -> None:
        match step.name:
            case "SIGTERM" | "SIGKILL":
                self.collector.send(signal.Signals[step.name])
            case "SIGSTOP":
                self.collector.send(signal.SIGSTOP)
                await self._then(step, partial(self.collector.send, signal.SIGCONT))
            case "locked" if self.file.exists():
                with closing(sqlite3.connect(self.file, isolation_level=None, timeout=0)) as other:
                    await self._hold(other, step)
            case "EIO" if hasattr(resource, "prlimit") and (process := self.collector.process):
                limit = partial(resource.prlimit, process.pid, resource.RLIMIT_FSIZE)
                limit((self.file.stat().st_size if self.file.exists() else 0, resource.RLIM_INFINITY))
                await self._then(step, partial(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)))

    async def _then(self, step: Step, end: Callable[[], object]) -> None:
        try:
            await trio.sleep(step.lasting)
        finally:
            end()

    async def _hold(self, other: sqlite3.Connection, step: Step) -> None:
        """Hold the database, unless somebody writes just now."""
        for _ in range(20):
            try:
                other.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                await trio.sleep(0.02)
            else:
                await self._then(step, partial(other.execute, "ROLLBACK"))
                return

    async def _quiet(self) -> None:
        """Until nothing is missing, and then a clean stop."""
        self.now = "quiet"
        with trio.move_on_after(QUIET):
            await trio.sleep(LEAST)
            while not (found := self._count()).stored or found.missing:  # noqa: ASYNC110  (another process stores)
                await trio.sleep(STEP)
        await self.collector.stop()

    async def _tell(self) -> None:
        begin, every = trio.current_time(), max(1.0, min(10.0, self.seconds / 4))
        while True:
            await trio.sleep(every)
            self._say(f"{trio.current_time() - begin:.0f} s")

    def _say(self, when: str) -> None:
        found, most = self._count(), self.collector.most
        sent = self.sent + self._statistics.sent
        counts = f"sent {sent:,}, stored {found.stored:,}, duplicated {found.twice}, missing {found.missing:,}"
        needs = f"peak memory {most.peak / 1e6:.0f} MB, file handles {most.handles}, tasks {most.tasks}"
        sys.stdout.write(f"{when:>7}: {counts}, {needs}, last fault: {self.now}\n")
        sys.stdout.flush()

    def _count(self) -> Count:
        if not self.file.exists():
            return Count()
        with closing(sqlite3.connect(self.file)) as db:
            if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'gaps'").fetchone():
                return Count()
            stored, kinds = db.execute("SELECT count(*), count(DISTINCT symbol || trade_id) FROM trades").fetchone()
            missing = db.execute("SELECT coalesce(sum(missing), 0) FROM gaps WHERE status <> 'filled'").fetchone()[0]
        return Count(stored, stored - kinds, missing)

    def _wrong(self) -> list[str]:
        """Where the database is not what the far end had."""
        with database(self.file) as db:
            audit, gaps = examine(db, set(filter(exchanges.counts, exchanges.names()))), open_gaps(db)
        wrong = [f"the file is damaged: {told}" for told in audit.damage]
        wrong += [f"{gaps} gaps are open"] if gaps else []
        for market in audit.markets:
            for one in differences(stored=market.stored, named=market.named, filled=market.filled):
                wrong.append(f"{market.symbol} {one.first} to {one.last}: {one.problem}")
        return [*wrong, *(line for symbol in SYMBOLS for line in self._compared(symbol))]

    def _compared(self, symbol: str) -> list[str]:
        """Each row beside the trade that the far end had."""
        sql = """
        SELECT trade_id, price, amount, side, timestamp / 1000000
        FROM instrument JOIN trade ON instrument = instrument.id
        WHERE symbol = ? ORDER BY trade_id
        """
        with closing(sqlite3.connect(self.file)) as db:
            rows = db.execute(sql, (symbol,)).fetchall()
        if not rows:
            return [f"{symbol}: nothing is stored"]
        there = Market(symbols=SYMBOLS, rate=RATE, lists=load("binance").lists).prints(
            symbol, rows[0][0], rows[-1][0] + 1
        )
        for row, trade in zip_longest(rows, there):
            if row is None or trade is None or not _same(row, trade):
                return [f"{symbol}: stored {row}, the far end had {trade}"]
        return []


def _same(row: tuple[int, str, str, str, int], trade: tuple[int, int, int, int, bool]) -> bool:
    number, price, amount, side, at = row
    told, moment, *figures, buy = trade
    same = [Decimal(price) * SCALE, Decimal(amount) * SCALE] == figures
    return same and (number, side, at) == (told, "buy" if buy else "sell", moment // MS)


def main(words: Sequence[str] | None = None) -> int:
    """Soak; 1 when anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Walk the fault matrix at random.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="what the walk follows from; random if not given")
    chosen = parser.parse_args(words)
    seed = SystemRandom().randrange(10**6) if chosen.seed is None else chosen.seed
    sys.stdout.write(f"soaking for {chosen.minutes:g} min, seed {seed}\n")
    folder = Path(tempfile.mkdtemp(prefix="trioagg-soak-"))
    wrong = trio.run(Soak(folder, chosen.minutes * 60, seed).run)
    for line in wrong:
        sys.stdout.write(f"WRONG: {line}\n")
    sys.stdout.write(f"{'failed' if wrong else 'all is well'}: seed {seed}, database and log in {folder}\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
