"""A far end that speaks the exchanges' own protocols: the demo's, the tests' and the benchmarks' exchange.

This file is the stage's contract. A *source* knows what happened on a market: ``market.Market`` makes it up from a
seed, ``recording.Recording`` reads it from a capture. A *dialect* says it in one exchange's language and is pure: a
request becomes an answer, a subscription becomes an acknowledgement, a span of time becomes frames. The server moves
the bytes and knows no exchange. Faults lie between the two.

A file or folder in ``dialects/`` is one exchange, named as users name it, and holds one class ``Dialect``. Adding an
exchange adds that and edits nothing.

Prices and amounts are integers in units of 1e-8 here, so that they are exact and quick; times are nanoseconds UTC.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from attrs import field, frozen

from trioagg.errors import SettingsError
from trioagg.model import Nanos

SCALE = 10**8
"""One whole coin in the units of prices and amounts here."""

Print = tuple[int, Nanos, int, int, bool]
"""One trade: id, time, price, amount, whether the taker bought. A plain tuple: it is made 100,000 times a second."""

Quote = tuple[int, Nanos, int, int, int, int]
"""The best prices: update id, time, bid, bid size, ask, ask size."""

Levels = list[tuple[int, int]]
"""One side of a book: price and amount, best first."""


@frozen
class Pair:
    """A market as a source lists it; ``tick`` and ``step`` are the smallest steps of price and amount."""

    symbol: str
    tick: int
    step: int

    @property
    def base(self) -> str:
        """The traded asset."""
        return self.symbol.split("/")[0]

    @property
    def quote(self) -> str:
        """The asset that prices are in."""
        return self.symbol.split("/")[1].split(":")[0]


@frozen
class Span:
    """What happened in a stretch of time: a candle, or the day's figures.

    Attributes:
        start, end: its first instant, and the first one after it.
        first, last: the ids of its first and last trade; ``last`` is ``first - 1`` where there was none.
        bought, quote_bought: the part of the volumes that takers bought.
    """

    start: Nanos
    end: Nanos
    first: int
    last: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int
    bought: int
    quote_bought: int

    @property
    def count(self) -> int:
        """How many trades."""
        return self.last - self.first + 1


class Source(ABC):
    """What happened on the markets of one exchange. Trades have contiguous ids, per symbol."""

    pairs: Mapping[str, Pair]

    @abstractmethod
    def now(self, wall: Nanos) -> Nanos:
        """The exchange's own time when ours is ``wall``."""

    @abstractmethod
    def before(self, symbol: str, at: Nanos) -> int:
        """The id of the first trade at or after ``at``, whether it has happened yet or not."""

    @abstractmethod
    def prints(self, symbol: str, first: int, end: int) -> Iterable[Print]:
        """The trades with ids from ``first`` to before ``end``, as far as there are any."""

    @abstractmethod
    def quotes(self, symbol: str, start: Nanos, end: Nanos) -> Iterable[Quote]:
        """The changes of the best prices from ``start`` to before ``end``."""

    @abstractmethod
    def quote(self, symbol: str, at: Nanos) -> Quote:
        """The best prices at ``at``."""

    @abstractmethod
    def update(self, symbol: str, at: Nanos) -> int:
        """The id of the last change of the book before ``at``."""

    @abstractmethod
    def book(self, symbol: str, update: int) -> tuple[Levels, Levels]:
        """Bids and asks as change ``update`` left them."""

    @abstractmethod
    def changes(self, symbol: str, before: int, after: int) -> tuple[Levels, Levels]:
        """The levels that any change after ``before`` touched, as ``after`` left them; 0 where one went."""

    @abstractmethod
    def span(self, symbol: str, start: Nanos, end: Nanos) -> Span:
        """What happened from ``start`` to before ``end``."""

    def recorded(self, request: str) -> bytes | None:
        """The recorded answer to a request, by its ``key``."""
        return None


@frozen
class Request:
    """A REST request; ``query`` is decoded, header names are lower-case; ``body`` is what was posted."""

    method: str
    path: str
    query: Mapping[str, str] = field(factory=dict)
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""


