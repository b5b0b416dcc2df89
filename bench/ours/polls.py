"""REST polls: from a request to the events of its answer."""

from __future__ import annotations

import httpx
from attrs import evolve

from bench.figures import Figures, Load, Watch
from bench.frames import natives
from bench.ours import CHANNELS, run, settings
from trioagg.exchanges import Feed, Subscription
from trioagg.exchanges.binance import Adapter
from trioagg.pipeline.flow import flow
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.rest import rest_of
from trioagg.pipeline.tally import Tally
from trioagg.settings import Retry
from trioagg.transport.clock import Stamps
from trioagg.transport.http import open_http


class Unlimited(Adapter):
    """An exchange that may be asked as often as one likes."""

    limits = evolve(Adapter.limits, weight=10**9)


def event(load: Load) -> Figures:
    """Request → events in a flow, one request after the other; each asks for the tickers of all symbols."""
    return run(lambda: _poll(load))


def bare(load: Load) -> Figures:
    """The same requests by httpx alone, on Trio; the answers are dropped as bytes."""
    return run(lambda: _ask(load))


async def _poll(load: Load) -> Figures:
    ticker = evolve(load, shape="bookTicker")
    pairs = natives(load.symbols).items()
    ours = Unlimited(Feed([Subscription(symbol, CHANNELS[ticker.shape], native) for native, symbol in pairs]))
    [fetch] = ours.polls()
    venue = evolve(settings(ticker, "").venue("binance"), min_delay=0)
    inlet, outlet = flow("bench", load.messages * load.symbols)
    intake = Intake(Tally(), [inlet])
    async with open_http() as http:
        rest = rest_of(Unlimited, venue, Retry(), http=http, stamps=Stamps())
        watch = Watch()
        for _ in range(load.messages):
            await rest.converse(ours, fetch, intake)
            await outlet.take(1)
        figures = watch.stop(load.messages)
    assert intake.tally.received == load.messages * load.symbols
    return figures


async def _ask(load: Load) -> Figures:
    async with httpx.AsyncClient() as client:
        watch = Watch()
        for _ in range(load.messages):
            (await client.get(f"{load.rest}/api/v3/ticker/24hr")).raise_for_status()
        return watch.stop(load.messages)
