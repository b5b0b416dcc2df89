"""One connection's life on the fake clock: what is sent when, and when silence ends it."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import define, evolve, field
from structlog.testing import capture_logs

from trioagg.errors import LinkError
from trioagg.exchanges import Feed, Heartbeat, Subscription, load
from trioagg.model import Channel, Record, Trade
from trioagg.pipeline.flow import Inlet, flow
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.rest import rest_of
from trioagg.pipeline.stream import Stream
from trioagg.pipeline.tally import Tally
from trioagg.settings import Retry, Venue
from trioagg.transport.clock import Stamps
from trioagg.transport.frames import Frames
from trioagg.transport.http import open_http

TRADE = '{"stream":"s%d@trade","data":{"e":"trade","s":"S0","t":%d,"p":"1","q":"1","T":5,"m":true}}'
TRADE_2 = b'{"stream":"s2@trade","data":{"e":"trade","s":"S2","t":7,"p":"1","q":"1","T":5,"m":true}}'
ACK = b'{"result":null,"id":1}'


@define(eq=False)
class Line:
    """A far end that says what it is told to, when it is told to."""

    says: list[tuple[float, bytes]]
    url: str = ""
    sent: list[tuple[float, str]] = field(factory=list)
    began: float = field(factory=trio.current_time)

    @asynccontextmanager
    async def connect(self, url: str, **_: Any) -> AsyncIterator[Line]:
        """In the place of a connection."""
        self.url = url
        yield self

    async def receive(self) -> Frames:
        """The next thing it says; silence at the end."""
        if not self.says:
            await trio.sleep_forever()
        at, frame = self.says.pop(0)
        await trio.sleep_until(self.began + at)
        return Frames(round(at * 1e9), [frame])

    async def send(self, text: str) -> None:
        """What it heard, and when."""
        self.sent.append((round(trio.current_time() - self.began, 6), text))


async def lived(
    line: Line, monkeypatch: pytest.MonkeyPatch, *, symbols: int = 1, seconds: float = math.inf, beat: float = 0
) -> tuple[float, str, int]:
    """How long a stream lives, why it ends, and how many events came of it."""
    monkeypatch.setattr("trioagg.transport.websocket.connect", line.connect)
    adapter = load("binance")
    if beat:
        adapter = type("Adapter", (adapter,), {"heartbeat": Heartbeat(beat, "ping")})
    subscriptions = [Subscription(f"S{n}", Channel.TRADES, f"S{n}") for n in range(symbols)]
    inlet: Inlet[Record]
    inlet, outlet = flow("test", 1_000_000)
    reason = "time is over"
    async with open_http() as http:
        rest = rest_of(adapter, Venue(), Retry(), http=http, stamps=Stamps())
        stream = Stream(
            adapter=adapter,
            feed=evolve(Feed(), subscriptions=subscriptions),
            ws_url="ws://far.end/prefix",
            name="ws-1",
            stall_timeout=30,
            first_data_timeout=10,
            rest=rest,
            intake=Intake(Tally(), [inlet]),
            stamps=Stamps(),
        )
        with trio.move_on_after(seconds):
            try:
                await stream.live()
            except* LinkError as group:
                reason = str(group.exceptions[0])
    return (
        round(trio.current_time() - line.began, 6),
        reason,
        len([record for record in outlet.take_waiting() if isinstance(record, Trade)]),
    )


async def test_silence_ends_a_connection(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty seconds after the last event."""
    line = Line([(5, (TRADE % (0, 1)).encode()), (20, (TRADE % (0, 2)).encode())])

    assert await lived(line, monkeypatch) == (50, "no data for 30 s", 2)


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
    line = Line([(29 * n, (TRADE % (0, n)).encode()) for n in range(1, 2980)])

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


async def test_each_silent_subscription_is_told(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ten seconds, by name, though acknowledged and though another one on the connection speaks; once."""
    line = Line([(1, ACK), *((at, (TRADE % (0, at)).encode()) for at in range(2, 60, 2)), (50, TRADE_2)])
    with capture_logs() as logs:
        await lived(line, monkeypatch, symbols=3, seconds=60)

    told = [(entry["event"], entry.get("symbols") or entry.get("symbol")) for entry in logs if "channel" in entry]
    assert told == [("subscribed, and silent", "S1, S2"), ("data after all", "S2")]


async def test_an_announced_end_is_taken_at_its_word(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ServerShutdown ends the connection at once, so that it is made anew."""
    line = Line([(7, b'{"e":"serverShutdown","E":1772445600123}')])

    assert await lived(line, monkeypatch) == (7, "the exchange announced its shutdown", 0)


async def test_a_heartbeat_is_sent_as_often_as_the_exchange_wants(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not anything comes."""
    line = Line([])
    await lived(line, monkeypatch, beat=9)

    assert line.sent == [(9, "ping"), (18, "ping"), (27, "ping")]
