"""``kafka://[user:password@]broker[:port][,broker…]/prefix?option=value``: a topic for each kind of event.

An idempotent producer, flushed with every batch: a batch is written when every delivery report says so. What failed is
offered again without what was delivered; a broker that took a message and could not say so gets it twice, and its
``id`` tells. Topics, keys and options are in ``docs/sinks.md``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import msgspec
import structlog
from attrs import define, frozen
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from trioagg.errors import SettingsError, SinkError, StoreError
from trioagg.model import Event, Instrument
from trioagg.settings import number, one_of
from trioagg.sinks._address import option, options
from trioagg.sinks._brokers import Access, Murmur, brokers, client
from trioagg.sinks._threaded import Threaded, threaded
from trioagg.store import Counts, Row, Texts, encodable, instrument
from trioagg.store.cells import newest

log = structlog.get_logger(__name__)

REMEMBERED = 20_000
"""Delivered messages whose ids are kept in mind: more than a batch has."""

PAUSE = 0.05
"""Seconds that delivery reports are waited for while the local queue is full."""

SLACK = 2.0
"""Seconds that librdkafka may be late with its timeouts, which it looks at once a second."""

MEETING = 5.0
"""Seconds in which a broker must say what topics it has."""

STUBBORN = 3
"""Refusals in a row, then the producer is made anew: brokers may have lost count of the old one, and nobody says so."""

LARGEST = 2**19
"""Bytes of a garbled frame: with what stands beside them, a broker's default takes a million."""

LASTING = {
    KafkaError.MSG_SIZE_TOO_LARGE: "; raise max.message.bytes of the topic",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "",
    KafkaError.TOPIC_EXCEPTION: "",
    KafkaError.INVALID_REQUIRED_ACKS: "",
    KafkaError.POLICY_VIOLATION: "",
}
"""Reasons that stay until a person acts, and the cure where it is not plain."""

PACKED = ("none", "gzip", "snappy", "lz4", "zstd")

Identity = tuple[str, str, str]
"""Topic, key, id."""


@frozen
class Options(Access):
    """What the query may say."""

    timeout: float = option(number(float, least=0.1, most=300), 5.0)
    queue: int = option(number(int, least=1, most=10_000_000), 100_000)
    compression: str = option(one_of(PACKED), "zstd")


@define(eq=False)
class Letter:
    """A message to send."""

    topic: str
    key: str
    id: str
    row: Row
    moment: int

    @property
    def identity(self) -> Identity:
        """What no other message has."""
        return self.topic, self.key, self.id


