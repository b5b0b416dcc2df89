"""Whether a run would go well: every part that it stands on, looked at by itself, at the same time, and briefly."""

from __future__ import annotations

import platform
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import trio

from trioagg import __version__, sinks
from trioagg.errors import LinkError, SettingsError, StoreError, TrioaggError, bare
from trioagg.exchanges import GARBLED, Action, Exchange, Feed, Fetch, Subscription, load, reason
from trioagg.integrity.ledger import Ledger
from trioagg.monitor.metrics import SECOND
from trioagg.pipeline.clocks import offset
from trioagg.pipeline.rest import Rest, rest_of
from trioagg.pipeline.simulated import simulated
from trioagg.pipeline.space import MEGABYTE, disk
from trioagg.pipeline.stream import address
from trioagg.settings import SECTIONS, Retry, Settings, Store, Values, redacted
from trioagg.store import database
from trioagg.store.fitness import SQLITE, committed, private
from trioagg.transport import websocket
from trioagg.transport.clock import Stamps
from trioagg.transport.http import Http, open_http
from trioagg.views.findings import Finding

PATIENCE = 12.0
"""Seconds that one look may take."""
TIMEOUT = 5.0
"""Seconds that an exchange has for an answer, and for a handshake."""
SLUGGISH = 0.25
"""Seconds for one durable write, above which a busy market makes the store late."""

EXTRAS = {
    "charts": ("matplotlib", "charts as PNG"),
    "kafka": ("confluent_kafka", "the sink kafka://"),
    "mysql": ("pymysql", "the sink mysql://"),
    "parquet": ("pyarrow", "the sink parquet:// and exports to Parquet"),
    "postgres": ("psycopg", "the sink postgresql://"),
    "redis": ("redis", "the sink redis://"),
}
"""Extra → what it brings, and what for."""
LIBRARIES = ("trio", "trio-websocket", "wsproto", "httpx", "msgspec", "pandas")

CURES = (
    ("ame not found", "is there a network, and a name server? Behind a proxy, set HTTPS_PROXY"),
    ("ame or service not known", "is there a network, and a name server? WebSockets go through no proxy"),
    ("certificate", "somebody stands between; if that is your own proxy, name its authority in SSL_CERT_FILE"),
    ("refused", "nobody listens there: look at rest_url and ws_url of [exchange:{}]"),
    ("answered 403", "the exchange turns this place or address away: another way out, or HTTPS_PROXY"),
    ("answered 451", "the exchange turns this country away: another way out, or HTTPS_PROXY"),
    ("answered 429", "asked too often from this address: wait, and stop what else asks it"),
    ("answered 418", "banned for a while: wait, and stop what else asks it"),
)
"""What a reason says → what helps."""
OTHERWISE = "is the network there, and is the exchange up? `trioagg run --simulated` needs neither"

NOTHING = Ledger(lambda exchange: False, cause="", first_cause="").draft(())

Look = Callable[[], Awaitable[Finding]]


async def examine(settings: Settings, told: Values, *, offline: bool) -> list[Finding]:
    """Everything, in an order that does not depend on who answers first.

    Args:
        told: the texts of the settings that are no defaults, and where they stand.
        offline: the built-in exchange in the place of the real ones.
    """
    found = [*_program(), *_extras(), *_settings(told)]
    with bare():
        async with trio.open_nursery() as nursery, open_http(timeout=TIMEOUT) as http:
            there = await simulated(nursery, settings) if offline else settings
            found += await _together([*_places(there), *_far_ends(there, http)])
            nursery.cancel_scope.cancel()
    return found


async def _together(looks: Sequence[tuple[str, str, Look]]) -> list[Finding]:
    """Each look by itself, so that none waits for another or for ever."""
    found = dict[int, Finding]()

    async def one(number: int, about: str, what: str, look: Look) -> None:
        with trio.move_on_after(PATIENCE):
            found[number] = await look()
        if number not in found:
            found[number] = Finding(about, what, "wrong", f"no answer in {PATIENCE:g} s", OTHERWISE)

    async with trio.open_nursery() as nursery:
        for number, (about, what, look) in enumerate(looks):
            nursery.start_soon(one, number, about, what, look, name=f"{about} {what}")
    return [found[number] for number in range(len(looks))]


def _program() -> Iterator[Finding]:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    yield Finding("trioagg", "version", "told", f"{__version__} on Python {platform.python_version()}")
    yield Finding("trioagg", "libraries", "told", f"SQLite {SQLITE}, {versions}")


def _extras() -> Iterator[Finding]:
    for extra, (module, purpose) in EXTRAS.items():
        there = "there" if find_spec(module) else f"not there, pip install 'trioagg[{extra}]'"
        yield Finding("extra", extra, "told", f"{purpose}: {there}")


def _settings(told: Values) -> Iterator[Finding]:
    for section, keys in told.items():
        for key, (text, where) in keys.items():
            shown = ", ".join(redacted(word) if "/" in word and ":" in word else word for word in text.split(", "))
            yield Finding("settings", f"{section} {key}", "told", f"{shown} (by {where})")
    if not any(told.values()):
        yield Finding("settings", ", ".join(SECTIONS), "told", "the defaults")


