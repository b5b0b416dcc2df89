"""Far ends that mean harm: what each does, and what of it may be stored. ``test_hostile`` says what must come of it.

The hostile one plays Binance, or HTX, whose frames are compressed; beside it, in the same run, an honest one plays
Coinbase.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio
from attrs import define, evolve, frozen
from far_end import ask, collected, far_end, made, settings_for
from test_frames import BINARY, FINAL, PING, TEXT, answer_to, frame

from trioagg.model import Channel
from trioagg.pipeline.run import Job
from trioagg.pipeline.tally import Outcome
from trioagg.settings import Venue

HONEST = "coinbase"
RATE = 100.0
"""Messages per second of the honest far end: half of them are trades."""
LASTS = 2.0
"""Seconds that harm is done; then the run goes on until all that must come of it is there."""
PATIENCE = 40.0
"""Seconds that a run may take from its beginning to its end, on a machine that does much else."""
GIGABYTE = 2**30
PIECE = b"x" * 2**20

ROWS = """
SELECT CAST(trade_id AS INTEGER), price, amount, side, timestamp
FROM trade JOIN instrument ON instrument = instrument.id WHERE exchange = '{}' ORDER BY 1
"""
Talk = Callable[["Attack", trio.SocketStream, bytes], Awaitable[None]]
"""What is done to one client, given its request."""


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer."""
    return "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")).encode() + body


