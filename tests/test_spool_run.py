"""A sink that is away in a real run: the database does not notice, and the sink has the same at the end."""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from pathlib import Path

import apsw
import trio
from attrs import evolve
from far_end import ask, far_end, ids, settings_for
from plain_sql import plain
from structlog.testing import capture_logs

from trioagg.pipeline.run import Job, run
from trioagg.pipeline.tally import SinkTally
from trioagg.settings import Buffers
from trioagg.sinks.sqlite import url_of

SECOND = 1_000_000_000


def sums(tally: SinkTally) -> bool:
    """Whether an account adds up."""
    gone = tally.stored + tally.duplicates + tally.quarantined + tally.conflated + tally.lost
    return tally.received == gone + tally.spooled


def there(folder: Path) -> list[str]:
    """The names in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def hold(database: Path, seconds: float) -> None:
    """Lock a database as another program does, once it has some trades."""
    while database.name not in there(database.parent) or not has_trades(database):  # noqa: ASYNC110
        await trio.sleep(0.05)
    with closing(plain(database)) as db:
        db.execute("BEGIN IMMEDIATE")
        await trio.sleep(seconds)
        db.execute("ROLLBACK")


def has_trades(database: Path) -> bool:
    """Whether a run has begun to store."""
    try:
        return ask(database, "SELECT count(*) FROM trades") > [(0,)]
    except apsw.SQLError:
        return False


async def test_a_sink_is_away_for_three_seconds(tmp_path: Path) -> None:
    """At 10 000 messages a second, in real time: far more than its flow holds, and nobody waits or lacks anything."""
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    async with far_end(rate=10_000.0) as urls:
        settings = settings_for(urls, one, sinks=(url_of(two),))
        small = evolve(settings, buffers=Buffers(channel=12_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, two, 3.0)
            outcome = await run(Job(small, duration=4.5))

    beside = outcome.beside[url_of(two)]
    assert not outcome.problems and sums(beside) and outcome.tally.conflated == beside.spooled == 0
    found = ids(one)
    assert found == list(range(found[0], found[-1] + 1)) == ids(two)
    assert ask(two, "SELECT (SELECT count(*) FROM trades) + (SELECT count(*) FROM tickers)") == [(beside.stored,)]
    listed = "SELECT * FROM instruments ORDER BY symbol"
    assert ask(one, listed) == ask(two, listed)
    times = [row[0] for row in ask(one, "SELECT received FROM trades ORDER BY received")]
    assert max(later - earlier for earlier, later in pairwise(times)) < SECOND
    assert there(tmp_path) == ["one.db", "two.db"]


async def test_a_run_ends_while_a_sink_is_away_and_the_next_delivers(tmp_path: Path) -> None:
    """Real files and threads, in real time: the second run's sink has what the first one received, exit code 0 both."""
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    async with far_end(rate=2_000.0) as urls:
        job = Job(settings_for(urls, one, sinks=(url_of(two),)), duration=1.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, two, 30.0)
            with capture_logs() as logs:
                first = (await run(job)).beside[url_of(two)]
            nursery.cancel_scope.cancel()
        assert sums(first) and first.spooled > 100 and not first.lost
        assert [line["spooled"] for line in logs if line["event"].startswith("waits on disk")] == [first.spooled]

        outcome = await run(evolve(job, duration=0.2))

    second = outcome.beside[url_of(two)]
    assert not outcome.problems and sums(second) and (second.belated, second.spooled) == (first.spooled, 0)
    assert ids(one) == ids(two)
    assert there(tmp_path) == ["one.db", "two.db"]
    gaps = "SELECT first_missing, last_missing, missing, cause, status FROM gaps"
    assert ask(one, gaps) == ask(two, gaps)
