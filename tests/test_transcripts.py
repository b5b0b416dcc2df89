"""Every adapter against its transcript: what is sent, and what everything that comes in means."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from importlib.resources import files
from typing import cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import encode

from trioagg import exchanges
from trioagg.exchanges import Board, Connect, Exchange, Feed, Fetch, Output, Send, Subscription
from trioagg.model import Book, Candle, Channel, Event, Funding, Instrument, Quarantined, Ticker, Trade
from trioagg.simulator.transcript import Step, Transcript, describe, load
from trioagg.store import Texts, encodable, recalled

SECOND = 1_000_000_000
NAMES = exchanges.names()


def adapter_of(name: str, transcript: Transcript) -> Exchange:
    """The adapter that the transcript's feed line asks for."""
    kind, words = exchanges.load(name), transcript.feed
    subscriptions = [
        Subscription(symbol, Channel(channel), kind.native(symbol))
        for symbol in words["symbols"].split(",")
        for channel in words["channels"].split(",")
    ]
    board: Board = {}
    return kind(Feed(subscriptions, interval=float(words["interval"]), board=board))


def meaning(adapter: Exchange, step: Step, asked: Step | None, at: int) -> list[Output | Instrument]:
    """What the adapter makes of one incoming line."""
    if step.mark == "<":
        return list(adapter.digest([step.text.encode()], at))
    assert asked is not None
    fetch = Fetch(asked.text.partition(" @ ")[0])
    if fetch.path in [listing.path for listing in adapter.listing()]:
        return list(adapter.instruments(fetch, step.text.encode()))
    return list(adapter.answered(fetch, step.text.encode(), at))


def prices(item: Output) -> list[Decimal]:
    """Every number of an event that may not be negative, however deep."""
    if isinstance(item, Funding | Quarantined):
        return []
    cells = [getattr(item, name) for name in type(item).__match_args__]
    levels = [number for cell in cells if isinstance(cell, tuple) for level in cell for number in level]
    return [cell for cell in (*cells, *levels) if isinstance(cell, Decimal)]


def incoming(transcript: Transcript) -> list[tuple[Step, Step | None]]:
    """Each incoming line with the request before it."""
    asked, found = None, []
    for step in transcript.steps:
        asked = step if step.mark == ">>" else asked
        if step.mark in ("<", "<<"):
            found.append((step, asked))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_event_comes_back_from_text_as_it_was(name: str) -> None:
    """Also the kind of a trade's id, which only the exchange knows."""
    transcript = load(name)
    adapter, texts, events = adapter_of(name, transcript), Texts(), get_args(Event)
    out = [item for step, asked in incoming(transcript) for item in meaning(adapter, step, asked, SECOND)]
    batch = [cast(Event, item) for item in out if isinstance(item, events)]
    told, _ = texts.of(batch)
    found = [recalled(one.kind, one.id, encode(encodable(one.row))) for one in told]
    assert Counter(map(bare, found)) == Counter(map(bare, batch))


def bare(item: Event | Instrument) -> tuple[object, ...]:
    """What an event tells, but for its ordinal."""
    cells = (getattr(item, name) for name in type(item).__match_args__ if name != "ordinal")
    return type(item), *cells


def test_there_is_one_transcript_per_adapter() -> None:
    """An adapter without a transcript is untested, a transcript without an adapter is dead."""
    scripts = {path.name.removesuffix(".txt") for path in files("trioagg.simulator").joinpath("scripts").iterdir()}
    assert scripts == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_incoming_line_means_what_the_transcript_says(name: str) -> None:
    """Events, actions and refusals, in order, digit for digit."""
    transcript = load(name)
    adapter = adapter_of(name, transcript)

    for number, (step, asked) in enumerate(incoming(transcript), 1):
        out = meaning(adapter, step, asked, number * SECOND)
        if step.refusal is not None:
            assert len(out) == 1 and isinstance(out[0], Quarantined), f"line {step.line}: {out}"
            assert step.refusal in out[0].reason, f"line {step.line}"
            assert out[0].payload == step.text.encode()
        else:
            assert [describe(item) for item in out] == step.meaning, f"line {step.line}"
            assert all(
                item.received == number * SECOND for item in out if isinstance(item, Trade | Ticker | Candle | Book)
            )


@pytest.mark.parametrize("name", NAMES)
def test_what_is_sent_is_what_the_transcript_says(name: str) -> None:
    """The path to connect to, the frames sent once it is open, and the repeated requests."""
    transcript = load(name)
    adapter = adapter_of(name, transcript)
    steps = transcript.steps

    assert [action.path for action in adapter.begin() if isinstance(action, Connect)] == [
        step.text for step in steps if step.mark == "~"
    ]
    assert [action.text for action in adapter.opened() if isinstance(action, Send)] == [
        step.text for step in steps if step.mark == ">"
    ]
    assert [f"{fetch.path} @ {fetch.every:g}" for fetch in adapter.polls()] == [
        step.text for step in steps if step.mark == ">>" and " @ " in step.text
    ]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_no_mutation_of_a_transcript_raises(name: str, data: st.DataObject) -> None:
    """Torn, spliced and flipped bytes are quarantined or mean something sane, and never raise."""
    transcript = load(name)
    adapter = adapter_of(name, transcript)
    frames = [step.text.encode() for step in transcript.incoming()]
    frame = bytearray(data.draw(st.sampled_from(frames)))
    for _ in range(data.draw(st.integers(1, 4))):
        if frame:
            at = data.draw(st.integers(0, len(frame) - 1))
            end = at + data.draw(st.integers(0, 8))
            frame[at:end] = data.draw(
                st.binary(max_size=6) | st.sampled_from([b"1e999999", b"NaN", b"-", b"null", b"[[["])
            )

    for item in adapter.digest([bytes(frame)], SECOND):
        assert all(number.is_finite() and number >= 0 for number in prices(item)), item
        assert not isinstance(item, Trade) or (item.price > 0 and item.amount > 0)


@pytest.mark.parametrize("name", NAMES)
@given(frame=st.binary(max_size=64))
def test_no_bytes_raise(name: str, frame: bytes) -> None:
    """Whatever comes, the frame alone pays for it."""
    adapter = exchanges.load(name)(Feed())
    adapter.digest([frame], SECOND)