def info(**filters: str) -> bytes:
    """Binance's instrument list: BTC/USDT."""
    rules = [{"filterType": "PRICE_FILTER", "tickSize": "0.01", **filters}]
    market = {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": rules}
    return json.dumps({"symbols": [market]}).encode()


def trade(number: object = 1, price: str = '"60000.10"', at: object = None, symbol: str = '"BTCUSDT"') -> bytes:
    """A trade's frame; numbers are put in as they are spelled."""
    stamp = time.time_ns() // 1_000_000 if at is None else at
    data = f'"e":"trade","E":2,"s":{symbol},"t":{number},"p":{price},"q":"0.5","T":{stamp},"m":true'
    return f'{{"stream":"btcusdt@trade","data":{{{data}}}}}'.encode()


@define(eq=False)
class Attack:
    """One case while it plays.

    Attributes:
        trapped: connections that came where only a redirect leads.
        tried: WebSocket handshakes.
        due: an honest trade that was told when harm had been done for a while.
    """

    case: Case
    file: Path
    statistics: Any = None
    outcome: Outcome | None = None
    trap: str = ""
    trapped: int = 0
    tried: int = 0
    due: int = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        """One client."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                while request := await head(stream):
                    if b"\r\nupgrade: websocket" in request.lower():
                        self.tried += 1
                        await self.case.talk(self, stream, request)
                        return
                    await self.case.rest(self, stream, request)

    async def spring(self, stream: trio.SocketStream) -> None:
        """The place where a redirect leads."""
        self.trapped += 1
        await stream.aclose()

    def came(self) -> bool:
        """Whether nothing is lacking of what the case and the honest one must bring."""
        case = self.case
        if not self.due:
            ((_, self.due),) = self.statistics.told.values() or [(0, 0)]
        return (
            self.due > 0
            and made(self.file)
            and self.stored(HONEST)[-1:] >= [self.due]
            and len(self.stored(case.exchange)) >= len(case.prices)
            and (self.tried > 1 or not case.returns)
            and (not case.garbled or ask(self.file, "SELECT 1 FROM quarantine LIMIT 1") != [])
            and (not case.ends or any(reason.startswith(case.ends) for reason in self.reasons()))
        )

    def stored(self, exchange: str) -> list[int]:
        """The trades of an exchange."""
        return [number for number, *_ in ask(self.file, ROWS.format(exchange))]

    def reasons(self) -> list[str]:
        """Why connections ended."""
        return [reason for (reason,) in ask(self.file, "SELECT reason FROM sessions")]


async def flood(stream: trio.SocketStream, pieces: Iterable[bytes]) -> None:
    """Send without a pause."""
    for piece in pieces:
        await stream.send_all(piece)


async def head(stream: trio.SocketStream) -> bytes:
    """The next request, without a body; empty where there is none."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        if not (part := await stream.receive_some()):
            return b""
        request += part
    return request


async def honest_rest(attack: Attack, stream: trio.SocketStream, request: bytes) -> None:
    """The list and the time; nothing else."""
    if b"exchangeInfo" in request:
        await stream.send_all(http(info()))
    elif b"/time" in request:
        await stream.send_all(http(b'{"serverTime":%d}' % (time.time_ns() // 1_000_000)))
    else:
        await stream.send_all(http(b"[]"))


async def quiet(attack: Attack, stream: trio.SocketStream, request: bytes) -> None:
    """A WebSocket that opens and says nothing, not even good-bye."""
    await stream.send_all(answer_to(request))
    await trio.sleep_forever()


def answers(raw: bytes) -> Talk:
    """The same answer to everything."""

    async def answer(attack: Attack, stream: trio.SocketStream, request: bytes) -> None:
        await stream.send_all(raw.replace(b"TRAP", attack.trap.encode()))

    return answer


def drips(start: bytes, drop: bytes, pause: float = 0.2) -> Talk:
    """A beginning, and then a little from time to time, for ever."""

    async def drip(attack: Attack, stream: trio.SocketStream, request: bytes) -> None:
        await stream.send_all(start)
        while True:
            await stream.send_all(drop)
            await trio.sleep(pause)

    return drip


def floods(start: bytes, piece: bytes, times: int) -> Talk:
    """A beginning, and then much of the same."""

    async def send(attack: Attack, stream: trio.SocketStream, request: bytes) -> None:
        await flood(stream, (start, *(piece for _ in range(times))))

    return send


def says(*frames: bytes, times: int = 1, pause: float = 0.0) -> Talk:
    """An open WebSocket that says this, and stays open without ever answering."""

    async def say(attack: Attack, stream: trio.SocketStream, request: bytes) -> None:
        await stream.send_all(answer_to(request))
        for _ in range(times):
            await flood(stream, frames)
            await trio.sleep(pause)
        await trio.sleep_forever()

    return say


def texts(*payloads: bytes, times: int = 1, pause: float = 0.0) -> Talk:
    """As ``says``, in text frames."""
    return says(*(frame(TEXT, payload) for payload in payloads), times=times, pause=pause)


async def accepts_deflate(attack: Attack, stream: trio.SocketStream, request: bytes) -> None:
    """An extension that nobody offered, and a bomb in it."""
    accepted = b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    await stream.send_all(answer_to(request).removesuffix(b"\r\n\r\n") + accepted)
    await stream.send_all(frame(TEXT, b"\xec\xc1\x01\x01\x00" * 100, first=FINAL | 0x40))
    await trio.sleep_forever()


def long(first: int, claimed: int) -> bytes:
    """The head of a frame of a claimed size."""
    return bytes((first, 127)) + claimed.to_bytes(8)


def bomb(size: int) -> bytes:
    """So many zeros, compressed."""
    return gzip.compress(b"0" * size, compresslevel=9, mtime=0)


@frozen
class Case:
    """One way to do harm.

    Attributes:
        rest: what is done to requests.
        talk: what is done to WebSockets.
        exchange: who is played.
        prices: all that is stored of the hostile one's trades.
        garbled: whether frames land in quarantine.
        returns: whether the handshake failed and was tried again.
        ends: why an open connection was given up.
        missing: ids that the ledger says are open.
    """

    rest: Talk = honest_rest
    talk: Talk = quiet
    exchange: str = "binance"
    prices: Sequence[str] = ()
    garbled: bool = False
    returns: bool = False
    ends: str = ""
    missing: int = 0


def lists(body: bytes, *headers: str) -> Case:
    """A bad instrument list."""
    return Case(answers(http(body, *headers)))


def garbled(*payloads: bytes, prices: Sequence[str] = ("60000.10",)) -> Case:
    """Bad frames, and then a good one."""
    return Case(talk=texts(*payloads, trade()), prices=prices, garbled=True)


OK = b"HTTP/1.1 200 OK\r\n"
AWAY = ("Location: TRAP/", "Connection: close")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n"
WRONG, LARGE = "the exchange broke the WebSocket protocol", "a message of more than 16777216 bytes"
DEEP = 100_000
DAY = 86_400_000
CASES: Mapping[str, Case] = {
    "REST: headers without end": Case(floods(OK, b"X-More: " + b"x" * 1000 + b"\r\n", 100_000)),
    "REST: a header drop by drop": Case(drips(OK, b"X")),
    "REST: a body drop by drop": Case(drips(OK + b"Content-Length: 1000000\r\n\r\n", b"[")),
    "REST: redirect to another host": Case(answers(http(b"", *AWAY, status="302 Found"))),
    "REST: gzip bomb": lists(bomb(200 * 2**20), "Content-Encoding: gzip"),
    "REST: a gigabyte": Case(floods(OK + b"Content-Length: %d\r\n\r\n" % GIGABYTE, PIECE, 1024)),
    "REST: a gigabyte in chunks": Case(
        floods(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + PIECE + b"\r\n", 1024)
    ),
    "REST: nested": lists(b"[" * DEEP),
    "REST: nested objects": lists(b'{"symbols":' * DEEP),
    "REST: HTML": lists(b"<html><body>maintenance</body></html>"),
    "REST: no UTF-8": lists(b'{"symbols":[{"symbol":"\xff\xfe"}]}'),
    "REST: a step of a million digits": lists(info(tickSize="1e999999")),
    "REST: never answers": Case(drips(b"", b"", 60)),
    "handshake: headers without end": Case(talk=floods(SWITCH, b"X-More: " + b"x" * 1000 + b"\r\n", 100_000)),
    "handshake: drop by drop": Case(talk=drips(SWITCH, b"X")),
    "handshake: redirect to another host": Case(talk=answers(http(b"", *AWAY, status="301 Moved")), returns=True),
    "handshake: HTML": Case(talk=answers(http(b"<html></html>")), returns=True),
    "handshake: wait for ever": Case(talk=answers(http(b"", "Retry-After: " + "9" * 400, status="503 Busy"))),
    "an extension that nobody offered": Case(talk=accepts_deflate, returns=True),
    "a compressed frame": Case(talk=says(frame(TEXT, b"x", first=FINAL | 0x40)), ends=WRONG),
    "a frame of 2^63 bytes": Case(talk=says(long(FINAL | TEXT, 2**63)), ends=WRONG),
    "a frame of 2^62 bytes": Case(talk=says(long(FINAL | TEXT, 2**62), PIECE * 32), ends=LARGE),
    "a message that never ends": Case(talk=says(long(TEXT, 2**20), PIECE, *[long(0, 2**20) + PIECE] * 40), ends=LARGE),
    "binary where there is none": Case(talk=says(frame(BINARY, bomb(2**20))), garbled=True),
    "pings without end": Case(talk=says(frame(PING, b"x" * 100) * 1000, times=50)),
    "garbage without end": Case(talk=says(frame(TEXT, b"x" * (15 * 2**20)), times=64), garbled=True),
    "gzip bombs in frames": Case(exchange="htx", talk=says(frame(BINARY, bomb(64 * 2**20)), times=9), garbled=True),
    "no gzip in frames": Case(exchange="htx", talk=says(frame(BINARY, b"\x1f\x8b" + b"x" * 99), times=3), garbled=True),
    "nested": garbled(*(start * deep for start in (b"[", b'{"a":', b'{"data":') for deep in (900, 9000, DEEP))),
    "no UTF-8": garbled(b"\xff\xfe", trade(symbol='"\xff"').replace("\xff".encode(), b"\xff")),
    "HTML": garbled(b"<html><body>maintenance</body></html>"),
    "NaN": garbled(trade(price="NaN"), trade(price='"NaN"'), trade(price='"sNaN"')),
    "infinite": garbled(trade(price='"Infinity"'), trade(price='"-Infinity"')),
    "endless numbers": garbled(
        trade(price='"1e999999"'), trade(price="1e999999999"), trade(price='"1.' + "1" * 100_000 + '"')
    ),
    "impossible times": garbled(*(trade(at=at) for at in (-1, -(2**63), 2**63, 2**64, 10**30))),
    "1970 and 2100": Case(
        talk=texts(*(trade(n, f'"{n}"', at) for n, at in enumerate((0, 1, 47_483 * DAY), 1))), prices=("1", "2", "3")
    ),
    "ids that no integer holds": garbled(*(trade(number) for number in (-1, 2**63, 2**70, "9" * 1000))),
    "ids backwards": Case(
        talk=texts(*(trade(n, f'"{n}"') for n in range(20, 0, -1))), prices=[*map(str, range(1, 21))]
    ),
    "an id far away": Case(talk=texts(trade(5, '"5"'), trade(2**60, '"6"')), prices=("5", "6"), missing=2**60 - 6),
    "symbols that are none": garbled(
        trade(symbol=json.dumps('\x1b[31m"; DROP TABLE trade; --')), trade(symbol=json.dumps("X" * 1000))
    ),
    "never says good-bye": Case(talk=says(frame(TEXT, trade(price='"7"'))), prices=("7",)),
}


async def play(case: Case, file: Path) -> Attack:
    """A run against the hostile far end and the honest one, from its beginning to its end."""
    attack = Attack(case, file)
    async with trio.open_nursery() as nursery, far_end(exchanges=(HONEST,), rate=RATE) as urls:
        attack.statistics = urls.statistics
        attack.trap = f"http://127.0.0.1:{await _listen(nursery, attack.spring)}"
        place = f"127.0.0.1:{await _listen(nursery, attack.serve)}"
        chosen = {"exchanges": (case.exchange, HONEST), "channels": (Channel.TRADES,), "drain_timeout": PATIENCE}
        settings = settings_for(urls, file, **chosen)
        hostile = Venue(rest_url=f"http://{place}", ws_url=f"ws://{place}", min_delay=0.0)
        settings = evolve(settings, venues={**settings.venues, case.exchange: hostile})
        with trio.fail_after(PATIENCE):
            attack.outcome = await collected(Job(settings), attack.came, least=LASTS)
        nursery.cancel_scope.cancel()
    return attack


async def _listen(nursery: trio.Nursery, handler: Callable[[trio.SocketStream], Awaitable[None]]) -> int:
    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await handler(stream)

    [listener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
    port: int = listener.socket.getsockname()[1]
    return port
