"""Faults: how they are asked for, when they strike, and what they do to frames; without a socket."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest

from trioagg.errors import SettingsError
from trioagg.simulator import Session, load
from trioagg.simulator.distortion import Distortion
from trioagg.simulator.faults import KINDS, Faults, Statistics, parse
from trioagg.simulator.market import Market

NOW = 1_772_445_600_000_000_000
SECOND = 10**9


def faults(*specs: str, seed: int = 0) -> Faults:
    """Faults over Binance's frames."""
    return Faults(specs, seed=seed, statistics=Statistics(), trade=load("binance").trade)


def told(*specs: str, seed: int = 0, elapsed: float = 1.0) -> tuple[list[bytes], list[bytes], Statistics]:
    """2,000 trades of one symbol as they are, as they arrive, and what was counted."""
    session: Session | None = load("binance")(Market(rate=4000, symbols=["BTC/USDT"])).session("/ws/btcusdt@trade")
    assert session is not None
    all_faults = faults(*specs, seed=seed)
    distortion, frames = Distortion(all_faults, lambda: b'{"e":"news"}'), session.frames(NOW, NOW + SECOND)
    out = [
        frame for place in range(0, len(frames), 7) for frame in distortion.apply(frames[place : place + 7], elapsed)
    ]
    return frames, out, all_faults.statistics


def number(frame: bytes) -> int:
    """The trade's id."""
    return int(json.loads(frame)["t"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_understood(kind: str) -> None:
    """Each kind parses with what it needs."""
    needs = {"cut": ",at=1", "shutdown": ",at=1", "stall": ",at=5,for=10", "slow": ",rate=100"}
    needs |= {"partition": ",for=2", "huge": ",every=3,size=0.1"}
    assert parse(kind + needs.get(kind, "")).kind == kind


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("cutt,at=5", "'cutt'; did you mean cut"),
        ("skip,shar=0.1", "'shar'; did you mean share"),
        ("skip,share=2", "share=2 is not a number from 0 to 1"),
        ("skip,share=nan", "share=nan"),
        ("cut,at=soon", "at=soon"),
        ("cut", "cut needs at or every="),
        ("cut,at", "at needs a value"),
        ("cut,at=1,how=gently", "'gently'"),
        ("slow", "slow needs rate="),
        ("cut,every=0", "every=0"),
        ("777", "'777'"),
        ("", "''"),
    ],
)
def test_mistakes_are_named_in_one_line(spec: str, named: str) -> None:
    """The bad word and a good one stand in one line."""
    with pytest.raises(SettingsError) as caught:
        parse(spec)
    assert named in str(caught.value) and "\n" not in str(caught.value)


def test_when_a_fault_is_there() -> None:
    """``at`` and ``for`` bound it, ``every`` repeats it from the first round on."""
    once, often, always = parse("stall,at=5,for=10"), parse("stall,every=10,for=2"), parse("skip")
    assert [once.active(at) for at in (4.9, 5, 14.9, 15)] == [False, True, True, False]
    assert [often.active(at) for at in (1, 10, 11.9, 12, 21)] == [False, True, True, False, True]
    assert always.active(0) and always.lasting == math.inf
    assert [parse("cut,at=5").next(at) for at in (0, 5)] == [5, None]
    assert [parse("cut,every=10").next(at) for at in (0, 10, 25)] == [10, 20, 30]


def test_stall_leaves_new_connections_alone() -> None:
    """Only those that were open when it began are silent."""
    stalled = faults("stall,at=5,for=10").stalled
    assert [stalled(6, 1), stalled(6, 5.5), stalled(4, 1), stalled(15, 1)] == [True, False, False, False]


def test_what_befalls_new_connections_too() -> None:
    """Silence whatever was acknowledged, and a partition, which tells for how long it goes on."""
    told = faults("ack-and-silence,at=5,for=10", "partition,at=20,for=2", "partition,at=21,for=3")
    assert [told.stalled(at, 6) for at in (4, 7, 15)] == [False, True, False]
    assert [told.cut_off(at) for at in (19, 20, 21.5, 24)] == [0, 2, 2.5, 0]


