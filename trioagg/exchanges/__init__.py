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
from functools import cache
from typing import ClassVar, Literal

import msgspec

from trioagg.errors import SettingsError, WireError
from trioagg.exchanges import _numbers
from trioagg.exchanges._memo import Memo
from trioagg.exchanges._terms import (
    FRESH,
    Ack,
    Action,
    Board,
    BookPlan,
    Connect,
    Daily,
    Feed,
    Fetch,
    Heartbeat,
    Hole,
    Kept,
    Limits,
    Lost,
    Missed,
    Output,
    Proof,
    Refused,
    Retire,
    Send,
    Subscription,
)
from trioagg.model import Channel, Instrument, Nanos, Quarantined, TradeId

__all__ = [
    "FRESH",
    "GARBLED",
    "Ack",
    "Action",
    "Board",
    "BookPlan",
    "Connect",
    "Daily",
    "Exchange",
    "Feed",
    "Fetch",
    "Heartbeat",
    "Hole",
    "Kept",
    "Limits",
    "Lost",
    "Missed",
    "Output",
    "Proof",
    "Refused",
    "Retire",
    "Send",
    "Subscription",
    "counts",
    "load",
    "names",
    "numbers",
    "reason",
    "trade_id",
]


LONGEST = 64
"""Characters of a symbol; no market's has as many."""


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
    numbered: ClassVar[bool] = True
    """Whether a trade id that is a whole number is told as one; False where it says nothing of the order."""
    limits: ClassVar[Limits] = Limits()
    heartbeat: Heartbeat | None = None
    """What the client must say by itself; an adapter may learn how often before it connects."""
    encoding: ClassVar[Literal["", "gzip"]] = ""
    """How binary frames are compressed; empty where binary frames have no meaning."""
    clock: ClassVar[Fetch | None] = None
    """The request that tells the exchange's time, where there is one."""
    joined: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the REST paths whose answers a stream waits for: snapshots of order books."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        known: list[Instrument | Subscription] = [*feed.instruments, *feed.subscriptions]
        self.__symbols = Memo(self._met, {item.native: item.symbol for item in known})
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
        """The unified spelling: as the instrument list has it, else by rule.

        Raises:
            WireError: it is no name of a market.
        """
        return self.__symbols[native]

    def _met(self, native: str) -> str:
        """The spelling of a market that no list named."""
        symbol = self.unified(native)
        if not (0 < len(symbol) <= LONGEST and symbol.isprintable()):
            raise WireError(f"impossible symbol {native[:LONGEST]!r}")
        return symbol

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

    def missing(self, hole: Hole) -> Fetch | None:
        """The request that brings trades of a hole, from either end of it, as many as one answer holds.

        Whoever asks takes what the answer brought off the hole and asks again, until nothing is left or nothing comes.

        Returns:
            None where the exchange does not tell them any more.
        """
        return None

    @classmethod
    def time(cls, body: bytes) -> Nanos:
        """The exchange's time in an answer to ``clock``.

        Raises:
            WireError, msgspec.DecodeError: there is none.
        """
        raise WireError("the exchange does not tell its time")

    def digest(self, frames: Iterable[bytes], at: Nanos) -> list[Output]:
        """What a batch of frames means; the i-th arrived at ``at + i``. A garbled frame costs that frame alone."""
        out: list[Output] = []
        received = self.received
        for frame in frames:
            try:
                out += received(frame, at)
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


@cache
def names() -> tuple[str, ...]:
    """The exchanges that there are: the files of this folder, none of them imported."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


@cache
def counts(name: str) -> bool:
    """Whether an exchange counts the trades of each market up by one."""
    return load(name).proofs.get(Channel.TRADES) is Proof.ID


@cache
def numbers(name: str) -> bool:
    """Whether an exchange's trade ids that are whole numbers are told as such."""
    return load(name).numbered


def trade_id(name: str, text: str) -> TradeId:
    """A trade's id as the exchange's adapter tells it, from its text.

    Raises:
        WireError: there is none.
    """
    told = _numbers.trade_id(text)
    return told if numbers(name) else text


def load(name: str) -> type[Exchange]:
    """The adapter of an exchange.

    Raises:
        SettingsError: there is no such exchange.
    """
    if name not in names():
        raise SettingsError(f"unknown exchange {name!r}; known: {', '.join(names())}")
    adapter: type[Exchange] = importlib.import_module(f"{__name__}.{name}").Adapter
    return adapter
