"""The line as a whole: real sockets, the real store, and a far end that misbehaves on request."""

from __future__ import annotations

import gzip
import json
import signal
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from attrs import evolve
from far_end import ask, collected, far_end, ids, made, settings_for, until
from structlog.testing import capture_logs

from trioagg.errors import SettingsError, StoreError
from trioagg.model import Channel
from trioagg.pipeline.replay import Choice, replay
from trioagg.pipeline.run import Job, run
from trioagg.pipeline.tally import Outcome
from trioagg.settings import Venue
from trioagg.sinks.sqlite import url_of
from trioagg.store import database, rows


def balanced(outcome: Outcome) -> bool:
    """The account adds up, and nothing failed."""
    t = outcome.tally
    return t.received == t.stored + t.duplicates + t.quarantined + t.conflated + t.lost and not outcome.problems


def has(file: Path, trades: int = 20) -> bool:
    """Whether so many are stored."""
    return made(file) and ask(file, "SELECT count(*) FROM trades") >= [(trades,)]


def stored(file: Path) -> int:
    """The rows in all tables of events."""
    counts = ask(
        file, "SELECT (SELECT count(*) FROM trades) + (SELECT count(*) FROM tickers) + (SELECT count(*) FROM candles)"
    )
    return int(counts[0][0])


async def test_a_run_stores_what_it_received(tmp_path: Path) -> None:
    """Trades without a hole, quotes with the day's figures, polls, candles, the instrument; the account is exact."""
    file = tmp_path / "a.db"
    channels = (Channel.TRADES, Channel.TICKER, Channel.CANDLES)
    async with far_end() as urls:
        outcome = await run(Job(settings_for(urls, file, channels=channels), duration=2.2))

    assert balanced(outcome) and outcome.tally.lost == 0
    assert outcome.tally.stored == stored(file) > 100
    found = ids(file)
    assert found == list(range(found[0], found[0] + len(found))) and len(found) > 100
    assert ask(file, "SELECT count(*) FROM tickers WHERE bid < ask AND last > 0 AND volume > 0")[0][0] > 100
    assert ask(file, "SELECT count(*) FROM tickers WHERE timestamp IS NOT NULL")[0][0] >= 5
    assert ask(file, "SELECT count(*) FROM candles WHERE high >= low")[0][0] >= 1
    assert ask(file, "SELECT native, amount_unit, status FROM instruments") == [("BTCUSDT", "BTC", "trading")]


def lasted(file: Path) -> float:
    """Seconds from the first trade to the last."""
    return float(ask(file, "SELECT coalesce(max(received) - min(received), 0) / 1e9 FROM trades")[0][0])


@pytest.mark.parametrize(
    ("faults", "links"),
    [
        (["cut,every=0.3"], 3),
        (["cut,every=0.3,how=reset"], 3),
        (["cut,every=0.3,how=close"], 3),
        (["stall,every=0.8,for=0.7"], 2),
        (["refuse,at=0.6,for=0.6", "cut,every=0.6"], 3),
    ],
)
async def test_a_lost_link_is_made_again(tmp_path: Path, faults: Sequence[str], links: int) -> None:
    """Data goes on after the link broke, and the account stays exact."""
    file = tmp_path / "a.db"
    async with far_end(faults=faults) as urls:
        job = Job(settings_for(urls, file, stall_timeout=0.25))
        with trio.fail_after(20):
            outcome = await collected(
                job, lambda: made(file) and urls.statistics.connections >= links and lasted(file) > 1
            )

    assert balanced(outcome)
    assert outcome.tally.stored == stored(file)


async def test_a_garbled_frame_costs_that_frame(tmp_path: Path) -> None:
    """Torn frames and unknown kinds lie in quarantine, whole; new fields do no harm; nothing reconnects."""
    file = tmp_path / "a.db"
    faults = ["garble,share=0.02", "unknown,share=0.02", "extra,share=0.1"]
    with capture_logs() as logs:
        async with far_end(faults=faults, rate=2000.0) as urls:
            outcome = await run(Job(settings_for(urls, file), duration=1.0))
            statistics = urls.statistics

    assert balanced(outcome)
    assert statistics.connections == 1
    assert statistics.faults["garble"] > 3 and statistics.faults["unknown"] > 3 and statistics.faults["extra"] > 10
    assert ask(file, "SELECT count(*) FROM quarantine") == [(outcome.tally.quarantined,)]
    assert 6 < outcome.tally.quarantined <= statistics.faults["garble"] + statistics.faults["unknown"]
    told = [entry["reason"] for entry in logs if "quarantined" in entry["event"]]
    assert len(told) == len(set(told)) <= 10
    found = set(ids(file))
    lacking = set(range(min(found), max(found))) - found
    assert lacking <= statistics.lost["BTCUSDT"]


