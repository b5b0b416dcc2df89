"""The built-in exchange on a real port: REST and WebSockets, many clients, faults, a recording, a clean end."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from trioagg.errors import SettingsError
from trioagg.simulator import load
from trioagg.simulator.faults import Faults, Statistics
from trioagg.simulator.feeds import SLICE, TURN, MarketFeed
from trioagg.simulator.house import House
from trioagg.simulator.market import Market
from trioagg.simulator.server import Urls, serve
from trioagg.simulator.websocket import converse
from trioagg.simulator.wire import Line

HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TRADE = re.compile(rb'"e":"trade","E":\d+,"s":"(\w+)","t":(\d+)')


@asynccontextmanager
async def playing(**settings: Any) -> AsyncIterator[Urls]:
    """A running exchange."""
    settings = {"symbols": ["BTC/USDT", "ETH/USDT"], "rate": 1000, **settings}
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(partial(serve, **settings))
        yield urls["binance"]
        nursery.cancel_scope.cancel()


def address(url: str) -> tuple[str, int, str]:
    """Host, port and path."""
    host, _, rest = url.partition("://")[2].partition(":")
    port, _, path = rest.partition("/")
    return host, int(port), f"/{path}"


async def get(url: str, path: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers and decoded body of one request on a connection of its own."""
    host, port, _ = address(url)
    async with await trio.open_tcp_stream(host, port) as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        data = b"".join([bytes(part) async for part in stream])
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in rest), json.loads(body)


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[trio.SocketStream]:
    """A WebSocket whose bytes are read as they come: frames of a server are plain text with a short head."""
    host, port, path = address(url)
    async with await trio.open_tcp_stream(host, port) as stream:
        await stream.send_all(HANDSHAKE.format(path).encode())
        yield stream


@asynccontextmanager
async def websocket(url: str) -> AsyncIterator[WebSocketConnection]:
    """A WebSocket through trio-websocket."""
    host, port, path = address(url)
    stream = await trio.open_tcp_stream(host, port)
    try:
        async with trio.open_nursery() as nursery:
            yield await wrap_client_stream(nursery, stream, host, path, message_queue_size=1000)
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)


async def trades(stream: trio.SocketStream, count: int) -> list[int]:
    """The ids of the next ``count`` trades, or of all until the connection ends."""
    data, found = b"", list[int]()
    while len(found) < count and (part := await stream.receive_some(1 << 20)):
        data += part
        whole = data.rpartition(b"}")
        found += [int(match[2]) for match in TRADE.finditer(whole[0])]
        data = whole[2]
    return found


def contiguous(ids: list[int]) -> bool:
    """Whether no id is missing and none comes twice."""
    return ids == list(range(ids[0], ids[0] + len(ids)))


async def test_rest_and_stream_tell_the_same() -> None:
    """A subscription is acknowledged, its trades are contiguous, and REST has the same ones."""
    async with playing() as urls, websocket(f"{urls.ws}/stream") as socket:
        await socket.send_message('{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}')
        assert json.loads(await socket.get_message()) == {"result": None, "id": 1}
        seen = [json.loads(await socket.get_message())["data"] for _ in range(20)]
        query = f"symbol=BTCUSDT&fromId={seen[0]['t']}&limit=20"
        status, headers, told = await get(urls.rest, f"/api/v3/historicalTrades?{query}")
    assert status == 200 and headers["x-mbx-used-weight-1m"] == "25"
    assert [(row["id"], row["price"]) for row in told] == [(row["t"], row["p"]) for row in seen]
    assert contiguous([row["t"] for row in seen])


async def test_keep_alive_and_pipelining() -> None:
    """One connection carries many requests, also when they come at once, and one with a body."""
    async with playing() as urls:
        host, port, _ = address(urls.rest)
        async with await trio.open_tcp_stream(host, port) as stream:
            ping = b"GET /api/v3/ping HTTP/1.1\r\nHost: x\r\n\r\n"
            post = b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
            await stream.send_all(ping + post + ping)
            data = b""
            while data.count(b"HTTP/1.1 200") < 2 or not data.endswith(b"{}"):
                data += await stream.receive_some(65536)
    assert data.count(b"HTTP/1.1 404") == 1
    assert urls.statistics.requests == {200: 2, 404: 1}


async def test_nonsense_ends_its_own_connection_only() -> None:
    """Bytes that are no HTTP, a bad path and a half handshake harm nobody else."""
    async with playing() as urls:
        host, port, _ = address(urls.rest)
        async with await trio.open_tcp_stream(host, port) as stream:
            await stream.send_all(b"\x00\xff nonsense\r\n\r\n")
            assert await stream.receive_some(100) == b""
        async with raw(f"{urls.ws}/nope") as stream:
            assert (await stream.receive_some(1000)).startswith(b"HTTP/1.1 404")
        assert (await get(urls.rest, "/api/v3/ping"))[0] == 200