@frozen
class Answer:
    """What to send back."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class Recorded:
    """A recorded frame, or a REST body (then ``stream`` is None).

    Attributes:
        stream: the subscription that it belongs to; empty where that cannot be told: everybody gets it, as it came.
        data: the frame without any envelope.
        prints: the trades in it, each with its symbol in the unified spelling.
        quote: the best prices in it, with their symbol.
    """

    stream: str | None
    data: bytes
    prints: Sequence[tuple[str, Print]] = ()
    quote: tuple[str, Quote] | None = None


class Hangup(Exception):
    """The exchange closes this connection, with a close code and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Session(ABC):
    """One WebSocket connection: what it is subscribed to, and how it wants its frames."""

    binary: ClassVar[bool] = False
    """Whether frames are sent as binary ones, ``packed``."""

    @abstractmethod
    def received(self, text: str, now: Nanos) -> Sequence[bytes]:
        """The replies to one message of the client.

        Raises:
            Hangup: the exchange would close the connection for it.
        """

    @abstractmethod
    def frames(self, start: Nanos, end: Nanos) -> list[bytes]:
        """What the subscribed streams say from ``start`` to before ``end``, by the exchange's time.

        Raises:
            Hangup: the exchange would close the connection, for a heartbeat that the client owes.
        """

    @property
    @abstractmethod
    def subscribed(self) -> bool:
        """Whether it is subscribed to anything."""

    @abstractmethod
    def unknown(self, now: Nanos) -> bytes:
        """A frame of a kind that nobody has seen yet."""

    def played(self, stream: str, data: bytes) -> bytes | None:
        """A recorded frame as this connection wants it, None if it is not subscribed to the stream."""
        return None

    def packed(self, frame: bytes) -> bytes:
        """A frame as it is sent, where the exchange sends ``binary`` ones."""
        return frame

    def farewell(self, now: Nanos) -> bytes | None:
        """The announcement of a planned shutdown, where the exchange makes one."""
        return None


class Dialect(ABC):
    """One exchange's language."""

    name: ClassVar[str]
    ping_every: ClassVar[float] = 20.0
    """Seconds between the server's ping frames."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @classmethod
    @abstractmethod
    def lists(cls, symbol: str) -> bool:
        """Whether this exchange could list a symbol."""

    @abstractmethod
    def answer(self, request: Request, now: Nanos) -> Answer:
        """The answer to a REST request."""

    @abstractmethod
    def refusal(self, status: int, retry_after: float | None, now: Nanos) -> Answer:
        """The error that the exchange answers with ``status``, with its ``Retry-After`` in seconds."""

    @abstractmethod
    def session(self, target: str) -> Session | None:
        """A new connection to this path and query; None where there is nothing to connect to."""

    @staticmethod
    @abstractmethod
    def trade(frame: bytes) -> tuple[str, int] | None:
        """The symbol and id of the trade in a frame that this dialect made, None where it is another kind."""

    @staticmethod
    def recorded(url: str, payload: bytes) -> Recorded | None:
        """What a recorded frame or REST body is; None for acknowledgements and the like, which are not played.

        Raises:
            SettingsError: recordings of this exchange cannot be played.
        """
        raise SettingsError("--capture: recordings of this exchange cannot be played")


def key(path: str, query: Mapping[str, str]) -> str:
    """What names a request, whatever the order of its parameters."""
    return f"{path}?{'&'.join(f'{name}={value}' for name, value in sorted(query.items()))}"


def names() -> list[str]:
    """The exchanges that can be simulated, none of them imported."""
    folders = [f"{folder}/dialects" for folder in __path__]
    return sorted(module.name for module in pkgutil.iter_modules(folders) if module.name[0] != "_")


def load(name: str) -> type[Dialect]:
    """The dialect of an exchange.

    Raises:
        SettingsError: there is no such exchange here.
    """
    if name not in names():
        raise SettingsError(f"the built-in exchange cannot play {name!r}; {nearest(name, names())}")
    dialect: type[Dialect] = importlib.import_module(f"{__name__}.dialects.{name}").Dialect
    return dialect


def nearest(word: str, good: Sequence[str]) -> str:
    """``did you mean …?`` where something is near, else all the good words."""
    close = difflib.get_close_matches(word, good, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(good)}"
