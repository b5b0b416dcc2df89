"""``kafka://[user:password@]broker[:port][,broker…]/prefix?option=value``: the topics that the sink of that URL writes.

A consumer of a group: the brokers give each partition to one of its members, and keep for the group how far each was
read. Options are in ``docs/loading.md``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import structlog
import trio
from attrs import define, field, frozen
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from trioagg.errors import SettingsError, StoreError, WireError
from trioagg.model import Event, Instrument, Quarantined
from trioagg.settings import number, word
from trioagg.sinks._address import option, options
from trioagg.sinks._brokers import Access, Murmur, brokers, client
from trioagg.sources import Books, Ends, Haul, Part
from trioagg.store import RECORDS, recalled

log = structlog.get_logger(__name__)

Partition = tuple[str, int]
"""A topic's name and the number of one of its parts."""

KINDS = [kind for kind in RECORDS if kind not in ("sessions", "clocks")]
"""What there is a topic of."""

MOST = 2000
"""Messages read at a time."""

MOMENT = 0.1
"""Seconds in which they come."""

ASKING = 10.0
"""Seconds in which the brokers tell how far a partition was read."""

CLOSING = 5.0
"""Seconds that leaving the group may take."""

END = KafkaError._PARTITION_EOF  # noqa: SLF001  (what begins so is librdkafka's own)
ABSENT = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)  # noqa: SLF001
LATER = (KafkaError._NO_OFFSET, KafkaError.REBALANCE_IN_PROGRESS)  # noqa: SLF001
"""Why a commit came to nothing: there was nothing new, or the next one does it."""
LASTING = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,  # noqa: SLF001
)
"""Troubles that stay until a person acts."""


@frozen
class Options(Access):
    """What the query may say."""

    group: str = option(word, "trioagg")
    session: float = option(number(float, least=1, most=300), 10.0)