async def test_repeated_and_reordered_trades_are_stored_once(tmp_path: Path) -> None:
    """A trade that comes twice is one row and one duplicate."""
    file = tmp_path / "a.db"
    async with far_end(faults=["repeat,share=0.1", "reorder,share=0.1"]) as urls:
        outcome = await run(Job(settings_for(urls, file, channels=(Channel.TRADES,)), duration=1.0))

    assert balanced(outcome)
    assert outcome.tally.duplicates > 3
    assert len(ids(file)) == outcome.tally.stored == outcome.tally.received - outcome.tally.duplicates


def polled(file: Path) -> list[int]:
    """When tickers came over REST, in nanoseconds."""
    return [row[0] for row in ask(file, "SELECT received FROM tickers WHERE timestamp IS NOT NULL ORDER BY 1")]


def pauses(file: Path) -> list[float]:
    """The times between two of them, in seconds."""
    return [(b - a) / 1e9 for a, b in pairwise(polled(file))]


async def test_a_rate_limit_silences_rest_alone(tmp_path: Path) -> None:
    """No request comes within Retry-After; the stream never notices; then polling goes on, at one request a beat."""
    file, beat = tmp_path / "a.db", 0.2

    def goes_on() -> bool:
        return made(file) and max(pauses(file), default=0) > 1 > max(pauses(file)[-4:])

    async with far_end(faults=["429,at=0.3,count=1,retry_after=1"]) as urls:
        with trio.fail_after(20):
            outcome = await collected(Job(settings_for(urls, file, interval=beat)), goes_on)
        statistics = urls.statistics

    assert balanced(outcome)
    assert statistics.requests[429] == 1 and statistics.impatient == 0
    assert statistics.connections == 1
    waits = pauses(file)
    assert len(waits) <= (sum(waits) - max(waits)) / beat + 3, "each stretch begins with one, and one ends the silence"
    assert statistics.requests[200] <= len(waits) + 3, "instruments, the first poll, one at the stop"


async def test_an_outage_of_rest_is_outlived(tmp_path: Path) -> None:
    """5xx for a while: the instrument list is not waited for, polls fail and come back, the stream goes on."""
    file = tmp_path / "a.db"
    async with far_end(faults=["5xx,count=5"]) as urls:
        with trio.fail_after(20):
            outcome = await collected(Job(settings_for(urls, file)), lambda: made(file) and len(polled(file)) > 1)
        statistics = urls.statistics

    assert balanced(outcome)
    assert statistics.requests[503] == 5
    assert statistics.connections == 1


async def test_an_exchange_that_cannot_be_reached_is_told_once_with_a_way_out(tmp_path: Path) -> None:
    """One line names the built-in exchange; trying goes on; the stop is clean."""
    file = tmp_path / "a.db"
    async with far_end() as urls:
        settings = settings_for(urls, file)
    with capture_logs() as logs:
        outcome = await run(Job(settings, duration=0.5))

    assert balanced(outcome) and outcome.tally.received == 0
    told = [entry for entry in logs if "--simulated" in entry.get("offline", "")]
    assert len(told) == 1 and "refused" in told[0]["reason"]
    assert len(logs) > 2


async def test_an_unknown_symbol_ends_the_run_before_it_connects(tmp_path: Path) -> None:
    """With the nearest names that the exchange has."""
    async with far_end() as urls:
        with (
            trio.fail_after(20),
            pytest.raises(SettingsError, match=r"binance has no symbol 'BTC/USDX'; did you mean BTC/USD"),
        ):
            await run(Job(settings_for(urls, tmp_path / "a.db", symbols=("BTC/USDT", "BTC/USDX"))))
        assert urls.statistics.connections == 0


