"""The Kafka sink against the mock cluster in librdkafka, to which the client talks as to any broker.

A real consumer reads back what was sent. The cluster lives as long as the producer that it belongs to.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
import trio
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from told_rows import KINDS, MARKET, draft, everything, expected, newest, ordered, replayed, shortened, stored, trade

from trioagg import logs, sinks
from trioagg.errors import SinkError, StoreError
from trioagg.model import Event, Instrument, Quarantined
from trioagg.sinks.kafka import KafkaDriver, Options
from trioagg.store import COLUMNS, Counts, Row

CLOSED = "127.0.0.1:1"
"""Nobody listens there."""

PARTITIONS = 4
"""Of a topic that the mock cluster makes."""


@pytest.fixture
def brokers() -> list[Producer]:
    """A cluster of one broker, which ends when the list is emptied."""
    return [Producer({"test.mock.num.brokers": "1", "log_level": 0})]


def place(brokers: list[Producer]) -> str:
    """Where a cluster listens."""
    return ",".join(f"{one.host}:{one.port}" for one in brokers[0].list_topics(timeout=5).brokers.values())


def messages(brokers: list[Producer], prefix: str = "t", names: tuple[str, ...] = (*KINDS, "instruments")) -> list[Any]:
    """All messages of all topics, as a consumer finds them."""
    there = [f"{prefix}.{name}" for name in names]
    known = [topic for topic in there if topic in brokers[0].list_topics(timeout=5).topics]
    settings = {"bootstrap.servers": place(brokers), "group.id": "g", "enable.partition.eof": True, "log_level": 0}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, number, 0) for topic in known for number in range(PARTITIONS)])
    found: list[Message] = []
    ends = 0
    while ends < len(known) * PARTITIONS:
        message = consumer.poll(5)
        assert message is not None
        if message.error():
            ends += 1
        else:
            found.append(message)
    consumer.close()
    return found


def loaded(found: list[Any]) -> dict[str, list[Row]]:
    """What a loader makes of messages: one of each topic, key and id."""
    once = {(one.topic(), one.key(), dict(one.headers())["id"]): one for one in found}
    rows: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for (topic, key, _), one in once.items():
        kind = topic.partition(".")[2]
        row = json.loads(one.value())
        assert key.decode() == "|".join(row[name] for name in ("exchange", "symbol") if name in row)
        rows[kind].append(row)
    return {kind: newest(told) if kind == "candles" else ordered(told) for kind, told in rows.items()}


def as_json(rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """What the database holds, with bytes as JSON has them."""
    text = {b"\xff\x00": "/wA="}
    return rows | {
        "quarantine": ordered(
            [
                row
                if isinstance(row["payload"], str)
                else {name: row[name] for name in COLUMNS["quarantine"][:-1]} | {"payload_base64": text[row["payload"]]}
                for row in rows["quarantine"]
            ]
        )
    }


async def test_every_kind_arrives_once_as_the_database_has_it(brokers: list[Producer], tmp_path: Path) -> None:
    """Digit for digit, and the same batch again sends nothing (half a second: a producer asks for its number)."""
    batch = everything()
    async with sinks.connect(f"kafka://{place(brokers)}/t") as sink:
        assert await sink.write(batch, draft(batch)) == Counts(18, 1, 2)
        assert await sink.write(batch, draft(batch)) == Counts(0, len(batch) - 2, 2)
    found = messages(brokers)
    assert len(found) == 20
    assert loaded(found) == as_json(expected(tmp_path / "a.db", batch))
    assert {one.timestamp()[1] for one in found if one.topic() == "t.trades"} == {1_769_860_800_000}


async def test_two_runs_send_twice_and_a_loader_keeps_one(brokers: list[Producer], tmp_path: Path) -> None:
    """The ids are the same, however the events were batched (half a second, as above)."""
    batch = everything()
    for parts in ((batch,), (batch[:9], batch[9:12], batch[12:])):
        async with sinks.connect(f"kafka://{place(brokers)}/t") as sink:
            for part in parts:
                await sink.write(part, draft(part))
    found = messages(brokers)
    assert len(found) == 40 and loaded(found) == as_json(expected(tmp_path / "a.db", batch))


async def test_a_recording_is_the_same_in_the_topics_and_in_the_database(
    brokers: list[Producer], captures: Path, tmp_path: Path
) -> None:
    """Row for row, with a local queue that is full all the time (a second: a real recording, slowed down)."""
    files, path = shortened(captures, tmp_path), tmp_path / "a.db"
    url = f"kafka://{place(brokers)}/t?queue=100"
    outcome = await replayed(files, path, url)
    assert outcome.problems == [] and outcome.beside[url].lost == 0
    found = messages(brokers)
    assert loaded(found) == stored(path) and len(stored(path)["trades"]) > 100
    assert len(found) == outcome.beside[url].stored + 1


async def test_one_market_is_in_one_partition_in_order(brokers: list[Producer]) -> None:
    """Since its key is the market (half a second, as above)."""
    async with sinks.connect(f"kafka://{place(brokers)}/t") as sink:
        for start in (0, 50):
            batch: list[Event] = [trade(number) for number in range(start, start + 50)]
            await sink.write(batch, draft(batch))
    found = messages(brokers)
    assert len({one.partition() for one in found}) == 1
    assert [json.loads(one.value())["trade_id"] for one in found] == [str(number) for number in range(100)]


async def test_instruments_are_told(brokers: list[Producer]) -> None:
    """In a topic of their own (half a second, as above)."""
    one = trade(1).price
    async with sinks.connect(f"kafka://{place(brokers)}/t") as sink:
        await sink.describe([Instrument(*MARKET, "BTCUSDT", "BTC", "USDT", one, None, one, "BTC", "trading")])
    (message,) = messages(brokers)
    row = json.loads(message.value())
    assert (message.topic(), row["native"], row["tick_size"]) == ("t.instruments", "BTCUSDT", "60000.10")


async def test_an_absent_broker_fails_each_offer_and_floods_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """In bounded time, with the reason, without the password (2 s: librdkafka looks at its timeouts once a second)."""
    logs.configure(level="DEBUG")
    url = f"kafka://me:s3cret@{CLOSED}/t?timeout=0.1&security=sasl_plaintext"
    said = []
    with structlog.testing.capture_logs() as told:
        async with sinks.connect(url) as sink:
            for _ in range(2):
                with trio.fail_after(4), pytest.raises(SinkError) as failed:
                    await sink.write([trade(1), trade(2)], draft([]))
                said.append(str(failed.value))
    for line in said:
        assert line.startswith(f"kafka://{CLOSED}/t: 2 messages were not delivered: ") and "Connection refused" in line
    assert "s3cret" not in f"{told}{said}"
    assert {line["log_level"] for line in told if line["event"] == "librdkafka"} == {"debug"}
    (last,) = [line for line in told if line["event"] == "kafka sink closed"]
    assert (last["failed"], last.get("delivered", 0)) == (4, 0)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_a_cluster_that_goes_away_and_another_that_comes(brokers: list[Producer]) -> None:
    """What was delivered is not sent again, what was not is, by a new producer (4 s: see above)."""
    driver = _driver(place(brokers))
    assert offered(driver, [trade(1)]) == Counts(1, 0, 0)
    assert [json.loads(one.value())["trade_id"] for one in messages(brokers)] == ["1"]
    brokers.clear()
    with pytest.raises(SinkError, match="1 messages were not delivered"):
        driver.write([trade(1), trade(2)])
    brokers.append(Producer({"test.mock.num.brokers": "1", "log_level": 0}))
    driver._config["bootstrap.servers"] = place(brokers)
    assert offered(driver, [trade(1), trade(2)]) == Counts(1, 1, 0)
    assert [json.loads(one.value())["trade_id"] for one in messages(brokers)] == ["2"]
    assert driver.reports["delivered"] == 2 and driver.reports["failed"] >= 1
    driver.close()


def offered(driver: KafkaDriver, batch: list[Event]) -> Counts:
    """What became of a batch that is offered until it is taken."""
    for _ in range(9):
        with suppress(SinkError):
            return driver.write(batch)
    return driver.write(batch)


async def test_a_message_that_no_broker_would_take_is_for_a_person(brokers: list[Producer]) -> None:
    """One line that names the cure; what was delivered beside it counts once (half a second, as above)."""
    huge = Quarantined("binance", 5, "x" * 17_000_000, b"x")
    async with sinks.connect(f"kafka://{place(brokers)}/t") as sink:
        with pytest.raises(StoreError, match=r"max\.message\.bytes"):
            await sink.write([trade(1), huge], draft([]))
        assert await sink.write([trade(1)], draft([])) == Counts(1, 0, 0)
        assert await sink.write([trade(1)], draft([])) == Counts(0, 1, 0)
    assert len(messages(brokers)) == 1


async def test_a_garbled_frame_of_megabytes_does_not_stop_the_sink(brokers: list[Producer]) -> None:
    """A broker's default takes a million bytes: the beginning of the frame is told, text or not."""
    frames = [Quarantined("binance", n, "too long", payload * 2**24) for n, payload in enumerate((b"x", b"\xff"))]
    async with sinks.connect(f"kafka://{place(brokers)}/t") as sink:
        assert await sink.write(frames, draft(frames)) == Counts(0, 0, 2)


async def test_an_empty_batch_asks_whether_a_broker_is_there(brokers: list[Producer]) -> None:
    """It is, or it is not."""
    async with sinks.connect(f"kafka://{place(brokers)}/t") as sink:
        assert await sink.write([], draft([])) == Counts(0, 0, 0)
    async with sinks.connect("kafka://127.0.0.1:1/t?timeout=0.1") as sink:
        with pytest.raises(SinkError, match=r"127\.0\.0\.1:1/t: "):
            await sink.write([], draft([]))


def _driver(servers: str) -> KafkaDriver:
    chosen = cast(dict[str, Any], {"bootstrap.servers": servers, "enable.idempotence": True, "message.timeout.ms": 900})
    return KafkaDriver(chosen, prefix="t", shown="kafka://x/t", timeout=Options().timeout)