@define(eq=False)
class KafkaSource:
    """One consumer; see ``Source``.

    Attributes:
        shown: the URL without its secrets.
        prefix: of the topics.
    """

    shown: str
    prefix: str
    _config: dict[str, Any] = field(repr=False)
    _books: Books
    _consumer: Consumer = field(init=False)
    _limiter: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1), init=False)
    _share: set[Partition] = field(factory=set, init=False)
    _reached: set[Partition] = field(factory=set, init=False)
    _absent: set[str] = field(factory=set, init=False)
    _next: dict[Partition, int] = field(factory=dict, init=False)
    _resting: bool = field(default=False, init=False)
    _closing: bool = field(default=False, init=False)
    _troubled: bool = field(default=False, init=False)
    _lasting: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        hears = {"error_cb": self._hear, "on_commit": self._committed}
        try:
            self._consumer = Consumer({**self._config, **hears}, logger=Murmur())
        except KafkaException as error:
            raise SettingsError(f"bad value {self.shown!r}: {error.args[0].str()}") from None
        topics = [f"{self.prefix}.{kind}" for kind in KINDS]
        self._consumer.subscribe(topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    @property
    def ended(self) -> bool:
        """See ``Source.ended``; of topics that are not there, everything was read."""
        return self._share <= self._reached if self._share else len(self._absent) == len(KINDS)

    async def take(self) -> Haul:
        """See ``Source.take``."""
        return await self._aside(self._read)

    async def rest(self) -> Haul:
        """See ``Source.rest``."""
        return await self._aside(self._rest)

    def keep(self, ends: Ends) -> None:
        """See ``Source.keep``; the client tells the brokers once a second, and when it gives partitions back."""
        told = [TopicPartition(topic, number, ends[topic, number]) for topic, number in self._share & ends.keys()]
        try:
            self._consumer.store_offsets(offsets=told)
        except KafkaException as error:  # it was lost, and nobody has said so yet: another reads it again
            log.debug("what is stored of a partition cannot be noted", reason=error.args[0].str())

    async def close(self) -> None:
        """Leave the group; what was kept is told to the brokers, if they are there."""
        self._closing = True
        with trio.move_on_after(CLOSING, shield=True):
            await trio.to_thread.run_sync(self._consumer.close, limiter=self._limiter, abandon_on_cancel=True)

    async def _aside(self, read: Callable[[], Haul]) -> Haul:
        haul = await trio.to_thread.run_sync(read, limiter=self._limiter)
        if self._lasting:
            raise StoreError(f"{self.shown}: {self._lasting}")
        return haul

    def _read(self) -> Haul:
        if self._resting:
            self._consumer.resume(self._consumer.assignment())
            self._resting = False
        return self._haul(self._consumer.consume(MOST, MOMENT))

    def _rest(self) -> Haul:
        self._consumer.pause(self._consumer.assignment())  # also what was assigned meanwhile
        self._resting = True
        return self._haul(self._consumer.consume(MOST, MOMENT))

    def _haul(self, messages: Sequence[Message]) -> Haul:
        items: list[Event | Instrument] = []
        ends: dict[Part, int] = {}
        for message in messages:
            part, offset = (str(message.topic()), message.partition() or 0), message.offset() or 0
            if error := message.error():
                self._told(error, part)
            elif part in self._share:  # else it went to another while this was read
                self._follow(part, offset)
                items.append(_item(message))
                ends[part] = offset + 1
        if items:
            self._troubled = False
        return Haul(items, ends)

    def _follow(self, part: Partition, offset: int) -> None:
        """Notice when messages are not there any more."""
        if (gone := offset - self._next.get(part, offset)) > 0:
            log.warning("messages are gone from the log that were never loaded", part=part, messages=gone)
        self._next[part] = offset + 1

    def _told(self, error: KafkaError, part: Partition) -> None:
        if error.code() == END:
            self._reached.add(part)
        elif error.code() in ABSENT:
            self._absent.add(part[0])
        else:
            self._hear(error)

    def _hear(self, error: KafkaError) -> None:
        """Tell a trouble once, until something was read again; one that lasts ends the source."""
        if error.fatal() or error.code() in LASTING:
            self._lasting = error.str()
        elif not self._troubled:
            self._troubled = True
            log.warning("the log cannot be read now; trying again", source=self.shown, reason=error.str())

    def _committed(self, error: KafkaError | None, parts: Sequence[TopicPartition]) -> None:
        if error and error.code() not in LATER:
            log.warning("the brokers do not note what is stored; it may come again", reason=error.str())

    def _assigned(self, consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
        try:
            told = consumer.committed(list(parts), ASKING) if parts else []
        except KafkaException as error:
            log.debug("it is not known how far the log was read", reason=error.args[0].str())
            told = []
        self._next |= {_part(one): one.offset for one in told if one.offset >= 0}
        self._share |= set(map(_part, parts))
        log.info("reading partitions", gained=len(parts), all=len(self._share), source=self.shown)

    def _revoked(self, consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
        """Finish what is under way before another goes on; at the end that was done already."""
        if parts and not self._closing:
            self.keep(trio.from_thread.run(self._books.release, set(map(_part, parts))))
            self._without(parts)

    def _lost(self, consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
        if not self._closing:
            trio.from_thread.run_sync(self._books.forget, set(map(_part, parts)))
            self._without(parts)

    def _without(self, parts: Collection[TopicPartition]) -> None:
        gone = set(map(_part, parts))
        self._share -= gone
        self._reached -= gone
        self._next = {part: end for part, end in self._next.items() if part not in gone}
        log.info("gave partitions back", lost=len(gone), all=len(self._share), source=self.shown)


def connect(url: str, books: Books) -> AbstractAsyncContextManager[KafkaSource]:
    """A source by its URL; brokers that cannot be reached are waited for.

    Raises:
        SettingsError: something in the URL is wrong.
    """
    chosen = options(Options, url)
    place = brokers(url, chosen)
    config = {**client(place, chosen), **_consuming(chosen)}
    return _reading(partial(KafkaSource, place.shown, place.path, config, books))


@asynccontextmanager
async def _reading(make: Callable[[], KafkaSource]) -> AsyncIterator[KafkaSource]:
    source = await trio.to_thread.run_sync(make)
    try:
        yield source
    finally:
        await source.close()  # noqa: ASYNC102  (it shields itself)


def _consuming(chosen: Options) -> dict[str, Any]:
    """Settings of librdkafka: how far a partition is read is what ``keep`` says, and never what was fetched."""
    session = round(chosen.session * 1000)
    return {
        "group.id": chosen.group,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session,
        "heartbeat.interval.ms": session // 4,
        "auto.offset.reset": "earliest",
        "enable.auto.offset.store": False,
        "auto.commit.interval.ms": 1000,
        "enable.partition.eof": True,
        "topic.metadata.refresh.interval.ms": 10_000,
        "queued.min.messages": 10_000,
        "queued.max.messages.kbytes": 16_384,
    }


def _part(told: TopicPartition) -> Partition:
    return told.topic, told.partition


def _item(message: Message) -> Event | Instrument:
    """What a message says; one that cannot be understood is kept whole."""
    topic, body = str(message.topic()), message.value() or b""
    try:
        ident: Any = dict(message.headers() or ()).get("id") or b""
        return recalled(topic.rpartition(".")[2], bytes(ident).decode(), bytes(body))
    except (WireError, UnicodeDecodeError) as error:
        where = f"{topic} [{message.partition()}] {message.offset()}"
        exchange = bytes(message.key() or b"").partition(b"|")[0].decode(errors="replace") or "kafka"
        return Quarantined(exchange, message.timestamp()[1] * 10**6, f"{where}: {error}", bytes(body))
