"""A soak: ``python -m bench.soak --minutes 5 --seed 1`` walks the fault matrix at random, and counts every trade.

A run in a process of its own collects from a far end with faults in this one, is killed, stopped and held up, and
starts again; in the second half it must live. The far end numbers its trades, so at the end the rows are compared with
what it had, one by one; what the run served at ``/metrics``, with the rows; and what it needed at its end, with what
it needed when it was young.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import SystemRandom
from urllib.parse import urlsplit

import httpx
import trio
from attrs import define, field

from bench import counters, rows
from bench.collector import EVERY, Collector
from bench.course import ages, risen
from bench.harm import strike
from bench.walk import Chapter, chapters
from trioagg.simulator import load
from trioagg.simulator.faults import Statistics
from trioagg.simulator.market import Market
from trioagg.simulator.server import Started, serve

EXCHANGES = ("binance", "kraken")
SYMBOLS = ("BTC/USDT", "ETH/USDT")
RATE = 40.0
"""Messages per second of each exchange; half of them are trades."""
MARKETS = {name: Market(symbols=SYMBOLS, rate=RATE, lists=load(name).lists) for name in EXCHANGES}
"""What happens there."""
QUIET = 240.0
"""Seconds after the last fault in which every hole must close."""
LEAST = 3.0
"""Seconds of quiet at the least."""
SETTLING = 20.0
"""Seconds in which what was received last must be in the database, and be counted."""
STEP = 0.5
CONFIG = """
[run]
exchanges = {exchanges}
symbols = {symbols}
channels = trades, ticker, book
database = {database}
stall_timeout = 1.5
[retry]
base_delay = 0.2
max_delay = 1
reconnect_delay = 0.05
"""
VENUE = """
[exchange:{name}]
rest_url = {urls.rest}
ws_url = {urls.ws}
min_delay = 0
"""


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
    _statistics: Sequence[Statistics] = ()
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
            wrong = await self._last()
            nursery.cancel_scope.cancel()
        self._say("end")
        return [*self.collector.failures, *wrong, *rows.wrong(self.file, MARKETS, SYMBOLS)]

    async def _far_end(self, whole: trio.Nursery, chapter: Chapter | None) -> None:
        """One life of the far end: with a chapter's faults, or the quiet at the end."""
        specs = chapter.specs if chapter else ()
        play = partial(serve, exchanges=EXCHANGES, symbols=SYMBOLS, rate=RATE, faults=specs, port=self._port)
        async with trio.open_nursery() as nursery:
            started = await nursery.start(play)
            self._statistics = [urls.statistics for urls in started.values()]
            if not self._port:
                self._port = self._configure(started)
                whole.start_soon(self.collector.keep)
            await (self._walk(chapter) if chapter else self._quiet())
            nursery.cancel_scope.cancel()
        self.sent, self._statistics = self._sent(), []

    def _configure(self, started: Started) -> int:
        """Write the settings of the run; the port of the far end."""
        config = CONFIG.format(exchanges=", ".join(EXCHANGES), symbols=", ".join(SYMBOLS), database=self.file)
        venues = [VENUE.format(name=name, urls=urls) for name, urls in started.items()]
        self.collector.config.write_text("".join([config, *venues]), encoding="utf-8")
        return urlsplit(started[EXCHANGES[0]].rest).port or 0

    def _sent(self) -> int:
        return self.sent + sum(told.sent for told in self._statistics)

    async def _walk(self, chapter: Chapter) -> None:
        begin = trio.current_time()
        with trio.move_on_at(begin + chapter.length):
            for step in chapter.steps:
                await trio.sleep_until(begin + step.at)
                self.now = step.name
                if step in chapter.acts:
                    await strike(step, self.collector, self.file)
            await trio.sleep_forever()

    async def _quiet(self) -> None:
        """Until nothing is missing."""
        self.now = "quiet"
        with trio.move_on_after(QUIET):
            await trio.sleep(LEAST)
            while not (found := rows.count(self.file)).stored or found.missing:  # noqa: ASYNC110  (another process stores)
                await trio.sleep(STEP)

    async def _last(self) -> list[str]:
        """What is wrong with the last run, when nothing comes any more: its counters, its account, what it needs."""
        told, wrong = await self._settled()
        life = await self.collector.stop()
        if (account := counters.account(told)) != life.account:
            wrong.append(f"/metrics told {account}, the last line {life.account}")
        needs = ", ".join(f"{name} {young:,.0f} → {old:,.0f}" for name, (young, old) in ages(life.course).items())
        counts = ", ".join(f"{name} {count:,}" for name, count in account.items())
        _print(f"the last run, {len(life.course) * EVERY:.0f} s: {counts}; {needs}")
        return wrong + risen(life.course)

    async def _settled(self) -> tuple[counters.Samples, list[str]]:
        """What the run serves once it agrees with the database, or else where it does not."""
        told: counters.Samples = {}
        wrong = ["/metrics was not served"]
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=5)) as client:
            with trio.move_on_after(SETTLING):
                while wrong:
                    await trio.sleep(STEP)
                    told = counters.samples((await client.get(f"{self.collector.url}/metrics")).text)
                    wrong = counters.differences(told, self.file, since=self.collector.life.began)
        return told, wrong

    async def _tell(self) -> None:
        begin, every = trio.current_time(), max(1.0, min(10.0, self.seconds / 4))
        while True:
            await trio.sleep(every)
            self._say(f"{trio.current_time() - begin:.0f} s")

    def _say(self, when: str) -> None:
        found, most = rows.count(self.file), self.collector.most
        counts = f"sent {self._sent():,}, stored {found.stored:,}, duplicated {found.twice}, missing {found.missing:,}"
        needs = f"peak memory {most.memory / 1e6:.0f} MB, file handles {most.handles}, tasks {most.tasks}"
        _print(f"{when:>7}: {counts}, {needs}, last fault: {self.now}")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(words: Sequence[str] | None = None) -> int:
    """Soak; 1 when anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="Walk the fault matrix at random.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="what the walk follows from; random if not given")
    chosen = parser.parse_args(words)
    seed = SystemRandom().randrange(10**6) if chosen.seed is None else chosen.seed
    _print(f"soaking for {chosen.minutes:g} min, seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="trioagg-soak-"))
    wrong = trio.run(Soak(folder, chosen.minutes * 60, seed).run)
    for line in wrong:
        _print(f"WRONG: {line}")
    _print(f"{'failed' if wrong else 'all is well'}: seed {seed}, database and log in {folder}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