def test_refusals_are_counted_and_patience_is_checked() -> None:
    """One 429, then only those who come too early are refused, with the seconds that are left."""
    asked = faults("429,at=5,count=1,retry_after=3", "5xx,at=20,for=5")
    assert asked.status(1) is None
    assert asked.status(5) == (429, 3.0)
    assert asked.status(6) == (429, 2.0)
    assert asked.status(8) is None
    assert [asked.status(at) for at in (20, 24, 25)] == [(503, None), (503, None), None]
    assert (asked.statistics.impatient, asked.statistics.faults) == (1, {"429": 1, "5xx": 2})


def test_so_many_connections_are_refused_and_no_more() -> None:
    """``count`` ends it, whenever they come."""
    asked = faults("refuse,at=5,count=2")
    assert [asked.refusing(at) for at in (4, 5, 600, 601)] == [False, True, True, False]
    assert asked.statistics.faults == {"refuse": 2}


def test_without_faults_frames_pass() -> None:
    """Nothing is changed outside a fault's time."""
    frames, out, statistics = told("skip,share=1,at=5", "garble,share=1,for=1")
    assert out == frames and not statistics.faults


def test_skip() -> None:
    """Lost trades are those that are counted and named, in about the share asked for."""
    frames, out, statistics = told("skip,share=0.05")
    lost = statistics.lost["BTCUSDT"]
    assert {number(f) for f in frames} - {number(f) for f in out} == lost
    assert len(lost) == statistics.faults["skip"] and 60 < len(lost) < 140
    assert [f for f in frames if number(f) not in lost] == out


def test_chance_follows_from_the_seed() -> None:
    """The same seed strikes the same frames, another seed others."""
    lost = [told("skip,share=0.05", seed=seed)[2].lost for seed in (3, 3, 4)]
    assert lost[0] == lost[1] != lost[2]


def test_repeat() -> None:
    """Repeated trades come twice in a row."""
    frames, out, statistics = told("repeat,share=0.05")
    assert len(out) - len(frames) == statistics.faults["repeat"] > 60
    assert list(dict.fromkeys(out)) == frames and not statistics.lost


def test_reorder() -> None:
    """Some trades come after their successor, none is lost."""
    frames, out, statistics = told("reorder,share=0.05")
    assert sorted(out, key=number) == frames != out
    early = sum(number(b) < number(a) for a, b in pairwise(out))
    assert early == statistics.faults["reorder"] > 60


def test_garble() -> None:
    """Torn frames are no JSON any more, and their trades are named as lost."""
    frames, out, statistics = told("garble,share=0.05")
    torn = [place for place, frame in enumerate(out) if not frame.endswith(b"}")]
    assert len(out) == len(frames) and len(torn) == statistics.faults["garble"] > 60
    assert {number(frames[place]) for place in torn} == statistics.lost["BTCUSDT"]
    for place in torn:
        with pytest.raises(json.JSONDecodeError):
            json.loads(out[place])


def test_unknown_and_extra() -> None:
    """Frames of unknown kinds come in addition; unknown fields lie in frames that are otherwise the same."""
    frames, out, statistics = told("unknown,share=0.05", "extra,share=0.05")
    assert out.count(b'{"e":"news"}') == statistics.faults["unknown"] > 60
    known = [json.loads(frame) for frame in out if frame != b'{"e":"news"}']
    assert sum("newField" in frame for frame in known) == statistics.faults["extra"] > 60
    assert [{k: v for k, v in f.items() if k != "newField"} for f in known] == [json.loads(f) for f in frames]


def test_all_at_once_account_for_every_trade() -> None:
    """With every distortion together, what did not arrive is what is named as lost."""
    specs = [f"{kind},share=0.1" for kind in ("repeat", "garble", "skip", "unknown", "extra", "reorder")]
    frames, out, statistics = told(*specs)
    held = {number(frames[-1]), number(frames[-2])}  # may wait for a trade that never comes
    arrived = {number(f) for f in out if f.endswith(b"}") and b"news" not in f}
    assert {number(f) for f in frames} - arrived - held <= statistics.lost["BTCUSDT"]
    assert not arrived & statistics.lost["BTCUSDT"]
