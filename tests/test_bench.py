"""The benchmark: every case sees every message, all of them make the same events, and what is left out is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from attrs import evolve
from trio_websocket import open_websocket_url

sys.path.append(str(Path(__file__).parent.parent))  # behind the installed package

pytest.importorskip("resource", reason="the benchmark needs POSIX")

from bench import __main__ as command
from bench import envs, parts, peers, report
from bench.cases import Bench, Case
from bench.drain import drain
from bench.figures import Figures, Load, Watch
from bench.frames import HEAD, MARK, SHAPES, STAMP, answer, blocks, natives, pattern, single
from bench.ours import adapter, feed, files, polls
from bench.ours.growth import fill
from bench.ours.memory import stalled
from bench.ours.stages import stages
from bench.peers import floor, naive
from bench.report import Aim, Section
from bench.server import ROOT, Address, load_server
from trioagg.exchanges.binance import Adapter
from trioagg.model import Trade

Measure = Callable[[Load], Figures]

SYMBOLS, MESSAGES = 3, 700
SYMBOL_NAMES = natives(SYMBOLS)
FIGURES = Figures(messages=1000, seconds=0.5, cpu=0.25, rss=40.0, p50=1.0, p99=2.0, p999=3.0)
CASES = [drain, feed.event, feed.row, files.row, floor.event, floor.row, naive.event, naive.row]


def where(case: Measure) -> str:
    """Its module and name."""
    return f"{case.__module__}:{getattr(case, '__name__', '')}"


@pytest.fixture(scope="module")
def server() -> Iterator[Address]:
    """The load server, in its own process."""
    with load_server() as address:
        yield address


@pytest.fixture
def load(server: Address) -> Load:
    """Some trades."""
    return Load(server.plain, SYMBOLS, MESSAGES)


@pytest.fixture
def bench(server: Address) -> Bench:
    """A small run."""
    return Bench(server=server, rounds=1, messages=MESSAGES, symbols=SYMBOLS, stall=0.3, rows=MESSAGES)


def trades(load: Load) -> list[bytes]:
    """The frames that a load brings."""
    return list(single(pattern(load.shape, natives(load.symbols)), load.messages))


def undated(events: object) -> list[tuple[object, ...]]:
    """What trades tell, whatever their class, without their time of receipt."""
    assert isinstance(events, list)
    return [tuple(getattr(event, name) for name in Trade.__match_args__[:-1]) for event in events]


@pytest.mark.parametrize("case", CASES, ids=where)
def test_a_case_ends_after_all_messages(load: Load, case: Measure) -> None:
    """Each case takes exactly what was asked for, and its figures are possible."""
    figures = case(load)

    assert figures.messages == MESSAGES
    assert 1_000 < figures.rate < 50_000_000
    assert 0 < figures.micros < 1_000
    assert 10 < figures.rss < 2_000
    assert figures.p999 == 0


@pytest.mark.parametrize("case", [feed.event, feed.row, naive.row, floor.row], ids=where)
def test_a_live_feed_keeps_its_pace(load: Load, case: Measure) -> None:
    """Frames come one by one, no faster than asked, and latencies count from their sending."""
    figures = case(evolve(load, messages=100, rate=1_000))

    assert 50 < figures.rate < 1_200
    assert 0 < figures.p50 <= figures.p99 <= figures.p999 < 5_000


@pytest.mark.parametrize("shape", ["trade", "bookTicker", "depth", "mixed"])
def test_every_shape_is_understood(load: Load, shape: str) -> None:
    """An adapter takes all of a shape's frames, in one piece or alone, and keeps its books standing."""
    wanted = evolve(load, shape=shape)
    ours = feed.primed(wanted)
    out = ours.digest([frame[HEAD:] for frame in trades(wanted)], 1)

    assert feed.event(wanted).messages == MESSAGES
    assert {type(item).__name__ for item in out} == {
        "trade": {"Trade"},
        "bookTicker": {"Ticker"},
        "depth": {"Quote", "Book"},
        "mixed": {"Trade", "Ticker", "Quote", "Book"},
    }[shape]


def test_best_prices_become_rows(load: Load) -> None:
    """A ticker of the stream is a row."""
    assert feed.row(evolve(load, shape="bookTicker")).messages == MESSAGES


