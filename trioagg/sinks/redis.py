"""``redis://[user:password@]host[:port][/db]?option=value``: the newest rows, bounded streams, and pub/sub.

A batch is one transaction, so that all of it is there or none. An event that a stream holds already, by the ids that
are kept beside it, is not added again. Keys and options are in ``docs/sinks.md``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from typing import Any, Protocol

import msgspec
import redis
from attrs import frozen
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from trioagg.errors import SettingsError, SinkError, StoreError
from trioagg.model import Event, Instrument
from trioagg.settings import number, word
from trioagg.sinks._address import Address, address, option, options, switch
from trioagg.sinks._threaded import Threaded, threaded
from trioagg.store import Counts, Texts, Told, encodable, instrument

EXAMPLE = "redis://host:6379/0"

LATEST = {"ticker", "trades"}
"""Kinds whose newest row of a market is in a hash."""

PASSING = ("OOM", "READONLY", "LOADING", "BUSY", "MASTERDOWN", "NOREPLICAS", "MISCONF", "EXECABORT", "TRYAGAIN")
"""How answers begin that may be another at the next try."""

SCRIPT = """
local seen, stream, latest = KEYS[1], KEYS[2], KEYS[3]
local most, streaming, channel = tonumber(ARGV[1]), ARGV[2] == 'yes', ARGV[3]
local moment, cells = ARGV[4], tonumber(ARGV[5])
if cells > 0 then
    local old = redis.call('HGET', latest, 'timestamp') or redis.call('HGET', latest, 'received') or ''
    if #moment > #old or (#moment == #old and moment >= old) then
        redis.call('DEL', latest)
        redis.call('HSET', latest, unpack(ARGV, 6, 5 + cells))
    end
end
local clock = redis.call('TIME')
local now = clock[1] .. string.format('%06d', clock[2])
local added = 0
for _, event in ipairs(cmsgpack.unpack(ARGV[6 + cells])) do
    if redis.call('ZADD', seen, 'NX', now, event[1]) == 1 then
        added = added + 1
        if streaming then redis.call('XADD', stream, '*', unpack(event[3])) end
        if channel ~= '' then redis.call('PUBLISH', channel, event[2]) end
    end
end
redis.call('ZREMRANGEBYRANK', seen, 0, -most - 1)
if streaming then redis.call('XTRIM', stream, 'MAXLEN', most) end
return added
"""
"""Takes the events of one kind and market, packed: id, JSON, names and cells as text; tells how many were new.

Packed, since the client takes ten times as long for as many arguments.
"""


@frozen
class Options:
    """What the query may say."""

    prefix: str = option(word, "trioagg")
    latest: bool = option(switch, default=True)
    streams: bool = option(switch, default=True)
    publish: bool = option(switch, default=True)
    maxlen: int = option(number(int, least=1, most=10_000_000), 10_000)
    timeout: float = option(number(float, least=0.1, most=60), 5.0)
    tls: bool = option(switch, default=False)


class Server(Protocol):
    """As much of a client as is used here."""

    def pipeline(self, *, transaction: bool) -> Any:
        """A transaction to fill and execute."""
        ...

    def close(self) -> None:
        """Let the connections go."""
        ...


class RedisDriver:
    """One connection to one server."""

    def __init__(self, client: Server, shown: str, chosen: Options) -> None:
        self._client = client
        self._shown = shown
        self._options = chosen
        self._texts = Texts()

    def write(self, batch: Sequence[Event], /) -> Counts:
        """See ``Sink.write``; counts what was not among the last ``maxlen`` of its stream."""
        told, met = self._texts.of(batch)
        groups: dict[tuple[str, str, str], list[Told]] = {}
        for text in told:
            groups.setdefault((text.kind, text.exchange, text.symbol), []).append(text)
        added = self._transact([self._group(group) for group in groups.values()])
        self._texts.keep(met)
        bad = sum(len(group) for (kind, *_), group in groups.items() if kind == "quarantine")
        stored = sum(new for (kind, *_), new in zip(groups, added, strict=True) if kind != "quarantine")
        return Counts(stored, len(batch) - bad - stored, bad)

    def describe(self, instruments: Sequence[Instrument], /) -> None:
        """See ``Sink.describe``."""
        rows = map(instrument, instruments)
        self._transact(
            [("HSET", self._key("instrument", row["exchange"], row["symbol"]), *_cells(row)) for row in rows]
        )

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()

    def _group(self, group: Sequence[Told]) -> tuple[Any, ...]:
        """The command that takes events of one kind and market."""
        chosen, first = self._options, group[0]
        place = [first.kind, first.exchange, *([first.symbol] if first.symbol else [])]
        keys = [self._key(use, *place) for use in ("seen", "stream", "latest")]
        newest = max(reversed(group), key=lambda text: text.moment)  # of equal ones the last
        kept = _cells(newest.row) if chosen.latest and first.kind in LATEST else []
        told = group if chosen.streams or chosen.publish else []
        head = (chosen.maxlen, "yes" if chosen.streams else "no", self._key(*place) if chosen.publish else "")
        events = msgspec.msgpack.encode([_event(text, publish=chosen.publish) for text in told])
        return ("EVAL", SCRIPT, len(keys), *keys, *head, newest.moment, len(kept), *kept, events)

    def _key(self, *parts: str) -> str:
        return ":".join((self._options.prefix, *parts))

    def _transact(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        with self._translated():
            pipe = self._client.pipeline(transaction=True)
            for command in commands:
                pipe.execute_command(*command)
            answers: list[Any] = pipe.execute(raise_on_error=False)
            for error in [answer for answer in answers if isinstance(answer, exceptions.RedisError)]:
                raise error
        return answers

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The library's errors as ours."""
        try:
            yield
        except exceptions.AuthenticationError:
            raise StoreError(f"{self._shown}: it refuses the name and password") from None
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            raise SinkError(f"{self._shown}: {_line(error)}") from None
        except exceptions.ResponseError as error:
            kind = SinkError if _line(error).startswith(PASSING) else StoreError
            raise kind(f"{self._shown}: {_line(error)}") from None


def connect(url: str) -> AbstractAsyncContextManager[Threaded]:
    """A sink by its URL; a server that cannot be reached is told by the first write.

    Raises:
        SettingsError: something in the URL is wrong.
    """
    place, chosen = address(url, EXAMPLE, 6379, os.environ), options(Options, url)
    db = place.path or "0"
    if len(place.hosts) != 1 or not db.isdecimal():
        raise SettingsError(f"bad value {place.shown!r}: must look like {EXAMPLE}")
    return threaded(partial(RedisDriver, _client(place, int(db), chosen), place.shown, chosen))


def _client(place: Address, db: int, chosen: Options) -> redis.Redis:
    host, _, port = place.hosts[0].rpartition(":")
    return redis.Redis(
        host.strip("[]"),
        int(port),
        db,
        username=place.user,
        password=place.password,
        ssl=chosen.tls,
        socket_timeout=chosen.timeout,
        socket_connect_timeout=chosen.timeout,
        retry=Retry(NoBackoff(), 0),  # whoever offers the batch waits, tells of it, and offers it again
        client_name="trioagg",
    )


def _event(text: Told, *, publish: bool) -> tuple[str, str, list[str]]:
    """An event for the script, which unpacks text and no bytes."""
    row = encodable(text.row)
    return text.id, msgspec.json.encode(row).decode() if publish else "", list(map(str, _cells(row)))


def _cells(row: dict[str, Any]) -> list[Any]:
    """Names and values, one after the other, without what is not known."""
    return [part for name, cell in row.items() if cell is not None for part in (name, cell)]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