def _places(settings: Settings) -> Iterator[tuple[str, str, Look]]:
    path = Path(settings.run.database)
    folder = path.absolute().parent
    yield "disk", "room", partial(_room, folder, settings.run.min_free_disk)
    yield "disk", "durable writes", partial(_durable, folder)
    yield "database", str(path), partial(_database, path)
    for store in settings.stores:
        yield "sink", store.name, partial(_sink, store)


def _far_ends(settings: Settings, http: Http) -> Iterator[tuple[str, str, Look]]:
    for name in settings.exchanges:
        adapter, venue = load(name), settings.venue(name)
        rest = rest_of(adapter, venue, Retry(attempts=1), http=http, stamps=Stamps())
        yield name, "REST and clock", partial(_rest, rest, settings.run.max_skew)
        if feed := _feed(adapter, settings):
            yield name, "WebSocket", partial(_socket, adapter(feed), rest, venue.ws_url or "")


async def _room(folder: Path, least: float) -> Finding:
    try:
        there = await trio.to_thread.run_sync(disk, folder, abandon_on_cancel=True) / MEGABYTE
    except OSError as error:
        return Finding("disk", "room", "wrong", f"{folder}: {error.strerror}", "make that folder")
    cure = "make room, or lower min_free_disk" if there < least else ""
    return Finding("disk", "room", "wrong" if cure else "well", f"{there:.0f} MB free, {least:g} wanted", cure)


async def _durable(folder: Path) -> Finding:
    try:
        seconds = await trio.to_thread.run_sync(committed, folder, abandon_on_cancel=True)
    except StoreError as error:
        return Finding("disk", "durable writes", "wrong", str(error), "choose a database on a local disk of your own")
    cure = "choose a faster disk, or raise commit_delay" if seconds > SLUGGISH else ""
    return Finding("disk", "durable writes", "wrong" if cure else "well", f"{seconds * 1000:.1f} ms each", cure)


async def _database(path: Path) -> Finding:
    return await trio.to_thread.run_sync(_looked_at, path, abandon_on_cancel=True)


def _looked_at(path: Path) -> Finding:
    say = partial(Finding, "database", str(path))
    if not path.exists():
        return say("well", "not there yet: a run makes it")
    try:
        with database(path):
            size = path.stat().st_size / MEGABYTE
    except StoreError as error:
        return say("wrong", str(error), "move it away, or name another one with --database")
    if not private(path):
        return say("wrong", "others on this machine may read it", f"chmod 600 {path}*")
    return say("well", f"{size:.1f} MB")


async def _sink(store: Store) -> Finding:
    say = partial(Finding, "sink", store.name)
    try:
        opening = await trio.to_thread.run_sync(sinks.connect, store.url)  # its library may take seconds to be read
        async with opening as sink:
            await sink.write((), NOTHING)
    except TrioaggError as error:
        cure = "is it up, and may we in? Until then a run keeps in its spool what this store lacks"
        return say("wrong", str(error), "mend its URL" if isinstance(error, SettingsError) else cure)
    return say("well", "takes what it is given")


async def _rest(rest: Rest, skew: float) -> Finding:
    name = rest.adapter.name
    say = partial(Finding, name, "REST and clock")
    try:
        measured = await offset(rest.adapter, rest, Stamps())
        if measured is None:
            await rest.ask(next(iter(rest.adapter.listing())), attempts=1)
            return say("well", "answers; it does not tell its time")
    except LinkError as error:
        return say("wrong", str(error), _cure(name, str(error)))
    except GARBLED as error:
        return say("wrong", f"its time cannot be understood: {reason(error)}", _cure(name, ""))
    off, uncertainty = measured
    found = f"answers; its clock is {off / SECOND:+.3f} s from ours, give or take {uncertainty / SECOND:.3f}"
    wrong = abs(off) - uncertainty > skew * SECOND
    return say("wrong", found, "set this machine's clock, and keep it by NTP") if wrong else say("well", found)


async def _socket(adapter: Exchange, rest: Rest, ws_url: str) -> Finding:
    say = partial(Finding, adapter.name, "WebSocket")
    timing = websocket.Timing(connect=TIMEOUT, close=1)

    async def converse(fetch: Fetch) -> Sequence[Action]:
        answer = await rest.ask(fetch, attempts=1)
        return cast("list[Action]", adapter.answered(fetch, answer.payload, answer.received))

    try:
        url = await address(adapter, ws_url, converse)
        async with websocket.connect(url, stamps=Stamps(), timing=timing):
            return say("well", "opens")
    except LinkError as error:
        return say("wrong", str(error), _cure(adapter.name, str(error)))


def _feed(adapter: type[Exchange], settings: Settings) -> Feed | None:
    """One connection's worth of what is wanted, spelled by rule; None where nothing of it is streamed."""
    wanted = [
        Subscription(symbol, channel, adapter.native(symbol))
        for symbol in settings.run.symbols
        for channel in settings.run.channels
        if channel in adapter.streamed
    ]
    return Feed(adapter.connections(wanted)[0]) if wanted else None


def _cure(name: str, told: str) -> str:
    return next((cure.format(name) for words, cure in CURES if words in told), OTHERWISE)