async def test_a_channel_that_nobody_offers_is_refused(tmp_path: Path) -> None:
    """Before anything is opened."""
    async with far_end() as urls:
        with pytest.raises(
            SettingsError, match="--channel: binance does not offer 'funding'; known: book, candles, ticker, trades"
        ):
            await run(Job(settings_for(urls, tmp_path / "a.db", channels=(Channel.FUNDING,))))


async def test_a_database_that_cannot_be_used_ends_the_run_at_once(tmp_path: Path) -> None:
    """Before anything is received that could not be kept."""
    file = tmp_path / "a.db"
    file.write_text("no database, but long enough to be taken for the head of one " * 20)
    async with far_end() as urls:
        with pytest.raises(StoreError):
            await run(Job(settings_for(urls, file)))
        assert urls.statistics.connections == 0


async def test_a_second_sink_gets_the_same_rows(tmp_path: Path) -> None:
    """One run, two stores, equal contents."""
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    async with far_end() as urls:
        outcome = await collected(Job(settings_for(urls, one, sinks=(url_of(two),))), lambda: has(one) and has(two))

    assert balanced(outcome)
    for view in ("trades", "tickers"):
        sql = f"SELECT * FROM {view} ORDER BY symbol, received"
        assert ask(one, sql) == ask(two, sql) != []


