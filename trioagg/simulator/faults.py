"""What the built-in exchange does wrong, on request. Pure: the time comes as an argument, chance from the seed.

A specification is a kind and its settings, ``cut,at=5`` or ``skip,share=0.01``. ``at`` and ``for`` are seconds: from
when on and how long; without them a fault is always there. What befalls single frames goes by when they were due.
Faults may be combined.

- ``cut,at=5`` or ``cut,every=10``: WebSockets end; ``how=drop`` without a close frame (the default), ``how=reset`` with
  a TCP reset, ``how=close`` with a close frame; ``oldest=1``: only so many, those that are open the longest.
- ``shutdown,at=5,for=2``: the exchange announces that it shuts down, and closes WebSockets after ``for``.
- ``stall,at=5,for=10``: WebSockets that are open at 5 s carry no data until 15 s, though pings are answered. What
  happened meanwhile never comes. Newer ones are well.
- ``partition,at=5,for=10``: nothing gets through on a WebSocket, from the middle of a frame on, nor on a new
  connection; nothing is closed. ``ack-and-silence``: subscriptions are acknowledged, and WebSockets carry no data.
- ``huge,at=5`` or ``huge,every=10``: each WebSocket gets a frame of ``size=10`` megabytes that means nothing.
- ``garble,share=0.02``: this share of frames arrives torn. ``extra``: has a field that nobody knows. ``unknown``: is
  followed by a frame of a kind that nobody knows.
- ``skip,share=0.01``: this share of frames is never sent; REST still has the trades. ``repeat``: comes twice.
  ``reorder``: this share of trades comes after the symbol's next one.
- ``slow,rate=2000``: no WebSocket gets more bytes per second.
- ``refuse,at=10,for=5``: new TCP connections are reset; ``count=3``: only so many.
- ``429,at=5,count=1,retry_after=3``: REST refuses ``count`` requests, or all of them ``for`` some time; one where
  neither is given. Any such status: ``418``, ``503``, ``5xx`` (which is 503).
- ``never-ack``: subscriptions work, but are not acknowledged.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from attrs import define, field, frozen

from trioagg.errors import SettingsError
from trioagg.simulator import nearest

_TIMES = ("at", "for")
DISTORTIONS = ("skip", "extra", "garble", "reorder", "repeat", "unknown")
"""What befalls single frames, in the order in which it does."""
KINDS = {
    "cut": ("at", "every", "how", "oldest"),
    "shutdown": _TIMES,
    "stall": (*_TIMES, "every"),
    "partition": (*_TIMES, "every"),
    "ack-and-silence": _TIMES,
    "huge": ("at", "every", "size"),
    **dict.fromkeys(DISTORTIONS, (*_TIMES, "share")),
    "slow": (*_TIMES, "rate"),
    "refuse": (*_TIMES, "count"),
    **dict.fromkeys(("403", "418", "429", "503", "5xx"), (*_TIMES, "count", "retry_after")),
    "never-ack": _TIMES,
}
_WAYS = ("drop", "reset", "close")
_NEEDS = {
    **dict.fromkeys(("cut", "stall", "huge"), ("at", "every")),
    "shutdown": ("at",),
    "partition": ("for",),
    "slow": ("rate",),
}


@frozen
class Fault:
    """One fault; times in seconds since the start.

    Attributes:
        lasting: how long from ``at`` (from each ``every``); infinite where not given.
        rate: bytes per second.
        oldest: WebSockets to end, None for all.
        count: requests or connections to refuse, None for no limit.
        retry_after: seconds to announce.
        size: megabytes.
    """

    kind: str
    at: float = 0.0
    lasting: float = math.inf
    every: float | None = None
    share: float = 0.01
    rate: float = math.inf
    oldest: float | None = None
    count: float | None = None
    retry_after: float | None = None
    size: float = 10.0
    how: str = "drop"

    def active(self, elapsed: float) -> bool:
        """Whether it goes on now."""
        return self.since(elapsed) is not None

    def since(self, elapsed: float) -> float | None:
        """When the present bout of it began, None if it does not go on."""
        began = max((at for at in self.bouts(elapsed)), default=None)
        return began if began is not None and elapsed < began + self.lasting else None

    def bouts(self, elapsed: float) -> Sequence[float]:
        """The beginnings so far: the last one only, where it comes ``every`` so often."""
        if self.every is None:
            return [self.at] if elapsed >= self.at else []
        turns = math.floor((elapsed - self.at) / self.every)
        return [self.at + turns * self.every] if turns >= 1 else []

    def next(self, elapsed: float) -> float | None:
        """The first beginning after ``elapsed``."""
        if self.every is None:
            return self.at if self.at > elapsed else None
        return self.at + (max(0, math.floor((elapsed - self.at) / self.every)) + 1) * self.every


def parse(spec: str) -> Fault:
    """A fault from its specification.

    Raises:
        SettingsError: it names what does not exist or cannot be.
    """
    kind, *settings = [word.strip() for word in spec.split(",")]
    allowed = KINDS.get(kind) or (KINDS["503"] if re.fullmatch(r"[45]\d\d", kind) else None)
    if allowed is None:
        raise SettingsError(f"fault {spec!r}: unknown kind {kind!r}; {nearest(kind, list(KINDS))}")
    pairs = dict(_setting(spec, word, allowed) for word in settings)
    if kind in _NEEDS and not pairs.keys() & set(_NEEDS[kind]):
        raise SettingsError(f"fault {spec!r}: {kind} needs {' or '.join(_NEEDS[kind])}=…")
    how = pairs.pop("how", "drop")
    values = {name: _value(spec, name, word) for name, word in pairs.items()}
    if "retry_after" in allowed and not pairs.keys() & {"count", "for"}:
        values["count"] = 1.0
    if "for" in values:
        values["lasting"] = values.pop("for")
    return Fault(kind, how=how, **values)


def _setting(spec: str, word: str, allowed: Sequence[str]) -> tuple[str, str]:
    name, sign, value = word.partition("=")
    if name not in allowed:
        raise SettingsError(f"fault {spec!r}: unknown setting {name!r}; {nearest(name, allowed)}")
    if not sign or not value:
        raise SettingsError(f"fault {spec!r}: {name} needs a value, {name}=…")
    if name == "how" and value not in _WAYS:
        raise SettingsError(f"fault {spec!r}: how={value!r} is none of {', '.join(_WAYS)}")
    return name, value


def _value(spec: str, name: str, word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf or (name == "share" and value > 1) or (name in _POSITIVE and value == 0):
        raise SettingsError(f"fault {spec!r}: {name}={word} is not {_RANGES.get(name, 'a number from 0')}")
    return value


_POSITIVE = ("every", "rate", "count", "size", "oldest")
_RANGES = {"share": "a number from 0 to 1", **dict.fromkeys(_POSITIVE, "a number above 0")}


@define
class Statistics:
    """What the built-in exchange did, for tests to compare with.

    Attributes:
        connections: WebSockets opened; ``open`` of them are now.
        sent: data frames sent, the repeated and unknown ones too.
        requests: REST requests by the status of the answer.
        impatient: requests that came before a ``Retry-After`` had passed.
        faults: how often each kind struck.
        lost: trade ids that were skipped or garbled, by the exchange's own symbol; REST has them.
        told: the lowest and the highest trade id that streams came to, lost or not, by the exchange's own symbol; where
            several kinds of frames are mixed, a little less.
        behind: connections closed for reading too slowly.
        subscribed: stream messages received from clients.
    """

    connections: int = 0
    open: int = 0
    sent: int = 0
    requests: Counter[int] = field(factory=Counter)
    impatient: int = 0
    faults: Counter[str] = field(factory=Counter)
    lost: dict[str, set[int]] = field(factory=dict)
    told: dict[str, tuple[int, int]] = field(factory=dict)
    behind: int = 0
    subscribed: int = 0


class Faults:
    """All faults of one exchange, and what they did.

    Args:
        specs: see the module.
        seed: what chance follows from.
        statistics: where to count.
        trade: finds the symbol and id of a trade in a frame.

    Raises:
        SettingsError: a specification is wrong.
    """

    def __init__(
        self,
        specs: Sequence[str],
        *,
        seed: int,
        statistics: Statistics,
        trade: Callable[[bytes], tuple[str, int] | None],
    ) -> None:
        self.all = [parse(spec) for spec in specs]
        self.statistics, self._seed, self._trade = statistics, seed, trade
        self._done: Counter[int] = Counter()
        self._patience = 0.0
        distorting = [fault for fault in self.all if fault.kind in DISTORTIONS]
        self.distorting = sorted(distorting, key=lambda fault: DISTORTIONS.index(fault.kind))

    def _active(self, kind: str, elapsed: float) -> Iterator[Fault]:
        return (fault for fault in self.all if fault.kind == kind and fault.active(elapsed))

    def refusing(self, elapsed: float) -> bool:
        """Whether new connections are reset; counts."""
        return self._striking("refuse".__eq__, elapsed) is not None

    def silent(self, elapsed: float) -> bool:
        """Whether acknowledgements are withheld; counts."""
        return self._striking("never-ack".__eq__, elapsed) is not None

    def _striking(self, kind: Callable[[str], bool], elapsed: float) -> Fault | None:
        """The first of a kind that has not struck often enough; counts."""
        for index, fault in enumerate(self.all):
            if kind(fault.kind) and fault.active(elapsed) and self._done[index] < (fault.count or math.inf):
                self._done[index] += 1
                self.statistics.faults[fault.kind] += 1
                return fault
        return None

    def stalled(self, elapsed: float, opened: float) -> bool:
        """Whether a connection opened at ``opened`` carries no data."""
        if next(self._active("ack-and-silence", elapsed), None):
            return True
        return any(opened <= (fault.since(elapsed) or 0) for fault in self._active("stall", elapsed))

    def cut_off(self, elapsed: float) -> float:
        """Seconds until anything gets through again."""
        parted = list(self._active("partition", elapsed))
        return max(((fault.since(elapsed) or 0) + fault.lasting - elapsed for fault in parted), default=0.0)

    def pace(self, elapsed: float) -> float:
        """Bytes per second that a connection may get."""
        return min((fault.rate for fault in self._active("slow", elapsed)), default=math.inf)

    def status(self, elapsed: float) -> tuple[int, float | None] | None:
        """The status to refuse a request with, and its ``Retry-After``; counts.

        A request that comes before a ``Retry-After`` has passed is refused again.
        """
        if elapsed < self._patience:
            self.statistics.impatient += 1
            return 429, self._patience - elapsed
        fault = self._striking(lambda kind: kind[0].isdigit(), elapsed)
        if fault is None:
            return None
        self._patience = elapsed + (fault.retry_after or 0)
        return 503 if fault.kind == "5xx" else int(fault.kind), fault.retry_after

    def chance(self, fault: Fault, frame: bytes) -> bool:
        """Whether a frame is one of the fault's share: the same frames in every run with the same seed."""
        salt = zlib.crc32(fault.kind.encode(), self._seed & 0xFFFFFFFF)
        return (zlib.crc32(frame, salt) * 2654435761 & 0xFFFFFFFF) < fault.share * 2**32

    def lose(self, frame: bytes) -> None:
        """Note that the trade in a frame will not arrive."""
        if trade := self._trade(frame):
            self.statistics.lost.setdefault(trade[0], set()).add(trade[1])

    def come_to(self, frame: bytes) -> None:
        """Note how far a stream is."""
        if trade := self._trade(frame):
            symbol, number = trade
            lowest, highest = self.statistics.told.get(symbol, (number, number))
            self.statistics.told[symbol] = min(lowest, number), max(highest, number)

    def trade(self, frame: bytes) -> tuple[str, int] | None:
        """The symbol and id of the trade in a frame."""
        return self._trade(frame)
