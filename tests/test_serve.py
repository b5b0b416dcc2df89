"""A run that is watched from outside: what monitors read is what the database and the account hold."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from attrs import evolve
from far_end import ask, settings_for
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from trioagg.model import Channel
from trioagg.monitor.pages import State
from trioagg.monitor.web import Answer
from trioagg.pipeline import monitoring
from trioagg.pipeline.run import Job, run
from trioagg.pipeline.tally import Outcome
from trioagg.settings import Settings, Venue
from trioagg.simulator.server import Started, serve
from trioagg.sinks.sqlite import url_of

NAMES = {
    f"trioagg_{name}"
    for name in (
        *("messages_total", "rows_stored_total", "duplicates_total", "quarantined_total", "reconnects_total"),
        *("gaps_open", "lag_seconds", "commit_seconds_bucket", "commit_seconds_sum", "commit_seconds_count"),
        *("channel_fill", "channel_peak", "last_event_age_seconds", "price_deviation_ratio"),
    )
}
"""Every name of the contract."""
Samples = dict[tuple[str, ...], float]
CHANNELS = (Channel.TRADES, Channel.TICKER)
TABLES = {"trades": "trades", "ticker": "tickers"}


@asynccontextmanager
async def watched(settings: Settings, outcomes: list[Outcome], **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A run, and a client of what it serves; it is stopped as by Ctrl-C at the end of the block."""

    async def collect() -> None:
        outcomes.append(await run(Job(settings, serve=("127.0.0.1", 0), **more)))

    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect)
            urls = await soon(partial(served, logs))
            async with httpx.AsyncClient(base_url=urls[0], transport=httpx.AsyncHTTPTransport(retries=5)) as client:
                yield client
            signal.raise_signal(signal.SIGINT)


