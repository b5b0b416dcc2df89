"""Dead or quiet? What a connection's streams brought, and how long each of them may be silent by its own past. Pure.

Times are seconds of one clock that never steps back.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from attrs import define, evolve, field

from trioagg.model import Event, Quarantined, Ticker, Trade

Key = tuple[str, type]
"""A stream: its symbol, and the kind of its events."""

FACTOR = 4.0
"""How many times its longest pause a stream may be silent before that is strange."""
LEARNT = 20
"""Pauses that must be known of a stream before its silence says anything."""
MEMORY = 3600.0
"""Seconds in which the longest pause fades away, ..."""
KEPT = 100
"""... or so many pauses, if those take longer."""

STEP = 1.0
"""Seconds in which all that a stream brings counts as one: finer, the learning costs more than it tells."""


@define
class Rhythm:
    """The pauses of one stream.

    Attributes:
        last: when it brought something, or when the connection began.
        longest: its longest pause, fading, in seconds.
        pauses: how many there were.
    """

    last: float
    longest: float = 0.0
    pauses: int = 0

    def beat(self, now: float) -> None:
        """It brought something."""
        pause = now - self.last
        self.last = now
        self.pauses += 1
        faded = self.longest * (1 - min(pause / MEMORY, 1 / KEPT))
        self.longest = max(pause, faded)

    @property
    def patience(self) -> float:
        """Seconds of silence that are nothing strange."""
        return FACTOR * self.longest

    @property
    def usual(self) -> float:
        """The same, where enough is known; else any silence is."""
        return self.patience if self.pauses >= LEARNT else math.inf


@define
class Heard:
    """What one stream brought.

    Attributes:
        first: on this connection, or one that came within ``STEP`` after it; None before that.
        last: the newest that is known, of this connection or of one before it.
    """

    rhythm: Rhythm
    first: Event | None = None
    last: Event | None = None


@define
class Pulse:
    """What one connection brought.

    Attributes:
        whole: the rhythm of all streams together.
        deaf: nobody listens now, so silence says nothing.
    """

    whole: Rhythm
    _streams: dict[Key, Heard] = field(factory=dict)
    _newest: defaultdict[type, dict[str, Event]] = field(factory=lambda: defaultdict(dict))
    _at: float = 0.0
    _due: float = 0.0
    deaf: bool = False

    def hear(self, events: Sequence[Event], now: float) -> None:
        """Take note of what one read brought; the streams' rhythms are reckoned later, ``STEP`` at a time."""
        self.whole.beat(now)
        if now >= self._due:
            self._reckon()
            self._due = now + STEP
        for event in events:
            if type(event) is not Quarantined:
                self._newest[type(event)][event.symbol] = event
        self._at = now

    def forgive(self, now: float) -> None:
        """Whatever was silent until now was silent because nobody listened: it is no pause to learn from."""
        for rhythm in (self.whole, *(heard.rhythm for heard in self.streams().values())):
            rhythm.last = now

    def streams(self) -> Mapping[Key, Heard]:
        """What each stream brought, of those that ever brought something."""
        self._reckon()
        return self._streams

    def _reckon(self) -> None:
        newest = {(symbol, kind): event for kind, events in self._newest.items() for symbol, event in events.items()}
        for key, event in newest.items():
            heard = self._streams.get(key)
            if heard is None:
                heard = self._streams[key] = Heard(Rhythm(self._at))
            else:
                heard.rhythm.beat(self._at)
            heard.first = heard.first or event
            heard.last = event
        self._newest.clear()

    def renewed(self, now: float) -> Pulse:
        """That of a connection which begins now: it knows the past, and has brought nothing."""
        known = {key: Heard(evolve(heard.rhythm, last=now), None, heard.last) for key, heard in self.streams().items()}
        return Pulse(evolve(self.whole, last=now), known)

    def flowing(self, since: float) -> set[Key]:
        """The streams that brought something on this connection since then."""
        return {key for key, heard in self.streams().items() if heard.first and heard.rhythm.last >= since}

    def strange(self, now: float, least: float) -> list[Key]:
        """The streams that flowed on this connection and are silent for longer than their past explains.

        Args:
            least: seconds of silence that are never strange.
        """
        return [key for key, heard in self.streams().items() if heard.first and _strange(heard.rhythm, now, least)]

    def liveliest(self) -> list[Key]:
        """All streams, those with the shortest pauses first."""
        streams = self.streams()
        return sorted(streams, key=lambda key: (streams[key].rhythm.longest, key[0], key[1].__name__))


def _strange(rhythm: Rhythm, now: float, least: float) -> bool:
    return now - rhythm.last > max(least, rhythm.usual)


def overlaps(old: Heard, new: Heard | None) -> bool:
    """Whether two connections that run side by side leave no hole between them in one stream.

    By id, where there are numbers: the old one has reached what the new one began with.
    """
    if new is None or new.first is None:
        return False
    if isinstance(new.first, Trade) and isinstance(old.last, Trade):
        begun, reached = new.first.trade_id, old.last.trade_id
        if isinstance(begun, int) and isinstance(reached, int):
            return begun <= reached + 1
    return True


def newer(last: Event, told: Sequence[Event], *, counted: bool) -> Event | None:
    """The newest of what REST told that the stream should have brought after ``last``; None where it brought all.

    Of tickers, best prices or the last price alone prove nothing: some streams tell changes of the one only, some only
    of the other. One with both changed must have come.

    Args:
        counted: whether the ids of trades count up, so that they tell which of one instant is the later.
    """
    if isinstance(last, Trade):
        trades = [event for event in told if isinstance(event, Trade) and event.symbol == last.symbol]
        newest = max(trades, key=lambda trade: _place(trade, counted=counted), default=last)
        return newest if _place(newest, counted=counted) > _place(last, counted=counted) else None
    if isinstance(last, Ticker):
        tickers = (event for event in told if isinstance(event, Ticker) and event.symbol == last.symbol)
        return next((ticker for ticker in tickers if _moved(last, ticker)), None)
    return None


def _place(trade: Trade, *, counted: bool) -> tuple[int, int]:
    return trade.timestamp or 0, trade.trade_id if counted and isinstance(trade.trade_id, int) else 0


def _moved(before: Ticker, after: Ticker) -> bool:
    traded = None not in {before.last, after.last} and before.last != after.last
    return traded and (before.bid, before.ask) != (after.bid, after.ask)