class KafkaDriver:
    """One producer.

    Attributes:
        reports: delivery reports so far, by what they said.
    """

    def __init__(self, config: dict[str, Any], *, prefix: str, shown: str, timeout: float) -> None:
        self._config = config
        self._prefix = prefix
        self._shown = shown
        self._timeout = timeout
        self._texts = Texts()
        self._delivered: dict[Identity, None] = {}
        self._new = 0
        self._failed: list[KafkaError] = []
        self._trouble = ""
        self._refusals = 0
        self._producer = self._open()
        self.reports: Counter[str] = Counter()

    def write(self, batch: Sequence[Event], /) -> Counts:
        """See ``Sink.write``; counts what was delivered since the last that was taken."""
        if not batch:
            self._meet()
        told, met = self._texts.of(batch)
        bad = sum(text.kind == "quarantine" for text in told)
        letters = [
            Letter(
                f"{self._prefix}.{text.kind}", _key(text.exchange, text.symbol), text.id, text.row, text.row["received"]
            )
            for text in told
        ]
        fresh = {letter.identity: letter for letter in letters if letter.identity not in self._delivered}
        self._deliver(fresh.values())
        self._texts.keep(met)
        self._forget()
        new, self._new = self._new, 0
        return Counts(new, len(batch) - bad - new, bad)

    def describe(self, instruments: Sequence[Instrument], /) -> None:
        """See ``Sink.describe``."""
        rows = [instrument(listed) for listed in instruments]
        now = time.time_ns()
        topic = f"{self._prefix}.instruments"
        self._deliver([Letter(topic, _key(row["exchange"], row["symbol"]), str(now), row, now) for row in rows])

    def close(self) -> None:
        """Let the producer go: nothing waits in it between two writes."""
        self._producer.purge()
        self._producer.flush(SLACK)
        log.info("kafka sink closed", sink=self._shown, **self.reports)

    def _open(self) -> Producer:
        try:
            return Producer({**self._config, "error_cb": self._hear}, logger=Murmur())
        except KafkaException as error:
            raise SettingsError(f"bad value {self._shown!r}: {error.args[0].str()}") from None

    def _hear(self, error: KafkaError) -> None:
        """Keep why a broker cannot be reached: a report says only that time ran out."""
        self._trouble = error.str()

    def _deliver(self, letters: Iterable[Letter]) -> None:
        """Send all, and wait for all reports."""
        self._failed, self._trouble = [], ""
        deadline = time.monotonic() + self._timeout + SLACK
        for letter in letters:
            self._produce(letter, deadline)
        if self._producer.flush(max(deadline - time.monotonic(), SLACK)):
            self._give_up()
        if self._failed:
            self._complain()
        self._refusals = 0

    def _meet(self) -> None:
        """See whether a broker is there, since nothing is to be sent that would tell."""
        try:
            self._producer.list_topics(timeout=min(self._timeout, MEETING))
        except KafkaException as error:
            self._producer.poll(0)  # what is behind it is heard now
            raise SinkError(f"{self._shown}: {self._trouble or error.args[0].str()}") from None

    def _produce(self, letter: Letter, deadline: float) -> None:
        """Give it to the local queue, as soon as that has room."""
        while True:
            try:
                self._producer.produce(
                    letter.topic,
                    msgspec.json.encode(encodable(_bounded(letter.row))),
                    letter.key.encode(),
                    timestamp=letter.moment // 10**6,
                    headers={"id": letter.id.encode()},
                    on_delivery=partial(self._report, letter.identity),
                )
            except BufferError:
                if time.monotonic() > deadline:
                    self._give_up()
                    raise SinkError(f"{self._shown}: the local queue stays full") from None
                self._producer.poll(PAUSE)
            except KafkaException as error:
                self._failed.append(error.args[0])
                return
            else:
                return

    def _report(self, identity: Identity, error: KafkaError | None, message: Message) -> None:
        self.reports["failed" if error else "delivered"] += 1
        if error:
            self._failed.append(error)
        else:
            self._delivered[identity] = None
            self._new += not identity[0].endswith((".quarantine", ".instruments"))

    def _give_up(self) -> None:
        """Take back what is still waiting: each counts as failed."""
        self._producer.purge()
        self._producer.flush(SLACK)

    def _complain(self) -> None:
        error = next((one for one in self._failed if one.code() in LASTING), self._failed[0])
        self._refusals += 1
        if self._refusals % STUBBORN == 0 or any(one.fatal() for one in self._failed):
            self._producer = self._open()
        why = f"{error.str()}; {self._trouble}" if self._trouble else error.str()
        reason = f"{self._shown}: {len(self._failed)} messages were not delivered: {why}"
        if error.code() in LASTING:
            raise StoreError(reason + LASTING[error.code()])
        raise SinkError(reason)

    def _forget(self) -> None:
        self._delivered = newest(self._delivered, REMEMBERED)


def connect(url: str) -> AbstractAsyncContextManager[Threaded]:
    """A sink by its URL; brokers that cannot be reached are told by the first write.

    Raises:
        SettingsError: something in the URL is wrong.
    """
    chosen = options(Options, url)
    place = brokers(url, chosen)
    config = {**client(place, chosen), **_producing(chosen)}
    return threaded(partial(KafkaDriver, config, prefix=place.path, shown=place.shown, timeout=chosen.timeout))


def _producing(chosen: Options) -> dict[str, Any]:
    """Settings of librdkafka; the partitions are those that a Java client takes for the same key."""
    return {
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "compression.type": chosen.compression,
        "queue.buffering.max.messages": chosen.queue,
        "message.max.bytes": 16_000_000,
        "message.timeout.ms": round(chosen.timeout * 1000),
    }


def _bounded(row: Row) -> Row:
    """A row that a broker takes: of a garbled frame of megabytes its beginning, else one frame would stop the sink."""
    payload = row.get("payload", "")
    return row if len(payload) <= LARGEST else {**row, "payload": payload[:LARGEST]}


def _key(exchange: str, symbol: str) -> str:
    return f"{exchange}|{symbol}" if symbol else exchange
