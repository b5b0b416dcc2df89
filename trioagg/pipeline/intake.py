"""Where bytes become events and enter the flows: the one door between the feeds and the writers."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar, cast, get_args

import structlog
from attrs import define, evolve, field

from trioagg.exchanges import Action, Exchange, Fetch, Lost, Missed, Output
from trioagg.model import Broken, Candle, Channel, Event, Loss, Nanos, Note, Quarantined, Record, Trade
from trioagg.monitor.metrics import Metrics
from trioagg.pipeline.drift import Drift
from trioagg.pipeline.flow import Gauge, Inlet
from trioagg.pipeline.tally import Tally
from trioagg.transport.capture import Captured
from trioagg.transport.frames import Frames
from trioagg.transport.websocket import MAX_SIZE

log = structlog.get_logger(__name__)

Item = TypeVar("Item", Event, Loss)
ACTIONS: tuple[type[Action], ...] = get_args(Action)
KEYED = frozenset({Trade, Candle, Quarantined})
"""What every sink stores once, however often and by whomever it is brought."""

KINDS = 100
"""Reasons for quarantine that are told of one exchange; a hostile far end has more."""


@define(eq=False)
class Intake:
    """Takes what feeds receive, notes it, digests it, and puts the events into every sink's flow.

    Between a read and the flows nothing waits, so a cancelled feed has either not received a batch or delivered it; the
    waiting for room comes after.

    Attributes:
        tally: counts what came in.
        sinks: one flow per sink.
        captures: the recorder's flow, if captures are recorded.
        keep: which events and losses to keep; None keeps all.
        drift: notes fields that nobody knows.
        lags: exchange → the least lag of its trades since somebody took it, nanoseconds.
        metrics: the books of this run, if somebody keeps any.
        rubbish: exchange → bytes of what could not be understood.
    """

    tally: Tally
    sinks: Sequence[Inlet[Record]]
    captures: Inlet[Captured] | None = None
    keep: Callable[[Event | Loss], bool] | None = None
    drift: Drift = field(factory=Drift)
    lags: dict[str, Nanos] = field(factory=dict)
    metrics: Metrics | None = None
    rubbish: dict[str, int] = field(factory=dict)
    _reported: dict[str, set[str]] = field(factory=dict)

    def beside(self) -> Intake:
        """The door for a connection that runs beside another one: lets in only what cannot come in twice."""
        return evolve(self, keep=lambda item: type(item) in KEYED)

    def frames(self, adapter: Exchange, source: str, frames: Frames) -> tuple[Sequence[Event], list[Action]]:
        """Take what one read brought.

        Returns:
            The events in it, kept or not, and what the adapter wants done.
        """
        frames = _unpacked(frames, adapter.encoding)
        self.drift.look(adapter.name, frames.payloads, frames.at)
        numbered = enumerate(frames.payloads, frames.at)
        captured = [Captured(adapter.name, at, source, payload) for at, payload in numbered] if self.captures else []
        if captured and self.keep:
            digested = ((adapter.digest([frame.payload], frame.received), frame) for frame in captured)
            out = [item for meaning, frame in digested for item in self._chosen(meaning, frame)]
        else:
            self._record(captured)
            out = adapter.digest(frames.payloads, frames.at)
        return self._put(out, adapter, frames.at)

    def answer(self, adapter: Exchange, fetch: Fetch, answer: Captured) -> tuple[Sequence[Event], list[Action]]:
        """Take the answer to a request.

        Returns:
            The events in it, kept or not, and what the adapter wants done.
        """
        if self.keep:
            out = self._chosen(adapter.answered(fetch, answer.payload, answer.received), answer)
        else:
            self.capture(answer)
            out = adapter.answered(fetch, answer.payload, answer.received)
        events, actions = self._put(out, adapter, answer.received)
        if self.metrics:
            self.metrics.answered(adapter.name, events)
        return events, actions

    def note(self, notes: Sequence[Note]) -> None:
        """Tell the ledgers of something that is no event."""
        if self.metrics:
            self.metrics.noted(notes)
        for inlet in self.sinks:
            inlet.put(notes)

    def capture(self, answer: Captured) -> None:
        """Record an answer, which may hold no events."""
        self._record([answer])

    @property
    def full(self) -> bool:
        """Whether those who bring something must wait."""
        return any(gauge.full for gauge in self.gauges())

    async def room(self) -> None:
        """Wait until every flow is below its bound."""
        for inlet in self.sinks:
            await inlet.room()
        if self.captures:
            await self.captures.room()

    def gauges(self) -> list[Gauge]:
        """How full each flow is."""
        return [inlet.gauge for inlet in (*self.sinks, *((self.captures,) if self.captures else ()))]

    def close(self) -> None:
        """Nothing more comes: the flows end when they are empty."""
        for inlet in self.sinks:
            inlet.close()
        if self.captures:
            self.captures.close()

    def _record(self, captured: Sequence[Captured]) -> None:
        if self.captures:
            self.captures.put(captured, sum(len(one.payload) for one in captured))

    def _chosen(self, out: list[Output], captured: Captured) -> list[Output]:
        """What one frame or answer means; it is recorded if all of it is kept, so that a replay adds nothing."""
        events = [cast(Event, item) for item in out if not isinstance(item, ACTIONS)]
        if len(self._kept(events)) == len(events):
            self._record([captured])
        return out

    def _put(self, out: list[Output], adapter: Exchange, at: Nanos) -> tuple[Sequence[Event], list[Action]]:
        kinds = set(map(type, out))
        if Lost in kinds:
            place = next(n for n, item in enumerate(out) if isinstance(item, Lost))
            before, wanted = self._put(out[:place], adapter, at)
            self.note([Broken(adapter.name, adapter.feed.symbols(Channel.TRADES), "frames lost", at)])
            after, more = self._put(out[place + 1 :], adapter, at)
            return [*before, *after], [*wanted, *more]
        actions = [] if kinds.isdisjoint(ACTIONS) else [item for item in out if isinstance(item, ACTIONS)]
        events = cast(list[Event], [item for item in out if not isinstance(item, ACTIONS)] if actions else out)
        weight = self._report(adapter.name, events) if Quarantined in kinds else 0
        if Missed in kinds:
            self.note(self._kept([_loss(adapter.name, item, at) for item in actions if isinstance(item, Missed)]))
        kept = self._kept(events)
        if kept and isinstance(newest := kept[-1], Trade) and newest.timestamp is not None:
            lag = newest.received - newest.timestamp
            self.lags[newest.exchange] = min(lag, self.lags.get(newest.exchange, lag))
        self.tally.received += len(kept)
        if self.metrics:
            self.metrics.took(adapter.name, kept, at)
        for inlet in self.sinks:
            inlet.put(kept, weight)
        return events, actions

    def _kept(self, items: Sequence[Item]) -> Sequence[Item]:
        return [item for item in items if self.keep(item)] if self.keep else items

    def _report(self, exchange: str, events: Sequence[Event]) -> int:
        """Tell each kind of garbled frame once; the bytes of those that are among the events."""
        garbled = [event for event in events if isinstance(event, Quarantined)]
        for event in garbled:
            kind, told = re.sub(r"\d+", "N", event.reason), self._reported.setdefault(exchange, set())
            if kind not in told and len(told) < KINDS:
                told.add(kind)
                log.warning("frame quarantined; more of this kind are counted only", reason=event.reason)
        weight = sum(len(event.payload) for event in garbled)
        self.rubbish[exchange] = self.rubbish.get(exchange, 0) + weight
        return weight


def _loss(exchange: str, missed: Missed, at: Nanos) -> Loss:
    """What was missed, for the ledgers; without its numbers where those are none that a store could hold."""
    ends = (missed.first, missed.last)
    first, last = ends if all(end is None or 0 <= end < 2**62 for end in ends) else (None, None)
    return Loss(exchange, missed.symbol, missed.channel, first, last, missed.reason, at)


def _unpacked(frames: Frames, encoding: str) -> Frames:
    """Binary frames decompressed, where the exchange compresses; one that cannot be stays as it is."""
    if not (frames.binary and encoding == "gzip"):
        return frames
    return evolve(frames, payloads=[_unzipped(payload) for payload in frames.payloads], binary=False)


def _unzipped(payload: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(payload, MAX_SIZE)
    except zlib.error:
        return payload
    return text if unpacker.eof else payload  # torn, or more than any message holds