def test_many_exchanges_share_the_messages(load: Load) -> None:
    """Each has symbols of its own; together they have all messages."""
    assert [(one.first, one.symbols, one.messages) for one in load.share(3)] == [
        (n, 1, MESSAGES // 3) for n in range(3)
    ]
    assert feed.exchanges(load, "3").messages == MESSAGES // 3 * 3


def test_a_stalled_store_loses_nothing(load: Load) -> None:
    """Everything is stored after the stall, and memory was looked at."""
    found = stalled(evolve(load, messages=20_000), "0.5")

    assert (found["stored"], found["duplicates"]) == (20_000, 0) and found["seconds"] > 0.5
    assert 10 < found["before"] <= found["during"] <= found["most"] + 1


def test_polls_bring_all_symbols(load: Load) -> None:
    """Each answer is as many events as there are symbols; httpx alone gets the same answers."""
    few = evolve(load, messages=5)

    assert polls.event(few).messages == polls.bare(few).messages == 5


def test_a_file_grows(load: Load, tmp_path: Path) -> None:
    """All messages become rows of one file, and both rates are above nothing."""
    rates = fill(load, str(tmp_path / "grown.db"))

    assert rates["early"] > 0 and rates["late"] > 0


def test_every_stage_costs_something(load: Load) -> None:
    """Stages in the order of the line, each above nothing; the last is a difference, which noise may turn around."""
    micros = stages(evolve(load, messages=20_000))

    assert list(micros) == ["split", "decode, event (digest)", "intake, flow", "ledger", "row tuples", "store, SQLite"]
    assert all(cost > 0 for stage, cost in micros.items() if stage != "store, SQLite")


def test_a_case_runs_in_a_process_of_its_own(bench: Bench) -> None:
    """What the child prints, the parent reads as figures, whatever was printed before."""
    case = Case("bench.peers.floor:event", bench.load)

    assert bench.figures({"one": case}, 2)["one"][1].messages == MESSAGES
    assert bench.one(Case("bench.ours.commands:wait", bench.load, (sys.executable, "-c", "pass")))["seconds"] > 0


def test_messages_come_through_tls(bench: Bench) -> None:
    """The server's certificate is trusted by the case's process."""
    if not bench.server.secure:
        pytest.skip("no openssl command")
    load = evolve(bench.load, server=bench.server.secure, scheme="wss")

    assert bench.one(Case("bench.ours.feed:row", load))["messages"] == MESSAGES


async def test_the_server_hears_its_client(load: Load) -> None:
    """Pings are answered in the midst of a feed, and a good-bye ends it."""
    with trio.fail_after(10):
        async with open_websocket_url(evolve(load, rate=2_000).ws, message_queue_size=MESSAGES) as socket:
            assert await socket.get_message()
            await socket.ping()
            await socket.aclose()
        assert socket.closed and socket.closed.code == 1000


@pytest.mark.parametrize("shape", SHAPES)
def test_the_frames_are_the_same_in_blocks_and_alone(load: Load, shape: str) -> None:
    """Both ways send the same bytes, of one WebSocket frame each, and no mark is left."""
    frames = pattern(shape, SYMBOL_NAMES)
    whole = b"".join(blocks(frames, MESSAGES))

    assert whole == b"".join(single(frames, MESSAGES))
    assert all(int.from_bytes(frame[2:HEAD]) == len(frame) - HEAD and 126 <= len(frame) < 2**16 for frame in frames)
    assert MARK.encode() not in whole and STAMP.encode() not in whole


def test_ids_are_contiguous(load: Load) -> None:
    """Each symbol's ids count up by one."""
    events, rest = floor.bare(b"".join(trades(load)), SYMBOL_NAMES, load.tick)

    assert not rest
    for symbol in SYMBOL_NAMES.values():
        ids = [event.trade_id for event in events if event.symbol == symbol]
        assert ids == list(range(3_000_000_000, 3_000_000_000 + len(ids)))


def test_all_make_the_same_events(load: Load) -> None:
    """Floor, naive loop and ours differ in nothing but the time of receipt."""
    texts = [frame[HEAD:] for frame in trades(load)]

    low = floor.bare(b"".join(trades(load)), SYMBOL_NAMES, load.tick)[0]
    plain = [naive.plain(text.decode(), SYMBOL_NAMES, load.tick) for text in texts]
    ours = adapter(load).digest(texts, 0)
    assert undated(low) == undated(plain) == undated(ours) and len(ours) == MESSAGES


def test_the_list_of_instruments_is_good() -> None:
    """REST's answer names every symbol."""
    [fetch] = Adapter.listing()

    assert [item.native for item in Adapter.instruments(fetch, answer(fetch.path, SYMBOL_NAMES))] == [*SYMBOL_NAMES]


@pytest.mark.parametrize("name", peers.names())
def test_a_peer_says_what_it_needs(name: str) -> None:
    """Its file can be read without its library, and pins what it wants."""
    peer = peers.load(name)

    assert callable(peer.event) and peer.SLOW >= 1 and peer.TITLE
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in peer.PINS)


def test_a_peer_that_cannot_run_is_left_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is told, and the others go on."""
    monkeypatch.setattr(peers.load("cryptofeed3"), "PYTHON", "9.9")

    assert bench.peer("cryptofeed3", "event", bench.load) == {}
    assert bench.left_out == {"cryptofeed3": "there is no Python 9.9"}
    assert list(bench.peer("floor", "event", bench.load)) == ["floor event"]


def test_a_peer_that_fails_is_left_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that does not come up costs its own lines only."""
    monkeypatch.setattr(peers.load("ccxtpro"), "PINS", ())  # runs where there is no such library

    assert bench.peer("ccxtpro", "event", bench.load) == {}
    assert "did not come through" in bench.left_out["ccxtpro"]


