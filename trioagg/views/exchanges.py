"""``trioagg exchanges``: what can be collected, and what proves that nothing of it is missing."""

from __future__ import annotations

import json

from trioagg import exchanges

LATER = "not collected yet: mexc (its streams are Protocol Buffers)"


def show_exchanges(form: str) -> None:
    """Print every exchange: as JSON one object a line, else one line per channel."""
    adapters = [exchanges.load(name) for name in exchanges.names()]
    print("\n".join(map(_object, adapters)) if form == "json" else f"{_table(adapters)}\n{LATER}")


def _object(adapter: type[exchanges.Exchange]) -> str:
    channels = sorted(adapter.channels())
    proofs = {channel.value: adapter.proofs[channel].value for channel in channels}
    return json.dumps(
        {"exchange": adapter.name, "channels": channels, "polled": sorted(adapter.polled), "proofs": proofs}
    )


def _table(adapters: list[type[exchanges.Exchange]]) -> str:
    lines = [f"{'exchange':14}{'channel':15}{'by':14}proof of completeness"]
    for adapter in adapters:
        for channel in sorted(adapter.channels()):
            way = ", ".join(["stream"] * (channel in adapter.streamed) + ["REST"] * (channel in adapter.polled))
            lines.append(f"{adapter.name:14}{channel.value:15}{way:14}{adapter.proofs[channel].value}")
    return "\n".join(lines)
