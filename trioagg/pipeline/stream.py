"""A stream: one WebSocket connection and the adapter that lives exactly as long."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import structlog
import trio
from attrs import frozen
from msgspec.structs import replace

from trioagg.errors import LinkError, first
from trioagg.exchanges import Ack, Action, Connect, Exchange, Feed, Fetch, Missed, Refused, Retire, Send, counts
from trioagg.integrity.ledger import DISCONNECTED
from trioagg.integrity.pulse import Key
from trioagg.model import CHANNELS, Broken, Carried, Channel, Note, Session, Trade
from trioagg.pipeline.heap import Heap
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.lead import Leg
from trioagg.pipeline.rest import Rest
from trioagg.pipeline.watch import Probe, Questions, Watch
from trioagg.transport import websocket
from trioagg.transport.clock import Stamps

log = structlog.get_logger(__name__)

UNSENT = 1000
"""Messages to the exchange that may wait for their turn."""


@frozen
class Stream:
    """What it takes to hold one connection.

    Attributes:
        adapter: its class.
        feed: what to subscribe to.
        ws_url: the user's address, in place of the exchange's own; empty for that.
        name: which of the exchange's connections, ``ws-1``, or ``ws-1b`` beside it.
        stall_timeout: seconds without an event before the connection, or one stream of it, is doubted.
        intake: the door for a connection that runs alone.
        questions: about silent streams; shared by all connections of the exchange.
        heap: of what means nothing; shared in the same way.
    """

    adapter: type[Exchange]
    feed: Feed
    ws_url: str
    name: str
    stall_timeout: float
    rest: Rest
    intake: Intake
    stamps: Stamps
    questions: Questions
    heap: Heap

    async def live(self, leg: Leg) -> None:
        """One connection from its first step to its end.

        Raises:
            LinkError: it ended, or never came to be.
        """
        adapter = self.adapter(self.feed)
        url = await address(adapter, self.ws_url, lambda fetch: self.rest.converse(adapter, fetch, leg.intake))
        async with (
            websocket.connect(url, stamps=self.stamps) as socket,
            self._session(leg),
            trio.open_nursery() as nursery,
        ):
            leg.open(counted=counts(self.adapter.name))
            log.info("connected", streams=len(self.feed.subscriptions))
            outbox, unsent = trio.open_memory_channel[str](UNSENT)
            nursery.start_soon(_send, socket, unsent, 1 / adapter.limits.sends)
            if adapter.heartbeat:
                nursery.start_soon(_beat, outbox, adapter.heartbeat.every, adapter.heartbeat.text)
            watch = Watch(leg.pulse, self._probe(), self.stall_timeout, self.intake)
            nursery.start_soon(watch.connection)
            nursery.start_soon(watch.streams)
            connection = _Connection(self, leg, adapter, url, outbox, nursery)
            connection.act(adapter.opened())
            await connection.read(socket)

    def brings(self, key: Key) -> bool:
        """Whether it is subscribed to what brings such events."""
        symbol, kind = key
        return any((item.symbol, item.channel) == (symbol, CHANNELS[kind]) for item in self.feed.subscriptions)

    def _probe(self) -> Probe:
        return Probe(self.adapter, self.feed, self.rest, self.stamps, self.questions)

    @asynccontextmanager
    async def _session(self, leg: Leg) -> AsyncIterator[None]:
        """Tell the ledger when the connection begins and ends, why, and what it lacked."""
        name, trades = self.adapter.name, self.feed.symbols(Channel.TRADES)
        life = Session(name, self.name, len(self.feed.subscriptions), self.stamps.take(), None, "")
        self.intake.note([life, Carried(name, trades, life.opened)])
        if self.intake.metrics:
            self.intake.metrics.carries(life, self.feed.subscriptions, leg)
        reason = "stopped"
        try:
            yield
        except BaseException as error:
            reason = _reason(error, leg)
            raise
        finally:
            leg.lost()
            missed = leg.misses.count if leg.misses else None
            end = replace(life, closed=self.stamps.take(), reason=reason, missed=missed)
            self.intake.note([end, *self._torn(leg)])

    def _torn(self, leg: Leg) -> list[Note]:
        """Which markets' trades nobody brings now that a connection has ended: of one handed over, those given up."""
        ended = [key for key in self._trades() if not leg.lead.brings(key)]
        torn = [symbol for symbol, kind in ended if leg.kept((symbol, kind)) and not leg.scope.cancel_called]
        given_up = [symbol for symbol, kind in ended if not leg.kept((symbol, kind))]
        causes = {DISCONNECTED: torn, "not subscribed": given_up}
        at = self.stamps.take()
        return [Broken(self.adapter.name, tuple(those), cause, at) for cause, those in causes.items() if those]

    def _trades(self) -> Sequence[Key]:
        return [(symbol, Trade) for symbol in self.feed.symbols(Channel.TRADES)]


