"""The built-in exchange as a server: one port for REST and WebSockets, whatever exchanges it plays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import h11
import trio
from attrs import evolve, frozen

from trioagg.errors import SettingsError
from trioagg.model import Nanos
from trioagg.simulator import Answer, Request, Source, http, load, nearest, websocket
from trioagg.simulator.faults import Faults, Statistics
from trioagg.simulator.feeds import Tape
from trioagg.simulator.house import Deck, House
from trioagg.simulator.market import Market
from trioagg.simulator.pairs import listed
from trioagg.simulator.recording import Recording
from trioagg.simulator.wire import reset

RATE, FASTEST = 100.0, 1e9
"""Messages per second: where nothing else is asked for, and at most."""


@frozen
class Urls:
    """Where an exchange is, and what it did so far.

    Attributes:
        begin: lets the times of faults that are ``held`` count from now, nanoseconds UTC.
    """

    rest: str
    ws: str
    statistics: Statistics
    begin: Callable[[], Nanos]


Started = Mapping[str, Urls]
"""Exchange → its addresses."""


async def serve(
    *,
    exchanges: Sequence[str] = ("binance",),
    symbols: Sequence[str] = (),
    rate: float | None = None,
    seed: int = 0,
    faults: Sequence[str] = (),
    held: bool = False,
    capture: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Play exchanges until cancelled; ``await nursery.start(serve)`` gives their addresses.

    One exchange has no path before its own; several have ``/NAME``, which is always understood.

    Args:
        symbols: those that trade, unified spelling; a handful if empty.
        rate: messages per second of each exchange in all; 100 if None, or a capture's own pace.
        seed: what the market and the faults follow from.
        faults: specifications, see ``faults``.
        held: whether the times of faults stand at 0 until ``Urls.begin``.
        capture: a recording to play instead of a made-up market.
        port: 0 for any that is free.

    Raises:
        SettingsError: an exchange, symbol, rate, fault or capture cannot be.
        OSError: the address cannot be had.
    """
    _check(exchanges, symbols)
    played = partial(_house, symbols=symbols, rate=rate, seed=seed, specs=faults, capture=capture)
    houses = {name: await played(name) for name in exchanges}
    listeners = await trio.open_tcp_listeners(port, host=host)
    address = listeners[0].socket.getsockname()
    urls = {
        name: _urls(f"{_host(host)}:{address[1]}{f'/{name}' if len(houses) > 1 else ''}", house)
        for name, house in houses.items()
    }
    async with trio.open_nursery() as nursery:
        for house in houses.values():
            nursery.start_soon(house.run)
            if not held:
                house.begin()
        nursery.start_soon(trio.serve_listeners, partial(_client, houses), listeners)
        task_status.started(urls)


def _check(exchanges: Sequence[str], symbols: Sequence[str]) -> None:
    """Refuse a symbol that none of the exchanges could list."""
    dialects = [load(name) for name in exchanges]
    for symbol in symbols:
        if not any(dialect.lists(symbol) for dialect in dialects):
            good = [known for known in listed() if any(dialect.lists(known) for dialect in dialects)]
            raise SettingsError(f"symbol {symbol!r} is none that {', '.join(exchanges)} lists; {nearest(symbol, good)}")


def _urls(place: str, house: House) -> Urls:
    return Urls(f"http://{place}", f"ws://{place}", house.statistics, house.begin)


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _house(
    name: str, *, symbols: Sequence[str], rate: float | None, seed: int, specs: Sequence[str], capture: str | None
) -> House:
    dialect, statistics = load(name), Statistics()
    if rate is not None and not 0 < rate <= FASTEST:
        raise SettingsError(f"rate {rate!r} is not between 0 and {FASTEST:.0f} messages per second")
    ours = [symbol for symbol in symbols if dialect.lists(symbol)]
    faults = Faults(specs, seed=seed, statistics=statistics, trade=dialect.trade)
    if capture is None:
        pace = RATE if rate is None else rate
        source: Source = Market(seed=seed, symbols=ours, rate=pace, lists=dialect.lists)
        return House(dialect(source), faults, statistics)
    read = partial(Recording, capture, name, dialect.recorded)
    recording = await trio.to_thread.run_sync(read, abandon_on_cancel=True)
    return House(dialect(recording), faults, statistics, Deck(recording, Tape(), rate))


async def _client(houses: Mapping[str, House], stream: trio.SocketStream) -> None:
    """One TCP connection. Whatever its client does wrong ends it, and nothing else."""
    first = next(iter(houses.values()))
    if first.faults.refusing(first.age()):
        return await reset(stream)
    async with stream:
        await trio.sleep(max(house.cut_off() for house in houses.values()))
        try:
            await http.converse(stream, partial(_answer, houses), partial(_upgrade, houses, stream))
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            return None


def _find(houses: Mapping[str, House], target: str) -> tuple[House | None, str]:
    """The exchange that a path means, and the rest of the path."""
    name, _, rest = target.removeprefix("/").partition("/")
    if name in houses:
        return houses[name], f"/{rest}"
    return (next(iter(houses.values())) if len(houses) == 1 else None), target


def _answer(houses: Mapping[str, House], request: Request) -> Answer:
    house, path = _find(houses, request.path)
    if house is None:
        return Answer(b'{"error":"no such exchange"}', 404)
    return house.answer(evolve(request, path=path))


async def _upgrade(houses: Mapping[str, House], stream: trio.SocketStream, target: str, early: bytes) -> None:
    house, rest = _find(houses, target)
    if house is not None:
        await websocket.converse(house, stream, rest, early)
