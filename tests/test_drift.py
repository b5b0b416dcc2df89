"""Schema drift: what an exchange adds is noticed, told once, and hurts nothing."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs

from trioagg import exchanges
from trioagg.pipeline.drift import LARGEST, LOOKS, TOLD, Drift, known, paths
from trioagg.simulator.transcript import load

SECOND = 1_000_000_000
TRADE = b'{"e":"trade","E":2,"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1,"m":true,"M":true}'
NEWER = TRADE[:-1] + b',"z":{"a":[{"b":1}]}}'


def test_a_field_is_named_by_its_way_from_the_outermost() -> None:
    """Objects by their names, lists by what their items hold."""
    assert list(paths({"a": [{"b": 1}, [2]], "c": {"d": None}})) == ["a", "a[].b", "c", "c.d"]


@pytest.mark.parametrize("name", exchanges.names())
def test_a_transcript_drifts_from_nothing(name: str) -> None:
    """Each frame in it is known, field by field."""
    drift = Drift()
    for number, step in enumerate(load(name).steps):
        if step.mark == "<":
            drift.look(name, [step.text.encode()], number * SECOND)

    assert drift.frames == 0 and len(known(name)) > 10


def test_an_unknown_field_is_counted_each_time_and_told_once() -> None:
    """With every field inside it, for the exchange that sent it."""
    drift = Drift()
    with capture_logs() as logs:
        drift.look("binance", [NEWER, TRADE, NEWER, b"torn{"], 0)

    assert drift.frames == 2
    assert [entry["field"] for entry in logs] == ["z", "z.a", "z.a[].b"]


def test_a_busy_feed_is_looked_at_in_samples() -> None:
    """So many frames a second, and none that is huge."""
    drift = Drift()
    drift.look("binance", [NEWER] * (LOOKS - 1), 0)
    drift.look("binance", [NEWER] * 1000, 1)
    assert drift.frames == LOOKS
    drift.look("binance", [b'{"z":"' + b"x" * LARGEST + b'"}'], SECOND)
    assert drift.frames == LOOKS


def test_a_hostile_far_end_fills_no_log() -> None:
    """Only so many names are told and kept."""
    drift = Drift()
    with capture_logs() as logs:
        for number in range(3 * TOLD):
            drift.look("binance", [json.dumps({f"x{number}": 1}).encode()], number * SECOND)

    assert (drift.frames, len(logs)) == (3 * TOLD, TOLD)
