"""The built-in exchange in this process, in the place of the real ones."""

from __future__ import annotations

from functools import partial

import trio
from attrs import evolve

from trioagg.settings import Settings
from trioagg.simulator.pairs import listed
from trioagg.simulator.server import serve


async def simulated(nursery: trio.Nursery, settings: Settings) -> Settings:
    """Start it in a nursery, and settings that point to it."""
    there = [symbol for symbol in settings.run.symbols if symbol in listed()]
    urls = await nursery.start(partial(serve, exchanges=settings.run.exchanges, symbols=there))
    venues = {
        name: evolve(settings.venue(name), rest_url=served.rest, ws_url=served.ws) for name, served in urls.items()
    }
    return evolve(settings, venues={**settings.venues, **venues})
