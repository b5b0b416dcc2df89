"""One connection's life on the fake clock: what is sent when, and when silence ends it."""

from __future__ import annotations

import json
import math
from typing import cast

import pytest
import trio
from lines import Line, Lines, numbers, stream_of, trade

from trioagg.errors import LinkError
from trioagg.exchanges import Action, Exchange, Feed, Fetch, Heartbeat, Subscription, load
from trioagg.model import Channel, Quarantined, Record
from trioagg.pipeline.flow import Outlet
from trioagg.pipeline.lead import Lead, Leg
from trioagg.pipeline.stream import address

ACK = b'{"result":null,"id":1}'


async def lived(
    line: Line, monkeypatch: pytest.MonkeyPatch, *, symbols: int = 1, seconds: float = math.inf, beat: float = 0
) -> tuple[float, str, int]:
    """How long a connection lives, why it ends, and how many trades came of it."""
    monkeypatch.setattr("trioagg.transport.websocket.connect", Lines([line]).connect)
    adapter = load("binance")
    if beat:
        adapter = type("Adapter", (adapter,), {"heartbeat": Heartbeat(beat, "ping")})
    outlets: list[Outlet[Record]] = []
    subscriptions = [Subscription(f"S{n}", Channel.TRADES, f"S{n}") for n in range(symbols)]
    stream = stream_of(outlets, subscriptions=subscriptions, adapter=adapter)
    began, reason = trio.current_time(), "time is over"
    with trio.move_on_after(seconds):
        try:
            await stream.live(Leg(Lead(stream.intake)))
        except* LinkError as group:
            reason = str(group.exceptions[0])
    return round(trio.current_time() - began, 6), reason, len(numbers(outlets[0].take_waiting()))


async def test_silence_ends_a_connection(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty seconds after the last event."""
    line = Line([(5, trade(1)), (20, trade(2))])

    assert await lived(line, monkeypatch) == (50, "no data for 30 s", 2)


async def test_who_brings_too_much_that_means_nothing_is_lost_alone(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is its successor within the minute, at its first such frame; who is well beside it goes on."""
    monkeypatch.setattr("trioagg.pipeline.heap.MOST", 100)
    garbage, well = [(at, b"x" * 60) for at in (1, 2, 7, 8)], [(at, trade(at)) for at in range(1, 10)]
    lines = Lines([Line(garbage), Line(well), Line(garbage)])
    monkeypatch.setattr("trioagg.transport.websocket.connect", lines.connect)
    outlets: list[Outlet[Record]] = []
    stream, ends = stream_of(outlets), list[float]()

    async def live() -> None:
        with pytest.RaisesGroup(LinkError, flatten_subgroups=True):
            await stream.live(Leg(Lead(stream.intake)))
        ends.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(live)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(live)
        await trio.sleep(5)
        nursery.start_soon(live)
    records = outlets[0].take_waiting()

    assert ends == [2, 7, 39] and numbers(records) == list(range(1, 10))
    assert sum(isinstance(record, Quarantined) for record in records) == 3


async def test_what_is_no_event_is_no_sign_of_life(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledgements prove nothing."""
    line = Line([(at, ACK) for at in range(1, 100, 5)])

    assert await lived(line, monkeypatch) == (30, "no data for 30 s", 0)


async def test_a_day_of_one_trade_every_twenty_nine_seconds(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is left alone for all of its 24 hours."""
    line = Line([(29 * n, trade(n)) for n in range(1, 2980)])

    assert await lived(line, monkeypatch, seconds=86_400) == (86_400, "time is over", 2979)


async def test_subscriptions_beyond_the_url_are_sent_within_the_limit(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four messages a second at the most, and every stream is asked for once."""
    line = Line([])
    await lived(line, monkeypatch, symbols=1024, seconds=5)

    named = line.url.partition("?streams=")[2].split("/")
    asked = [stream for _, text in line.sent for stream in json.loads(text)["params"]]
    assert line.url.startswith("ws://far.end/prefix/stream?streams=") and len(named) == 100
    assert sorted([*named, *asked]) == sorted(f"s{n}@trade" for n in range(1024))
    assert [at for at, _ in line.sent] == [0, 0.25, 0.5, 0.75, 1.0]


async def test_a_heartbeat_is_sent_as_often_as_the_exchange_wants(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not anything comes."""
    line = Line([])
    await lived(line, monkeypatch, beat=9)

    assert line.sent == [(9, "ping"), (18, "ping"), (27, "ping")]


@pytest.mark.parametrize(("endpoint", "good"), [("wss://ws.example", True), ("ws://ws.example", False)])
async def test_an_exchange_names_no_address_without_encryption(endpoint: str, *, good: bool) -> None:
    """But the user may."""
    server = {"endpoint": endpoint, "encrypt": True, "protocol": "websocket", "pingInterval": 1, "pingTimeout": 1}
    told = json.dumps({"code": "200000", "data": {"token": "t", "instanceServers": [server]}}).encode()
    for own in ("", "ws://127.0.0.1:1"):
        adapter = load("kucoin")(Feed())

        async def converse(fetch: Fetch, adapter: Exchange = adapter) -> list[Action]:
            return cast("list[Action]", adapter.answered(fetch, told, 5))

        if good or own:
            assert (await address(adapter, own, converse)).startswith(own or endpoint)
        else:
            with pytest.raises(LinkError, match="without encryption"):
                await address(adapter, own, converse)