async def test_prefix_names_the_exchange() -> None:
    """``/binance`` before a path is understood over REST and WebSocket."""
    async with playing() as urls, raw(f"{urls.ws}/binance/ws/btcusdt@trade") as stream:
        assert (await get(urls.rest, "/binance/api/v3/ping"))[0] == 200
        assert contiguous(await trades(stream, 3))


async def read(socket: WebSocketConnection) -> None:
    """Read on, and understand every frame."""
    while True:
        json.loads(await socket.get_message())


async def test_pings_are_answered_amid_data() -> None:
    """A client's ping comes back between the frames, whole."""
    async with (
        playing(rate=20_000) as urls,
        websocket(f"{urls.ws}/ws/btcusdt@trade") as socket,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(read, socket)
        with trio.fail_after(5):
            for _ in range(3):
                await socket.ping()
        nursery.cancel_scope.cancel()


async def test_closing_is_answered() -> None:
    """A close frame of the client is answered, and the connection is gone."""
    async with playing() as urls, websocket(f"{urls.ws}/ws/btcusdt@trade") as socket:
        await socket.get_message()
        with trio.fail_after(2):
            await socket.aclose(1000)
        assert socket.closed is not None and socket.closed.code == 1000


async def test_a_busy_stream_loses_nothing() -> None:
    """20,000 messages a second reach a reader that keeps up, contiguous, both symbols whole."""
    streams, data = "btcusdt@trade/btcusdt@bookTicker/ethusdt@trade/ethusdt@bookTicker", b""
    async with playing(rate=20_000) as urls, raw(f"{urls.ws}/ws/{streams}") as stream:
        while urls.statistics.sent < 10_000:
            data += await stream.receive_some(1 << 20)
    for symbol in (b"BTCUSDT", b"ETHUSDT"):
        ids = [int(match[2]) for match in TRADE.finditer(data) if match[1] == symbol]
        assert len(ids) > 2000 and contiguous(ids)


async def test_many_clients_see_the_same_market() -> None:
    """30 clients at once: each one's trades are contiguous and shared by all."""
    seen: list[list[int]] = []

    async def client(url: str) -> None:
        async with raw(url) as stream:
            seen.append(await trades(stream, 100))

    async with playing() as urls, trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(client, f"{urls.ws}/ws/btcusdt@trade")
    assert len(seen) == 30 and all(map(contiguous, seen))
    assert set.intersection(*map(set, seen))
    assert urls.statistics.connections == 30


async def test_a_client_that_does_not_read_slows_nobody() -> None:
    """One that never reads is held up alone; another gets its trades."""
    async with (
        playing(rate=50_000) as urls,
        raw(f"{urls.ws}/ws/btcusdt@trade/btcusdt@bookTicker"),
        raw(f"{urls.ws}/ws/ethusdt@trade") as stream,
    ):
        with trio.fail_after(10):
            assert contiguous(await trades(stream, 5_000))


async def test_too_slow_a_client_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too far behind the market is disconnected, and counted."""
    monkeypatch.setattr("trioagg.simulator.feeds.BEHIND", 0.1)
    async with playing(faults=["slow,rate=20000"]) as urls, raw(f"{urls.ws}/ws/btcusdt@trade") as stream:
        with trio.fail_after(10):
            ids = await trades(stream, 10**9)
    assert contiguous(ids) and urls.statistics.behind == 1


async def test_the_end_is_clean(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled, it says good-bye to every client, hears the answers, and is gone."""
    monkeypatch.setattr("trioagg.simulator.websocket._GOODBYE", 30)
    stop, stopped = trio.CancelScope(), trio.Event()

    async def server(task_status: trio.TaskStatus[Any]) -> None:
        with stop:
            await serve(rate=50_000, task_status=task_status)
        stopped.set()

    urls = (await nursery.start(server))["binance"]
    async with websocket(f"{urls.ws}/ws/btcusdt@trade") as socket:
        await socket.get_message()
        stop.cancel()
        with trio.fail_after(5), pytest.raises(ConnectionClosed) as caught:  # noqa: PT012  one call, again and again
            while True:
                await socket.get_message()
        with trio.fail_after(5):
            await stopped.wait()
    assert caught.value.reason is not None and caught.value.reason.code == 1001
    assert urls.statistics.open == 0


async def test_a_client_that_does_not_read_cannot_hold_up_the_end() -> None:
    """The end takes a second at most, whatever clients do."""
    with trio.fail_after(5):
        async with playing(rate=200_000) as urls, raw(f"{urls.ws}/ws/btcusdt@trade/ethusdt@trade"):
            await trio.sleep(0.2)


async def test_frames_and_the_protocols_own_never_interleave() -> None:
    """Whoever writes first is through before the next one begins, though the peer reads byte by byte."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    line, parts = Line(theirs, b"early", lambda: math.inf, lambda: 0.0), list[bytes]()
    async with trio.open_nursery() as nursery:
        for letter in (b"a", b"b", b"c"):
            nursery.start_soon(line.send_all, letter * 50)
        while sum(map(len, parts)) < 150:
            parts.append(bytes(await ours.receive_some(7)))
    assert sorted(re.findall(rb"a+|b+|c+", b"".join(parts))) == [b"a" * 50, b"b" * 50, b"c" * 50]
    assert await line.receive_some() == b"early" and not line.torn


@pytest.mark.parametrize(
    "wrong",
    [
        {"exchanges": ["binanse"]},
        {"symbols": ["BTC-USDT"]},
        {"rate": -1},
        {"rate": float("nan")},
        {"faults": ["cutt"]},
        {"capture": "/no/such/file"},
    ],
)
async def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    """A mistake is one line, before anything listens."""
    with pytest.raises(SettingsError, match=r"^[^\n]+$"):
        await serve(**wrong)


@pytest.mark.parametrize("how", ["drop", "reset", "close"])
async def test_cut(how: str) -> None:
    """A cut ends the stream; a new connection goes on, and REST has what was missed."""
    async with playing(faults=[f"cut,at=0.2,how={how}"]) as urls:
        async with raw(f"{urls.ws}/ws/btcusdt@trade") as stream:
            try:
                before = await trades(stream, 10**9)
            except trio.BrokenResourceError:
                before = []
        async with raw(f"{urls.ws}/ws/btcusdt@trade") as stream:
            after = await trades(stream, 10)
        assert urls.statistics.faults == {"cut": 1}
        if before:
            query = f"symbol=BTCUSDT&fromId={before[-1] + 1}&limit={after[0] - before[-1]}"
            _, _, repair = await get(urls.rest, f"/api/v3/historicalTrades?{query}")
            assert contiguous([*before, *(row["id"] for row in repair if row["id"] < after[0]), *after])


async def test_shutdown_is_announced() -> None:
    """The announcement comes first, the close frame after its time."""
    async with playing(faults=["shutdown,at=0.1,for=0.1"]) as urls, websocket(f"{urls.ws}/ws/btcusdt@trade") as socket:
        seen = []
        with pytest.raises(ConnectionClosed) as caught:  # noqa: PT012  one call, again and again
            while True:
                seen.append(json.loads(await socket.get_message())["e"])
    assert "trade" in seen[seen.index("serverShutdown") :]
    assert caught.value.reason is not None and caught.value.reason.code == 1001


async def test_stall() -> None:
    """Data stops while pings are answered; what happened meanwhile is missing on the stream."""
    async with playing(faults=["stall,at=0.15,for=0.3"]) as urls, websocket(f"{urls.ws}/ws/btcusdt@trade") as socket:
        longest, last, ids = 0.0, trio.current_time(), list[int]()
        while longest < 0.25:
            ids.append(json.loads(await socket.get_message())["t"])
            longest, last = max(longest, trio.current_time() - last), trio.current_time()
    assert contiguous(ids[:-1]) and ids[-1] - ids[-2] > 25
    assert urls.statistics.faults == {"stall": 1}


async def test_refuse() -> None:
    """New connections are reset for a while; open ones go on."""
    async with playing(faults=["refuse,at=0.1,for=0.3"]) as urls, raw(f"{urls.ws}/ws/btcusdt@trade") as stream:
        await trades(stream, 1)
        await trio.sleep(0.15)
        with pytest.raises(trio.BrokenResourceError):
            await get(urls.rest, "/api/v3/ping")
        await trio.sleep(0.3)
        assert (await get(urls.rest, "/api/v3/ping"))[0] == 200
        assert contiguous(await trades(stream, 200))


async def test_rate_limit_and_outage() -> None:
    """A refusal carries its status, ``Retry-After`` and Binance's body."""
    async with playing(faults=["418,retry_after=0.2"]) as urls:
        status, headers, body = await get(urls.rest, "/api/v3/ping")
        assert (status, headers["retry-after"], body["code"]) == (418, "1", -1003)
        assert (await get(urls.rest, "/api/v3/ping"))[0] == 429
        await trio.sleep(0.25)
        assert (await get(urls.rest, "/api/v3/ping"))[0] == 200
        assert urls.statistics.impatient == 1


async def test_never_ack() -> None:
    """Data comes without an acknowledgement."""
    async with playing(faults=["never-ack"]) as urls, websocket(f"{urls.ws}/ws") as socket:
        await socket.send_message('{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}')
        assert [json.loads(await socket.get_message())["e"] for _ in range(5)] == ["trade"] * 5


async def test_skipped_trades_are_in_the_history() -> None:
    """The stream lacks exactly the trades that the statistics name, and REST has them."""
    async with playing(faults=["skip,share=0.2"]) as urls, raw(f"{urls.ws}/ws/btcusdt@trade") as stream:
        ids = await trades(stream, 100)
        missing = set(range(ids[0], ids[-1])) - set(ids)
        _, _, told = await get(urls.rest, f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={ids[0]}&limit=1000")
    assert missing and missing == {i for i in urls.statistics.lost["BTCUSDT"] if ids[0] < i < ids[-1]}
    assert missing <= {row["id"] for row in told}


async def test_a_fault_strikes_the_frames_of_its_time() -> None:
    """However late a busy machine sends them; the time begins when the fault is let go, and no stream stays behind."""
    faults = ["skip,share=1,at=0.1,for=0.2"]
    async with playing(faults=faults, held=True) as urls, raw(f"{urls.ws}/ws/btcusdt@trade") as stream:
        await trades(stream, 1)
        began = urls.begin()
        time.sleep(0.4)  # noqa: ASYNC251  (the machine does something else)
        source = Market(symbols=["BTC/USDT", "ETH/USDT"], rate=1000)
        a, b, c, d, now = (source.before("BTC/USDT", began + ms * 10**6) for ms in (100, 105, 300, 305, 400))
        seen = await trades(stream, now - d)
        told, lost = urls.statistics.told["BTCUSDT"], urls.statistics.lost["BTCUSDT"]

    assert set(range(b, c)) <= lost <= set(range(a, d))
    assert contiguous(sorted({*seen, *lost})) and now - 1 <= told[1]


def test_a_stream_that_was_held_up_comes_back_at_once() -> None:
    """Half a second of market in one go, slice by slice; of a rate that is enough by itself, less."""
    session = load("binance")(Market(symbols=["BTC/USDT"])).session("/ws/btcusdt@trade")
    busy = load("binance")(Market(symbols=["BTC/USDT"], rate=1e6)).session("/ws/btcusdt@trade")
    assert session and busy
    feed, flood = MarketFeed(session, 0), MarketFeed(busy, 0)

    told = list(feed.take(TURN))
    assert [at for at, _ in told] == list(range(0, TURN, SLICE)) and sum(len(frames) for _, frames in told) == 25
    assert not feed.more(TURN) and list(feed.take(TURN)) == []
    assert len(list(flood.take(TURN))) == 1 and flood.more(TURN)


async def test_a_recording_plays_whole(captures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every recorded trade comes once, digit for digit, and then stands in the history; then there is silence."""
    monkeypatch.setattr("trioagg.simulator.house.LEAD", 0.05)
    capture = str(captures / "binance-btcusdt-20240808.jsonl.gz")
    async with playing(capture=capture, rate=100_000, symbols=[]) as urls:
        depth = await get(urls.rest, "/api/v3/depth?limit=1000&symbol=BTCUSDT")
        assert depth[2]["lastUpdateId"] == 50093239218
        assert (await get(urls.rest, "/api/v3/trades?symbol=BTCUSDT"))[2] == []
        await trio.sleep(0.1)  # nothing plays before somebody listens
        async with raw(f"{urls.ws}/stream?streams=btcusdt@trade/btcusdt@bookTicker") as stream:
            ids = await trades(stream, 9757)
            await trio.sleep(0.05)
        _, _, told = await get(urls.rest, f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={ids[0]}&limit=1000")
        _, _, day = await get(urls.rest, "/api/v3/ticker/24hr?symbol=BTCUSDT")
    assert len(ids) == 9757 and contiguous(ids)
    assert told[0] == {
        "id": 3735683259, "price": "61837.63000000", "qty": "0.02000000", "quoteQty": "1236.75260000",
        "time": 1723161255342, "isBuyerMaker": True, "isBestMatch": True,
    }  # fmt: skip
    assert (day["count"], day["firstId"], day["lastId"]) == (9757, ids[0], ids[-1])


async def test_pings_every_20_seconds_and_patience_of_60(autojump_clock: trio.testing.MockClock) -> None:
    """A client that never answers a ping is closed 60 s after it; one that is not asked is not."""
    ours, theirs = trio.testing.memory_stream_pair()
    dialect = load("binance")
    faults = Faults((), seed=0, statistics=Statistics(), trade=dialect.trade)
    house = House(dialect(Market(rate=0.001, symbols=["BTC/USDT"])), faults, faults.statistics)
    await ours.send_all(HANDSHAKE.format("/ws").encode())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(converse, house, theirs, "/ws", b"")
        await ours.receive_some(1000)  # the answer to the handshake
        seen = [(await ours.receive_some(1000), round(trio.current_time()))]
        seen += [(await ours.receive_some(1000), round(trio.current_time()))]
        nursery.cancel_scope.cancel()
    assert [(frame[:1], at) for frame, at in seen] == [(b"\x89", 20), (b"\x88", 80)]
