"""The exchange contract: one connection to one exchange, without the connection.

An adapter is pure: bytes and the time go in, events and requests come out. It knows no socket, no clock, no logging
and no other adapter. It lives exactly as long as its connection does; a reconnect is a new object, so nothing is ever
reset. What must outlive a connection (the day's volumes that REST tells and the stream does not) lies in
the ``Board`` that all adapters of one exchange share.

A file in this folder is one exchange, named as users name it, and holds one class ``Adapter(Exchange)``. Adding an
exchange adds that file and ``simulator/scripts/NAME.txt``, and edits none.

The life of an adapter that streams::

    begin() ──► Connect ──► opened() ──► Send…                 subscribe
       └► Fetch ──► fetched() ──► Connect                      where a token must be asked for first
    received(frame, at) ──► events, Send, Fetch, Ack, Refused, Retire

An adapter that polls is the same class: its owner asks it for ``polls()`` and gives each answer to ``answered``.
Owners call ``digest`` and ``answered``, which put what cannot be understood into quarantine; adapters define
``received`` and ``fetched``.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, Literal

import msgspec
from attrs import field, frozen

from trioagg.errors import SettingsError, WireError
from trioagg.model import Channel, Event, Instrument, Nanos, Quarantined


class Proof(StrEnum):
    """What an exchange offers to prove that no event of a channel was missed."""

    ID = "contiguous id"
    SEQUENCE = "socket sequence"
    CHAIN = "update chain"
    CHECKSUM = "checksum"
    OVERLAP = "overlap with REST"
    NOTHING = "nothing"


@frozen
class Limits:
    """What the exchange allows one address.

    Attributes:
        streams: subscriptions per connection.
        sends: messages per second that a connection may send.
        weight: request weight per ``window``.
        window: seconds.
        used_header: the answer's header that tells the weight used in the window; empty where there is none.
        cooldown: seconds to stay silent after an HTTP status that brings no waiting time of its own.
    """

    streams: int = 1024
    sends: float = 5
    weight: int = 1200
    window: float = 60
    used_header: str = ""
    cooldown: Mapping[int, float] = field(factory=lambda: {429: 10.0, 418: 120.0, 403: 60.0})


@frozen
class Heartbeat:
    """A message that the client must send by itself to stay connected.

    Attributes:
        every: seconds.
        text: the frame.
    """

    every: float
    text: str


@frozen
class Subscription:
    """One channel of one market; ``native`` is the exchange's own spelling of the symbol."""

    symbol: str
    channel: Channel
    native: str


@frozen
class Connect:
    """Open the WebSocket.

    Attributes:
        path: below the exchange's ``ws_url``, or a whole URL that the exchange named.
        host: the address to put it behind where it is not ``ws_url``; an address that the user set replaces both.
    """

    path: str
    host: str = ""


@frozen
class Send:
    """Send one text frame."""

    text: str


@frozen
class Fetch:
    """Ask REST.

    Attributes:
        path: below the exchange's ``rest_url``, with its query.
        weight: what it costs of ``Limits.weight``.
        every: seconds between two of it; None for once.
        body: posted if not None.
        host: the address to put it behind where it is not ``rest_url``; an address that the user set replaces both.
    """

    path: str
    weight: int = 1
    every: float | None = None
    body: str | None = None
    host: str = ""


@frozen
class Ack:
    """The exchange said that it heard a subscription: no evidence of data."""

    what: str


@frozen
class Refused:
    """The exchange refused a subscription; the rest of the connection goes on."""

    reason: str


@frozen
class Retire:
    """The exchange announced that it will close this connection: replace it."""

    reason: str


@frozen
class Missed:
    """Something of a channel never came, by the exchange's own numbering or checksum; the adapter asks for a new start.

    Attributes:
        first, last: the numbers that are missing, inclusive, in the exchange's units; None where it does not count.
    """

    symbol: str
    channel: Channel
    reason: str
    first: int | None = None
    last: int | None = None


Action = Connect | Send | Fetch | Ack | Refused | Retire | Missed
Output = Event | Action


@frozen
class Daily:
    """The last price and the 24 hours' volume of one symbol, as REST told them at ``at``."""

    last: Decimal
    volume: Decimal
    at: Nanos


FRESH: Nanos = 300 * 1_000_000_000
"""How long what REST said last may stand beside a newer best bid and ask."""

Board = dict[str, Daily]
"""Symbol → what REST said last: shared by the adapters of one exchange, since streams of best bid and ask lack it."""


Kept = Literal["snapshots", "best", "deltas"]
"""What is kept of order books: the best levels from time to time, each change of the best prices, each raw change."""


@frozen
class BookPlan:
    """What is wanted of order books.

    Attributes:
        levels: of each side in a snapshot.
        period: nanoseconds between the snapshots of one market.
        kept: which of it.
    """

    levels: int = 20
    period: Nanos = 1_000_000_000
    kept: frozenset[Kept] = frozenset({"snapshots", "best"})


@frozen
class Feed:
    """What one adapter is to collect.

    Attributes:
        subscriptions: empty for a replay, which takes what comes.
        instruments: what the instrument list told of the markets; those that it lacks are spelled by rule.
        interval: seconds between REST polls.
        candle: the interval of candles.
        book: what is wanted of order books.
        board: see ``Board``.
        source: in a replay, the address that the frames came from, without its query; empty for REST and live.
    """

    subscriptions: Sequence[Subscription] = ()
    instruments: Sequence[Instrument] = ()
    interval: float = 5.0
    candle: str = "1m"
    book: BookPlan = BookPlan()
    board: Board = field(factory=dict)
    source: str = ""


