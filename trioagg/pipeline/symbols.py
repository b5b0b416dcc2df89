"""The instrument list of one exchange, asked for by itself."""

from __future__ import annotations

import trio

from trioagg.errors import LinkError, WireError, bare
from trioagg.exchanges import load
from trioagg.model import Instrument
from trioagg.pipeline.rest import instruments, rest_of
from trioagg.pipeline.simulated import simulated
from trioagg.settings import Settings
from trioagg.transport.clock import Stamps
from trioagg.transport.http import open_http


async def symbols(name: str, settings: Settings, *, offline: bool) -> list[Instrument]:
    """Every market of an exchange, by symbol.

    Args:
        offline: ask the built-in exchange.

    Raises:
        LinkError: the exchange cannot be reached, or does not say; names it.
        SettingsError: there is no such exchange.
    """
    adapter = load(name)
    with bare():
        async with trio.open_nursery() as nursery, open_http() as http:
            there = await simulated(nursery, settings) if offline else settings
            rest = rest_of(adapter, there.venue(name), there.retry, http=http, stamps=Stamps())
            try:
                listed = await instruments(rest, note=lambda answer: None)
            except (LinkError, WireError) as error:
                raise LinkError(f"{name} does not tell its symbols: {error}") from None
            nursery.cancel_scope.cancel()
    return sorted(listed, key=lambda item: item.symbol)