async def address(adapter: Exchange, ws_url: str, converse: Callable[[Fetch], Awaitable[Iterable[Action]]]) -> str:
    """Where an adapter wants to be connected to, which it may have to ask for.

    Args:
        ws_url: the user's address, in place of the exchange's own; empty for that.
        converse: asks REST, and gives what the adapter wants done then.

    Raises:
        LinkError: it cannot be asked for now, or the exchange names none that is encrypted.
    """
    todo = deque(adapter.begin())
    while todo:
        match todo.popleft():
            case Connect(path, host):
                url = path if "://" in path else (ws_url or host or adapter.ws_url) + path
                if not ws_url and not url.startswith("wss://"):
                    raise LinkError("the exchange named an address without encryption")
                return url
            case Fetch() as fetch:
                todo.extend(await converse(fetch))
    raise LinkError("the exchange named no address to connect to")


def _reason(error: BaseException, leg: Leg) -> str:
    """Why a connection ended: the link's own words, the name of a bug, or that we wanted it."""
    inner = first(error)
    if isinstance(inner, LinkError):
        return str(inner)
    if isinstance(inner, trio.Cancelled):
        return f"handed over: {leg.reason}" if leg.scope.cancel_called else "stopped"
    return type(inner).__name__


@frozen
class _Connection:
    stream: Stream
    leg: Leg
    adapter: Exchange
    url: str
    outbox: trio.MemorySendChannel[str]
    nursery: trio.Nursery

    async def read(self, socket: websocket.Socket) -> None:
        """Take frames until the link fails."""
        while True:
            frames = await socket.receive()
            intake = await self.leg.turn(self.stream.stamps, frames.at)
            before = self._rubbish
            events, actions = intake.frames(self.adapter, self.url, frames)
            grown = self._rubbish - before
            if events:
                self.leg.hear(events)
            self.act(actions)
            if self.leg.intake.full:
                await self._held_up()
            if grown:
                self.stream.heap.add(grown, trio.current_time())

    @property
    def _rubbish(self) -> int:
        return self.stream.intake.rubbish.get(self.adapter.name, 0)

    async def _held_up(self) -> None:
        """Wait for the stores; the exchange, which waits for us meanwhile, is not to blame for its silence."""
        pulse = self.leg.pulse
        pulse.deaf = True
        await self.leg.intake.room()
        pulse.deaf = False
        pulse.forgive(trio.current_time())

    def act(self, actions: Iterable[Action]) -> None:
        """Do what the adapter asked for."""
        for action in actions:
            match action:
                case Send(text):
                    self.outbox.send_nowait(text)
                case Fetch():
                    self.nursery.start_soon(self._fetch, action)
                case Refused(reason):
                    log.error("the exchange refused a subscription", reason=reason)
                case Ack(what):
                    log.debug("acknowledged", what=what)
                case Missed(symbol, channel, reason):
                    log.warning("missed; asking for a new start", symbol=symbol, channel=channel.value, reason=reason)
                case Retire(reason):
                    self.leg.retire(reason)

    async def _fetch(self, fetch: Fetch) -> None:
        """Ask REST for the adapter, which asks again for what it still lacks."""
        try:
            self.act(await self.stream.rest.converse(self.adapter, fetch, self.leg.intake))
        except LinkError as error:
            log.warning("no answer", path=fetch.path.partition("?")[0], reason=str(error))
        await self.leg.intake.room()


async def _send(socket: websocket.Socket, unsent: trio.MemoryReceiveChannel[str], pause: float) -> None:
    async for text in unsent:
        await socket.send(text)
        await trio.sleep(pause)


async def _beat(outbox: trio.MemorySendChannel[str], every: float, text: str) -> None:
    while True:
        await trio.sleep(every)
        await outbox.send(text)
