"""The words that adapters and their owners speak: what is wanted, what is to be done, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from attrs import field, frozen

from trioagg.model import Channel, Event, Instrument, Nanos


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
        lifetime: seconds after which a connection is replaced, since the exchange closes it soon after; None for never.
    """

    streams: int = 1024
    sends: float = 5
    weight: int = 1200
    window: float = 60
    used_header: str = ""
    cooldown: Mapping[int, float] = field(factory=lambda: {429: 10.0, 418: 120.0, 403: 60.0})
    lifetime: float | None = None


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
    """The exchange announced that it will close this connection: open its successor, then end it."""

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


@frozen
class Lost:
    """Something of any channel was lost on this connection, between what was told before this and what comes after."""


Action = Connect | Send | Fetch | Ack | Refused | Retire | Missed | Lost
Output = Event | Action


@frozen
class Daily:
    """The last price and the 24 hours' volume of one symbol, as REST told them at ``at``."""

    last: Decimal
    volume: Decimal
    at: Nanos


@frozen
class Hole:
    """Trades of one market that are missing: what REST is to be asked for.

    Attributes:
        symbol, native: the market, in our spelling and in the exchange's, which may have two of one spelling.
        first, last: the ids, inclusive; None where the exchange does not count them.
        since, until: the exchange's times of the trades on both sides of it, nanoseconds UTC; others may share them.
    """

    symbol: str
    native: str
    first: int | None
    last: int | None
    since: Nanos
    until: Nanos


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

    def symbols(self, channel: Channel) -> tuple[str, ...]:
        """The markets that are subscribed to on a channel."""
        return tuple(item.symbol for item in self.subscriptions if item.channel is channel)
