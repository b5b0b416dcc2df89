"""Alerts of a whole run on the fake clock: each is raised and resolved once in its incident, and never without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
import trio
from attrs import evolve, field, frozen
from staged import Stage, play

from trioagg.exchanges.binance import Adapter
from trioagg.integrity.alerts import Rule
from trioagg.model import Channel
from trioagg.settings import Alerts

FIVE = ("binance", "bybit", "coinbase", "kraken", "okx")
BEGIN, END = 100, 250
"""From when until when an incident lasts, in seconds."""
Act = Callable[[Stage], Awaitable[None]]


async def test_a_calm_run_raises_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Five exchanges, four minutes; some lack the contract, and a spot market has neither funding nor liquidations."""
    channels = (Channel.TRADES, Channel.TICKER, Channel.FUNDING, Channel.LIQUIDATIONS)
    stage = await play(240, exchanges=FIVE, symbols=("BTC/USDT", "BTC/USDT:USDT"), channels=channels)

    assert stage.told == []
    assert {event.exchange for event in stage.shelf.events} == set(FIVE)
    assert not any("again" in entry["event"] for entry in stage.logs)


async def test_a_start_is_no_incident(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing is there yet, and for a while nothing can be reached."""
    stage = await play(100, faults={"binance": ["refuse,at=0,for=20"]})
    assert stage.told == [] and any("cannot be reached" in entry["event"] for entry in stage.logs)


async def test_a_stop_is_no_incident(autojump_clock: trio.testing.MockClock) -> None:
    """However little is borne: the connections are gone, and storing what they brought takes a while."""

    async def full(stage: Stage) -> None:
        await trio.sleep(29)
        stage.shelf.opened = trio.Event()

    hasty = Rule(3, 1, 0, 1)
    stage = await play(30, act=full, alerts=Alerts(exchange=hasty, stream=hasty, silence=evolve(hasty, level=10)))
    assert stage.told == [] and stage.shelf.events and trio.current_time() > 37


def lasting(**values: Any) -> Act:
    """Attributes of the stage are so while the incident lasts."""
    usual = Stage()

    async def act(stage: Stage) -> None:
        await trio.sleep_until(BEGIN)
        for name, value in values.items():
            setattr(stage, name, value)
        await trio.sleep_until(END)
        for name in values:
            setattr(stage, name, getattr(usual, name))

    return act


async def closed(stage: Stage) -> None:
    """The store takes nothing for a while."""
    await trio.sleep_until(BEGIN)
    stage.shelf.opened = trio.Event()
    await trio.sleep_until(END - 50)
    stage.shelf.opened.set()


@frozen
class Incident:
    """What happens, and what must be told of it.

    Attributes:
        alerts: each is raised, and each is resolved, once.
        more: how the run is played.
    """

    alerts: set[str]
    act: Act | None = None
    more: Mapping[str, Any] = field(factory=dict)


ETH = "binance ETH/USDT trades"
INCIDENTS = {
    "exchange": Incident(
        {"exchange binance"}, more={"faults": {"binance": [f"cut,at={BEGIN}", f"refuse,at={BEGIN - 1},for=150"]}}
    ),
    "dead wire": Incident({"exchange binance"}, more={"faults": {"binance": [f"partition,at={BEGIN},for=150"]}}),
    "stream": Incident(
        {f"stream {ETH}"}, lasting(banned="ethusdt@trade"), {"faults": {"binance": [f"cut,at={BEGIN + 1}"]}}
    ),
    "silence": Incident(
        {f"silence {ETH}"}, lasting(muted=b"ethusdt@trade"), {"alerts": Alerts(silence=Rule(60, 30, 0, 10))}
    ),
    "gap": Incident(
        {f"gap {ETH}", f"gap {ETH.replace('ETH', 'BTC')}"},
        more={
            "faults": {"binance": [f"skip,at={BEGIN},for=10,share=0.5", f"503,at={BEGIN - 1},for=150"]},
            "alerts": Alerts(gap=Rule(60, 30, 0, 10)),
        },
    ),
    "lag": Incident({"lag binance"}, more={"faults": {"binance": [f"slow,at={BEGIN},for=90,rate=250"]}}),
    "skew": Incident({"skew binance", "lag binance"}, lasting(shift=20.0)),
    "fill": Incident({"fill database"}, closed, {"rate": 60.0}),
    "disk": Incident({"disk"}, lasting(free=100.0)),
    "price": Incident(
        {"price kraken BTC/USDT", "price kraken ETH/USDT"},
        lasting(factor=Decimal("1.05")),
        {"exchanges": ("binance", "kraken", "okx")},
    ),
}


@pytest.mark.parametrize("name", INCIDENTS)
async def test_an_incident_is_told_once_and_its_end_once(
    name: str, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it lasts, and no other alert is."""
    incident = INCIDENTS[name]
    if name == "stream":
        monkeypatch.setattr(Adapter, "limits", evolve(Adapter.limits, streams=1))
    stage = await play(**{"seconds": 340, "act": incident.act, **incident.more})

    turns = [(turn, " ".join(filter(None, about))) for _, turn, *about in stage.told]
    assert sorted(turns) == sorted((turn, alert) for turn in ("raised", "resolved") for alert in incident.alerts)
    assert all(BEGIN < at <= END for at, turn, *_ in stage.told if turn == "raised")
    logged = Counter(entry["event"] for entry in stage.logs if "alert" in entry)
    assert logged.keys() == {"alert raised", "alert resolved"}
    assert max(logged.values()) <= len(incident.alerts), "one line for what one look changes, and no line twice"
