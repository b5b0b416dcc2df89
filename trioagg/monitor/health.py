"""Which of the feeds that a run was told to hold are live, and which streams are silent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from attrs import frozen

from trioagg.exchanges import Subscription
from trioagg.integrity.pulse import Pulse
from trioagg.model import CHANNELS, Channel, Nanos
from trioagg.monitor.metrics import SECOND, Connection, Metrics, Plan

RARE = {Channel.LIQUIDATIONS}
"""Channels whose silence says nothing."""
BEATS = 3
"""Polls in a row that may fail."""
NAMED = 10
"""Symbols that are named at the most."""


@frozen
class Trouble:
    """A feed that is not live.

    Attributes:
        channel: None where it is all of the exchange.
        reason: why, in a few words.
        symbols: whose; empty where it is all of the channel.
    """

    exchange: str
    channel: Channel | None
    reason: str
    symbols: tuple[str, ...] = ()


@frozen
class Silence:
    """A stream of an open connection that brings nothing, or nothing for longer than its past explains.

    Attributes:
        since: seconds; None where it never brought anything on this connection.
    """

    exchange: str
    symbol: str
    channel: Channel
    since: float | None


def troubles(metrics: Metrics, exchanges: Sequence[str], *, stall: float, now: Nanos) -> list[Trouble]:
    """The feeds that are not live: a connection is lacking or has brought nothing, a poll fails.

    Args:
        exchanges: those that are configured.
        stall: seconds that a poll may be late.
        now: our time, nanoseconds UTC.
    """
    found: list[Trouble] = []
    for exchange in exchanges:
        plan = metrics.plans.get(exchange)
        if plan is None:
            found.append(Trouble(exchange, None, "not started"))
        elif not (plan.streamed or plan.polled):
            found.append(Trouble(exchange, None, "none of the symbols or channels is there"))
        else:
            found += _unconnected(metrics, exchange, plan)
            found += _unheard(metrics, exchange, plan.streamed)
            silent = unpolled(metrics, exchange, stall=stall, now=now)
            found += [Trouble(exchange, channel, "polls bring nothing") for channel in silent]
    return found


def carried(metrics: Metrics, exchange: str) -> AbstractSet[Subscription]:
    """What an open connection is to bring that has brought something."""
    return {item for one in carriers(metrics, exchange) for item in one.subscriptions}


def carriers(metrics: Metrics, exchange: str) -> list[Connection]:
    """The open connections of an exchange that have brought something; of what is rare, none is needed."""
    found = (one for connections in metrics.of(exchange).values() for one in connections)
    return [one for one in found if one.carrier and _live(one, one.carrier.pulse)]


def unpolled(metrics: Metrics, exchange: str, *, stall: float, now: Nanos) -> list[Channel]:
    """The channels that polls alone bring, and that have not brought anything for too long."""
    plan = metrics.plans[exchange]
    since = now - round((BEATS * plan.period + stall) * SECOND)
    channels = sorted({item.channel for item in plan.polled})
    return [channel for channel in channels if (heard_of(metrics, exchange, channel) or 0) < since]


def silences(metrics: Metrics, exchange: str, *, stall: float, now: float) -> list[Silence]:
    """The silent streams of an exchange's open connections.

    Args:
        stall: seconds of silence that are never strange.
        now: by the clock of the pulses, seconds.
    """
    return [
        silence
        for connections in metrics.of(exchange).values()
        for one in connections
        if one.carrier
        for silence in _silent(one, one.carrier.pulse, stall, now)
    ]


def heard_of(metrics: Metrics, exchange: str, channel: Channel) -> Nanos | None:
    """When a channel brought something last, nanoseconds UTC."""
    times = [at for kind, at in metrics.heard[exchange].items() if CHANNELS.get(kind) is channel]
    return max(times, default=None)


def _unconnected(metrics: Metrics, exchange: str, plan: Plan) -> Iterable[Trouble]:
    there, lacking = carried(metrics, exchange), dict[Channel, list[str]]()
    for item in plan.streamed:
        if item not in there:
            lacking.setdefault(item.channel, []).append(item.symbol)
    for channel, symbols in lacking.items():
        yield Trouble(exchange, channel, "no connection brings it", tuple(symbols[:NAMED]))


def _unheard(metrics: Metrics, exchange: str, streamed: Sequence[Subscription]) -> Iterable[Trouble]:
    for channel in sorted({item.channel for item in streamed} - RARE):
        if heard_of(metrics, exchange, channel) is None:
            yield Trouble(exchange, channel, "nothing has come yet")


def _live(connection: Connection, pulse: Pulse) -> bool:
    """Whether it has brought anything."""
    if all(item.channel in RARE for item in connection.subscriptions):
        return True
    return any(heard.first for heard in pulse.streams().values())


def _silent(connection: Connection, pulse: Pulse, stall: float, now: float) -> Iterable[Silence]:
    brought = {(symbol, CHANNELS[kind]) for (symbol, kind), heard in pulse.streams().items() if heard.first}
    for item in connection.subscriptions:
        if item.channel not in RARE and (item.symbol, item.channel) not in brought:
            yield Silence(connection.session.exchange, item.symbol, item.channel, None)
    for symbol, kind in pulse.strange(now, stall):
        since = now - pulse.streams()[symbol, kind].rhythm.last
        yield Silence(connection.session.exchange, symbol, CHANNELS[kind], since)