async def served(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where, as it was logged."""
    return [entry["url"] for entry in logs if "serving" in entry["event"]]


async def soon(ask_for: Callable[[], Awaitable[Any]]) -> Any:
    """The first answer that is something."""
    for _ in range(500):
        if answer := await ask_for():
            return answer
        await trio.sleep(0.02)
    raise AssertionError(ask_for)


async def leaving(
    play: Callable[..., Awaitable[None]], *, task_status: trio.TaskStatus[tuple[trio.CancelScope, Started]]
) -> None:
    """A far end that goes when its scope is cancelled."""
    async with trio.open_nursery() as nursery:
        task_status.started((nursery.cancel_scope, await nursery.start(play)))


async def scraped(client: httpx.AsyncClient) -> Samples:
    """Name and label values in the order of the labels' names → value."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def health(client: httpx.AsyncClient, status: int) -> dict[str, Any]:
    """What ``/healthz`` says, or nothing if it has another status."""
    answer = await client.get("/healthz")
    return dict(answer.json()) if answer.status_code == status else {}


async def named(client: httpx.AsyncClient) -> bool:
    """Whether each name has come with something."""
    return {of[0] for of in await scraped(client)} >= NAMES


async def counted(client: httpx.AsyncClient, **least: int) -> bool:
    """Whether a run has counted more than so much of each."""
    counts = (await client.get("/status")).json()["counts"]
    return all(counts[name] > count for name, count in least.items())


async def settled(client: httpx.AsyncClient, file: Path) -> bool:
    """Whether all that came has found its place, and the ledger was looked at since."""
    told = (await client.get("/status")).json()
    gaps = ask(file, "SELECT count(*) FROM gaps WHERE status = 'open'")[0][0]
    return bool(2 * told["counts"]["received"] == sum(told["counts"].values()) and told["open_gaps"] == gaps)


def of_each(started: Started, file: Path, **run: Any) -> Settings:
    """Settings that collect from all that were started."""
    settings = settings_for(next(iter(started.values())), file, exchanges=tuple(started), channels=CHANNELS, **run)
    venues = {name: Venue(rest_url=urls.rest, ws_url=urls.ws, min_delay=0.0) for name, urls in started.items()}
    return evolve(settings, venues=venues)


async def test_the_counters_are_what_the_database_and_the_account_say(tmp_path: Path) -> None:
    """Two exchanges, with repeated and garbled frames; when they are gone, the run says which feeds are not live."""
    file, outcomes, names = tmp_path / "a.db", list[Outcome](), ("binance", "kraken")
    async with trio.open_nursery() as nursery:
        faults = ["repeat,share=0.1", "garble,share=0.02"]
        play = partial(serve, exchanges=names, symbols=("BTC/USDT",), rate=400.0, faults=faults)
        leave, started = await nursery.start(leaving, play)
        async with watched(of_each(started, file), outcomes) as client:
            assert (await soon(partial(health, client, 200)))["failing"] == []
            await soon(partial(counted, client, stored=200, duplicates=5, quarantined=2))
            await soon(partial(named, client))
            leave.cancel()
            told = await soon(partial(health, client, 503))
            await soon(partial(settled, client, file))
            found, state = await scraped(client), (await client.get("/status")).json()

    assert {one["exchange"] for one in told["failing"]} == set(names)
    tally = outcomes[0].tally
    assert outcomes[0].problems == []
    for name in names:
        for channel, table in TABLES.items():
            rows = ask(file, f"SELECT count(*) FROM {table} WHERE exchange = '{name}'")[0][0]
            assert found["trioagg_rows_stored_total", channel, name] == rows > 0
            assert state["exchanges"][name]["rows"][channel] == rows
        bad = ask(file, f"SELECT count(*) FROM quarantine WHERE exchange = '{name}'")[0][0]
        assert (
            found["trioagg_quarantined_total", name] == found.get(("trioagg_messages_total", "unknown", name), 0) == bad
        )
        opened = ask(file, f"SELECT count(*) - 1 FROM sessions WHERE exchange = '{name}'")[0][0]
        assert found["trioagg_reconnects_total", name] == opened
        gaps = ask(file, f"SELECT count(*) FROM gaps WHERE exchange = '{name}' AND status = 'open'")[0][0]
        assert found["trioagg_gaps_open", name] == state["exchanges"][name]["open_gaps"] == gaps
    assert sum(n for of, n in found.items() if of[0] == "trioagg_messages_total") == tally.received
    assert sum(n for of, n in found.items() if of[0] == "trioagg_rows_stored_total") == tally.stored
    assert found["trioagg_duplicates_total",] == tally.duplicates
    assert found["trioagg_commit_seconds_count",] == tally.received
    assert state["counts"] == tally.counts()


async def test_flows_are_named_without_secrets(tmp_path: Path) -> None:
    """The database, further sinks by scheme and number, and the recorder."""
    other = url_of(tmp_path / "secret.db")
    async with trio.open_nursery() as nursery:
        leave, started = await nursery.start(leaving, partial(serve, symbols=("BTC/USDT",)))
        settings = of_each(started, tmp_path / "a.db", sinks=(other,))
        async with watched(settings, [], record=tmp_path / "raw") as client:
            found = await scraped(client)
            pages = [(await client.get(path)).text for path in ("/metrics", "/status", "/healthz")]
        leave.cancel()

    assert {of[1] for of in found if of[0] == "trioagg_channel_fill"} == {"database", "sqlite-1", "recorder"}
    assert not any("secret" in page or str(tmp_path) in page for page in pages)


async def test_a_bug_in_a_page_harms_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs that answer; the run and the other pages go on, at the same address."""

    def broken(_: State) -> Answer:
        raise ZeroDivisionError

    monkeypatch.setattr(monitoring, "metrics_page", broken)
    outcomes: list[Outcome] = []
    async with trio.open_nursery() as nursery:
        leave, started = await nursery.start(leaving, partial(serve, symbols=("BTC/USDT",)))
        async with watched(of_each(started, tmp_path / "a.db"), outcomes) as client:
            await soon(partial(health, client, 200))
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/metrics")
            assert (await client.get("/status")).status_code == 200
        leave.cancel()

    assert outcomes[0].problems == [] and outcomes[0].tally.stored > 0