async def test_a_capture_of_a_run_replays_into_the_same_rows(tmp_path: Path) -> None:
    """Recorded, replayed into a second file, and replayed again: the same rows, and then nothing new."""
    one, two, folder = tmp_path / "one.db", tmp_path / "two.db", tmp_path / "raw"
    async with far_end(faults=["garble,share=0.02"]) as urls:
        settings = settings_for(urls, one)
        await collected(Job(settings, record=folder), lambda: has(one), least=0.8)
    files = sorted(folder.iterdir())
    assert files and all(file.name.endswith(".jsonl.gz") for file in files)
    lines = [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert {"exchange", "received", "source", "payload"} == set(lines[0])

    into = settings_for(urls, two)
    first = await replay(files, into, choice=Choice(), progress=lambda count: None)
    again = await replay(files, into, choice=Choice(), progress=lambda count: None)

    for view in ("trades", "tickers", "quarantine"):
        sql = f"SELECT * FROM {view} ORDER BY 1, 2, received"
        assert ask(one, sql) == ask(two, sql)
    assert first.tally.stored == stored(one)
    assert (again.tally.stored, again.tally.duplicates) == (0, first.tally.stored)


async def test_a_capture_through_a_prefix_replays_too(tmp_path: Path) -> None:
    """A proxy's path before the exchange's own does no harm; the instruments come from the list in the capture."""
    one, two, folder = tmp_path / "one.db", tmp_path / "two.db", tmp_path / "raw"
    async with far_end() as urls:
        plain = settings_for(urls, one)
        prefixed = Venue(rest_url=f"{urls.rest}/binance", ws_url=f"{urls.ws}/binance", min_delay=0.0)
        await collected(Job(evolve(plain, venues={"binance": prefixed}), record=folder), lambda: has(one))
        into = settings_for(urls, two)
    outcome = await replay(sorted(folder.iterdir()), into, choice=Choice(), progress=lambda count: None)

    assert outcome.tally.quarantined == 0
    for view in ("trades", "tickers", "instruments"):
        assert (
            ask(one, f"SELECT * FROM {view} ORDER BY 1, 2, 3, 4")
            == ask(two, f"SELECT * FROM {view} ORDER BY 1, 2, 3, 4")
            != []
        )


async def test_a_replay_narrowed_keeps_what_was_chosen(tmp_path: Path) -> None:
    """-c trades leaves the quotes out; a line that is no capture line costs that line."""
    one, two, folder = tmp_path / "one.db", tmp_path / "two.db", tmp_path / "raw"
    async with far_end() as urls:
        settings = settings_for(urls, one)
        await collected(Job(settings, record=folder), lambda: has(one))
    file = tmp_path / "edited.jsonl"
    lines = gzip.decompress(next(folder.iterdir()).read_bytes()).splitlines(keepends=True)
    file.write_bytes(b"".join([b"rubbish\n", *lines, b'{"exchange":"binance"}\n', lines[-1][:40]]))

    choice = Choice(channels=(Channel.TRADES,))
    outcome = await replay([file], settings_for(urls, two), choice=choice, progress=lambda count: None)

    assert balanced(outcome)
    assert ids(two) == ids(one) != []
    assert ask(two, "SELECT count(*) FROM tickers") == [(0,)]


async def _stop_when_stored(file: Path, trades: int) -> None:
    while not has(file, trades):  # noqa: ASYNC110  a file tells nobody
        await trio.sleep(0.05)
    signal.raise_signal(signal.SIGTERM)


async def test_a_real_recording_comes_through_digit_for_digit(tmp_path: Path, captures: Path) -> None:
    """9,757 trades of Binance, served over real sockets, are in the database once, as they were sent."""
    recording = captures / "binance-btcusdt-20240808.jsonl.gz"
    wanted = []
    with gzip.open(recording) as lines:
        for line in lines:
            payload = json.loads(json.loads(line)["payload"])
            if payload.get("stream") == "btcusdt@trade":
                t = payload["data"]
                side = "sell" if t["m"] else "buy"
                wanted.append((str(t["t"]), Decimal(t["p"]), Decimal(t["q"]), side, t["T"] * 10**6))
    assert len(wanted) == 9757
    file = tmp_path / "a.db"
    async with far_end(capture=str(recording), rate=40_000.0, symbols=()) as urls, trio.open_nursery() as nursery:
        nursery.start_soon(_stop_when_stored, file, len(wanted))
        outcome = await run(Job(settings_for(urls, file), duration=60))

    assert balanced(outcome)
    with database(file) as db:
        found = rows(db, "trades", limit=20_000)
    assert [
        (row["trade_id"], Decimal(row["price"]), Decimal(row["amount"]), row["side"], row["timestamp"]) for row in found
    ] == wanted


async def test_what_the_stream_skips_is_in_the_ledger(tmp_path: Path) -> None:
    """Exactly the ids that were not received are named, and the recording lacks them too."""
    file = tmp_path / "a.db"
    async with far_end(faults=["skip,share=0.05"], rate=1000.0) as urls:
        outcome = await run(Job(settings_for(urls, file, channels=(Channel.TRADES,)), duration=1.0))
        skipped = urls.statistics.lost["BTCUSDT"]

    assert balanced(outcome)
    found = set(ids(file))
    lacking = set(range(min(found), max(found))) - found
    sql = "SELECT first_missing, last_missing, missing FROM gaps WHERE status = 'open'"
    told = [(int(first), int(last), missing) for first, last, missing in ask(file, sql)]
    assert {i for first, last, _ in told for i in range(first, last + 1)} == lacking
    assert sum(missing for _, _, missing in told) == len(lacking) > 3
    assert lacking <= skipped


async def test_a_database_taken_away_ends_the_run_and_says_what_is_lost(tmp_path: Path) -> None:
    """What was committed stays; the rest is counted as lost, in one line; no bare traceback."""
    file = tmp_path / "a.db"
    async with far_end() as urls, trio.open_nursery() as nursery:

        async def take_away() -> None:
            await until(lambda: has(file))
            file.rename(tmp_path / "elsewhere.db")

        nursery.start_soon(take_away)
        with trio.fail_after(20):
            outcome = await run(Job(settings_for(urls, file), duration=30))

    t = outcome.tally
    assert t.received == t.stored + t.duplicates + t.quarantined + t.conflated + t.lost
    assert t.lost > 0 and t.stored > 0
    assert outcome.problems == [f"{t.lost} events were not stored in the database"]


async def test_a_dead_sink_leaves_the_database_alone(tmp_path: Path) -> None:
    """The second store is taken away; the first goes on without a hole; the run ends with a problem told."""
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    async with far_end() as urls, trio.open_nursery() as nursery:

        async def take_away() -> None:
            await until(lambda: has(one) and has(two))
            two.rename(tmp_path / "elsewhere.db")

        nursery.start_soon(take_away)
        job = Job(settings_for(urls, one, sinks=(url_of(two),)))
        outcome = await collected(job, lambda: not two.exists() and has(one, 100), least=1)

    assert outcome.tally.lost == 0 and outcome.tally.stored == stored(one)
    assert len(outcome.problems) == 1 and str(two) in outcome.problems[0]
