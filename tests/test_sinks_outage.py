"""Real servers that go away under a real run, in real time: 0 lost, 0 double, and the database does not notice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from attrs import evolve
from far_end import ask, far_end, ids, settings_for
from servers import Server, gate, place, shown

from trioagg.pipeline.load import Job as Load
from trioagg.pipeline.load import load
from trioagg.pipeline.run import Job, run
from trioagg.pipeline.spool import folder_of
from trioagg.pipeline.tally import Outcome
from trioagg.settings import Buffers, Settings, Store, at
from trioagg.sinks.sqlite import url_of

SECOND = 1_000_000_000

MOCK = """
import sys
from confluent_kafka import Producer
cluster = Producer({"test.mock.num.brokers": "1", "log_level": 0})
print(*(f"{one.host}:{one.port}" for one in cluster.list_topics(timeout=5).brokers.values()), sep=",", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["postgresql", "mysql"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A place on each server."""
    with place(request.param) as one:
        yield one


async def test_a_server_is_cut_off_and_its_connections_are_killed(server: Server, tmp_path: Path) -> None:
    """At 1,000 messages a second (7 s, of which it is away for 1)."""
    file, outcomes = tmp_path / "one.db", list[Outcome]()

    async def collect(settings: Settings) -> None:
        outcomes.append(await run(Job(settings, duration=6.5)))

    async with far_end(rate=1_000.0) as urls, gate(server) as door, trio.open_nursery() as nursery:
        named = Store("away", server.url(door.port))
        settings = evolve(settings_for(urls, file), sinks=(named,), buffers=Buffers(channel=2_000))
        nursery.start_soon(collect, settings)
        for _ in range(4):
            await trio.sleep(0.5)
            await trio.to_thread.run_sync(server.kill)
        await door.shut()
        await trio.sleep(1)
        await door.open()

    (outcome,) = outcomes
    beside = outcome.beside["away"]
    assert not outcome.problems and outcome.tally.conflated == beside.spooled == beside.lost == 0
    assert sorted(int(row[2]) for row in shown(server, "trades")) == ids(file) == sorted(set(ids(file)))
    assert len(shown(server, "ticker")) == ask(file, "SELECT count(*) FROM tickers")[0][0]
    times = [row[0] for row in ask(file, "SELECT received FROM trades ORDER BY received")]
    assert max(later - earlier for earlier, later in pairwise(times)) < SECOND
    assert not folder_of(file, named.url).exists()


@pytest.fixture
def cluster() -> Iterator[subprocess.Popen[str]]:
    """The mock cluster in librdkafka, in a process that can be held up."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", MOCK], **pipes) as process:  # type: ignore[call-overload]
        yield process
        process.kill()


async def test_a_broker_is_gone_for_a_while(cluster: subprocess.Popen[str], tmp_path: Path) -> None:
    """It answers nothing for 2 s under a run; a loader then finds each row, and keeps it once (10 s)."""
    assert cluster.stdout
    url = f"kafka://{cluster.stdout.readline().strip()}/t"
    one, two, outcomes = tmp_path / "one.db", tmp_path / "two.db", list[Outcome]()

    async def collect(settings: Settings) -> None:
        outcomes.append(await run(Job(settings, duration=4)))

    async with far_end(rate=1_000.0) as urls, trio.open_nursery() as nursery:
        nursery.start_soon(collect, settings_for(urls, one, sinks=(f"{url}?timeout=1",)))
        await trio.sleep(1)
        cluster.send_signal(signal.SIGSTOP)
        await trio.sleep(2)
        cluster.send_signal(signal.SIGCONT)

    (beside,) = outcomes[0].beside.values()
    assert not outcomes[0].problems and beside.spooled == beside.lost == 0
    await load(Load(Settings(), at(url), [at(url_of(two))], drain=True))
    assert ids(one) == ids(two) == sorted(set(ids(two)))
    count = "SELECT (SELECT count(*) FROM tickers), (SELECT count(*) FROM instruments), (SELECT count(*) FROM gaps)"
    assert ask(one, count) == ask(two, count)
