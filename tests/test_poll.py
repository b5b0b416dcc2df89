"""Pollers keep their beat on the fake clock, through failures and slow answers."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import httpx
import pytest
import trio

from trioagg.exchanges import Feed, Fetch, load
from trioagg.model import Record
from trioagg.pipeline.flow import Inlet, flow
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.poll import poll
from trioagg.pipeline.rest import rest_of
from trioagg.pipeline.tally import Tally
from trioagg.settings import Retry, Venue
from trioagg.transport.budget import Gate
from trioagg.transport.clock import Stamps
from trioagg.transport.http import open_http

DAY = b'[{"symbol":"BTCUSDT","lastPrice":"5","volume":"7","closeTime":1772445600123}]'


async def polled(
    answers: list[int | float], seconds: float, *, every: float = 5.0, headers: dict[str, str] | None = None
) -> tuple[list[float], int]:
    """When requests were sent within so many seconds, and how many tickers came of them.

    A number from 100 is the status of the answer, a smaller one the seconds that a good answer takes.
    """
    began, sent = trio.current_time(), list[float]()

    async def far_end(request: httpx.Request) -> httpx.Response:
        sent.append(round(trio.current_time() - began, 6))
        answer = answers.pop(0) if answers else 200
        if answer < 100:
            await trio.sleep(answer)
        return httpx.Response(int(answer) if answer >= 100 else 200, content=DAY, headers=headers)

    adapter, retry = load("binance"), Retry(attempts=3, base_delay=1, max_delay=60)
    inlet: Inlet[Record]
    inlet, outlet = flow("test", 1000)
    async with open_http(transport=httpx.MockTransport(far_end)) as http:
        rest = rest_of(adapter, Venue(min_delay=0), retry, http=http, stamps=Stamps())
        fetch = Fetch("/api/v3/ticker/24hr", every=every)
        with trio.move_on_after(seconds):
            await poll(adapter(Feed()), fetch, rest=rest, intake=Intake(Tally(), [inlet]))
    return sent, len(outlet.take_waiting())


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are exact."""
    monkeypatch.setattr("trioagg.pipeline.rest.Gate", partial(Gate, random=lambda: 0.0))


async def test_the_beat_is_fixed(autojump_clock: trio.testing.MockClock) -> None:
    """Every five seconds, however long an answer takes."""
    sent, tickers = await polled([0.5, 4.9, 0.1], 20.5)

    assert sent == [0, 5, 10, 15, 20]
    assert tickers == 5


async def test_a_beat_that_a_slow_answer_passes_is_skipped(autojump_clock: trio.testing.MockClock) -> None:
    """No burst afterwards."""
    sent, _ = await polled([7.5], 20.5)

    assert sent == [0, 10, 15, 20]


async def test_a_rate_limit_is_kept_to_the_second(autojump_clock: trio.testing.MockClock) -> None:
    """Retry-After: 12 passes two beats, then polling goes on."""
    sent, tickers = await polled([200, 429], 30.5, headers={"Retry-After": "12"})

    assert sent == [0, 5, 17, 20, 25, 30]
    assert tickers == 5


async def test_waits_grow_over_an_outage_of_many_polls(autojump_clock: trio.testing.MockClock) -> None:
    """Each poll gives up after its tries, and the waits of the next go on growing; then all is as before."""
    sent, tickers = await polled([503] * 6, 140)

    waits = [round(later - earlier, 6) for earlier, later in pairwise(sent)]
    assert waits[:6] == [1, 2, 4, 8, 16, 32]
    assert set(waits[7:]) == {5}
    assert tickers == len(sent) - 6