def test_the_last_message_ends_a_peer() -> None:
    """Its loop would go on for ever; what it says on the way does not matter."""
    code = (
        "from bench.figures import Load; from bench.peers import Count; count = Count(Load('', 1, 3, rate=1));"
        "print('hello'); [count.sent(0) for _ in iter(int, 1)]"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=30, check=True)

    figures = Figures(**json.loads(done.stdout.splitlines()[-1]))
    assert figures.messages == 3 and figures.p50 > 1e9


def test_the_start_is_no_latency() -> None:
    """The first tenth of a feed waited for the client to start."""
    figures = Watch().stop(100, [10**9] * 10 + [10**6] * 88 + [10**7, 10**8])

    assert (figures.p50, figures.p99, figures.p999) == (1.0, 100.0, 100.0)


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used again while its pins are the same."""
    peer, done = SimpleNamespace(PINS=("a==1",), PYTHON=""), list[tuple[str, ...]]()
    monkeypatch.setattr(envs, "FOLDER", tmp_path)

    def do(*words: str) -> None:
        (tmp_path / "one").mkdir(exist_ok=True)
        done.append(words)

    monkeypatch.setattr(envs, "_do", do)
    for pins in (("a==1",), ("a==1",), ("a==2",)):
        peer.PINS = pins
        assert envs.python_for("one", peer) == str(tmp_path / "one" / "bin" / "python")  # type: ignore[arg-type]
    assert [words[-2] for words in done if "pip" in words] == ["a==1", "a==2"]


def test_a_step_that_fails_is_told() -> None:
    """What it said last is the reason."""
    with pytest.raises(envs.LeftOut, match="no such thing"):
        envs._do(sys.executable, "-c", "import sys; sys.exit('at first\\nno such thing')")
    with pytest.raises(envs.LeftOut, match="No such file"):
        envs._do("/nowhere/python")


def test_every_part_has_a_file() -> None:
    """And every file is a part."""
    assert {*parts.NAMES} == {file.stem for file in Path(parts.__file__).parent.glob("[a-z]*.py")}


def test_a_part_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    """Its tables are printed, under the command."""
    command.main(["stages", "--quick", "--messages", "4000"])

    told = capsys.readouterr().out
    assert "`python -m bench stages --quick" in told and "| all of them " in told and "## REST" not in told


def test_a_part_that_fails_costs_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where, and the next part is measured."""

    def fail(name: str, bench: Bench) -> Section:
        return bench.one(Case("bench.nowhere:case", bench.load)) if name == "rows" else Section(name, ["is there"])

    monkeypatch.setattr(parts, "measure", fail)
    told = command.measure(bench, ["rows", "start"])

    assert "## rows\n\n**This part failed**, at `bench.nowhere:case`." in told and "is there" in told


@pytest.mark.parametrize("words", [["sockets"], ["--peers", "nobody"], ["start", "--write"]])
def test_nonsense_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown parts and peers, and results of a part."""
    with pytest.raises(SystemExit):
        command.main(words)
    assert "error:" in capsys.readouterr().err


def test_the_report_compares_neighbours() -> None:
    """Ratios are taken round by round, and told as median and range."""
    twice = evolve(FIGURES, seconds=0.25)

    assert report.ratio([twice, FIGURES], [FIGURES, FIGURES], report.rate) == [2.0, 1.0]
    told = report.ratios({"ours / it": ([twice, FIGURES], [FIGURES, FIGURES])})
    assert "| 1.50 (1.00 to 2.00) | 1.00 (1.00 to 1.00) |" in told
    assert "4,000 (4,000 to 4,000)" in report.throughput({"it": [twice]}, {"it": "It"})
    assert "| 1.00 (1.00 to 1.00) | 2.00 (2.00 to 2.00) | 3.00 " in report.paced({"it": [FIGURES]}, {"it": "It"})


def test_aims_are_judged_by_the_median() -> None:
    """At least, at most, and what could not be measured."""
    seen = [1.0, 2.0, 9.0]
    verdicts = [Aim("a", 2, seen, least=True), Aim("b", 2.1, seen, least=True), Aim("c", 2, seen), Aim("d", 1, seen)]

    assert [aim.verdict for aim in verdicts] == ["met", "**missed**", "met", "**missed**"]
    assert Aim("e", 1, []).row == ("e", "≤ 1", "", "not measured")
    assert "| d    | ≤ 1   | 2.00 (1.00 to 9.00) | **missed** |" in report.aims([Section("t", [], verdicts)])