class Exchange(ABC):
    """One connection's worth of an exchange; see the module's docstring for its life."""

    name: ClassVar[str]
    """The exchange's id: the file's name."""
    rest_url: ClassVar[str]
    ws_url: ClassVar[str]
    streamed: ClassVar[frozenset[Channel]]
    """Channels that come over WebSockets."""
    polled: ClassVar[frozenset[Channel]] = frozenset()
    """Channels that REST is polled for, beside or instead of a stream."""
    proofs: ClassVar[Mapping[Channel, Proof]]
    limits: ClassVar[Limits] = Limits()
    heartbeat: ClassVar[Heartbeat | None] = None
    encoding: ClassVar[Literal["", "gzip"]] = ""
    """How binary frames are compressed; empty where binary frames have no meaning."""
    joined: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the REST paths whose answers a stream waits for: snapshots of order books."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        known: list[Instrument | Subscription] = [*feed.instruments, *feed.subscriptions]
        self.__symbols = {item.native: item.symbol for item in known}
        self.__wanted = {(item.symbol, item.channel) for item in feed.subscriptions}

    @classmethod
    @abstractmethod
    def listing(cls) -> Sequence[Fetch]:
        """The requests that together tell every instrument."""

    @classmethod
    @abstractmethod
    def instruments(cls, fetch: Fetch, body: bytes) -> list[Instrument]:
        """The instruments in one answer to ``listing``.

        Raises:
            WireError, msgspec.DecodeError: the body is no instrument list.
            RateLimited: it is a demand for silence.
        """

    @classmethod
    @abstractmethod
    def native(cls, symbol: str) -> str:
        """The exchange's spelling of a unified symbol, where no instrument list could be had."""

    @classmethod
    @abstractmethod
    def unified(cls, native: str) -> str:
        """The unified spelling of a native symbol that no instrument list told; ``native`` itself where unclear."""

    @classmethod
    def channels(cls) -> frozenset[Channel]:
        """Everything that can be collected."""
        return cls.streamed | cls.polled

    @classmethod
    def connections(cls, subscriptions: Sequence[Subscription]) -> list[Sequence[Subscription]]:
        """How streamed subscriptions are spread over connections; all are of ``streamed`` channels."""
        size = cls.limits.streams
        return [subscriptions[start : start + size] for start in range(0, len(subscriptions), size)]

    def symbol(self, native: str) -> str:
        """The unified spelling: as the instrument list has it, else by rule."""
        if native not in self.__symbols:
            self.__symbols[native] = self.unified(native)
        return self.__symbols[native]

    def wants(self, symbol: str, channel: Channel) -> bool:
        """Whether it was subscribed to; a replay takes everything."""
        return not self.__wanted or (symbol, channel) in self.__wanted

    def natives(self, channel: Channel) -> list[str]:
        """The exchange's spellings of the markets that are subscribed to on a channel."""
        return [item.native for item in self.feed.subscriptions if item.channel is channel]

    def daily(self, symbol: str, at: Nanos) -> tuple[Decimal | None, Decimal | None]:
        """The last price and the day's volume by the board, as long as they may stand beside a quote of ``at``."""
        day = self.feed.board.get(symbol)
        return (day.last, day.volume) if day and at - day.at < FRESH else (None, None)

    def polls(self) -> Iterable[Fetch]:
        """The requests to repeat every ``Fetch.every`` seconds."""
        return ()

    @abstractmethod
    def begin(self) -> Iterable[Action]:
        """The first steps towards a connection."""

    def opened(self) -> Iterable[Action]:
        """What to do once the WebSocket is open."""
        return ()

    @abstractmethod
    def received(self, frame: bytes, at: Nanos) -> Sequence[Output]:
        """What one frame means.

        Args:
            frame: its payload, decompressed.
            at: our time of its arrival, nanoseconds UTC.

        Raises:
            WireError, msgspec.DecodeError: it means nothing; none of it was taken.
        """

    @abstractmethod
    def fetched(self, fetch: Fetch, body: bytes, at: Nanos) -> Sequence[Output]:
        """What the answer to a request means.

        Raises:
            WireError, msgspec.DecodeError: it means nothing; none of it was taken.
            RateLimited: it is a demand for silence, in spite of its status.
        """

    def digest(self, frames: Iterable[bytes], at: Nanos) -> list[Output]:
        """What a batch of frames means; the i-th arrived at ``at + i``. A garbled frame costs that frame alone."""
        out: list[Output] = []
        for frame in frames:
            try:
                out.extend(self.received(frame, at))
            except GARBLED as error:
                out.append(Quarantined(self.name, at, reason(error), frame))
            at += 1
        return out

    def answered(self, fetch: Fetch, body: bytes, at: Nanos) -> list[Output]:
        """What the answer to a request means; a garbled one is quarantined whole.

        Raises:
            RateLimited: it is a demand for silence.
        """
        try:
            return list(self.fetched(fetch, body, at))
        except GARBLED as error:
            return [Quarantined(self.name, at, f"{fetch.path}: {reason(error)}", body)]


GARBLED = (WireError, msgspec.DecodeError, ArithmeticError, UnicodeDecodeError, RecursionError)
"""What reading nonsense raises; anything else that an adapter raises is a bug in it."""


def reason(error: Exception) -> str:
    """Why something was not understood, in one short line."""
    if isinstance(error, ArithmeticError):
        return "NaN where a number is needed"
    return " ".join(str(error).split())[:200] or type(error).__name__


def names() -> list[str]:
    """The exchanges that there are: the files of this folder, none of them imported."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> type[Exchange]:
    """The adapter of an exchange.

    Raises:
        SettingsError: there is no such exchange.
    """
    if name not in names():
        raise SettingsError(f"unknown exchange {name!r}; known: {', '.join(names())}")
    adapter: type[Exchange] = importlib.import_module(f"{__name__}.{name}").Adapter
    return adapter
