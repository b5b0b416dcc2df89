"""Captures as a source: what is read out of their lines, whatever is in them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from trioagg.errors import SettingsError
from trioagg.simulator import load
from trioagg.simulator.feeds import WINDOW, Tape, TapeFeed
from trioagg.simulator.market import Market
from trioagg.simulator.recording import Recording

WS = "wss://stream.binance.com:9443"
REST = "https://api.binance.com/api/v3"
READ = load("binance").recorded


def trade(number: int, price: str = "10.5", at: int = 1000) -> str:
    """A trade's payload."""
    figures = {"p": price, "q": "2", "T": at + number, "m": False, "M": True}
    return json.dumps({"e": "trade", "E": at + number, "s": "BTCUSDT", "t": number, **figures})


def combined(stream: str, payload: str) -> str:
    """A payload in its envelope."""
    return f'{{"stream":"{stream}","data":{payload}}}'


def line(source: str, payload: str, received: int = 0, exchange: str = "binance") -> str:
    """A line of a capture."""
    return json.dumps({"exchange": exchange, "received": received or 10**9, "source": source, "payload": payload})


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A small capture with trades from a stream and from REST, and much that is neither."""
    rows = [
        {"id": 5, "price": "10.25", "qty": "1.5", "time": 1005, "isBuyerMaker": True},
        {"id": 4, "price": "10", "qty": "1", "time": 1004, "isBuyerMaker": False},
    ]
    lines = [
        line(f"{WS}/stream", '{"result":null,"id":1}'),
        line(f"{WS}/stream", combined("btcusdt@trade", trade(1))),
        "no line at all",
        line(f"{WS}/stream", combined("btcusdt@trade", trade(2))),
        line(f"{WS}/stream", combined("btcusdt@trade", trade(3))[:60]),
        line(f"{WS}/stream", combined("btcusdt@trade", trade(3, price="NaN"))),
        line(f"{WS}/stream", combined("!weather@arr", '{"e":"weather"}')),
        line(f"{REST}/historicalTrades?symbol=BTCUSDT&fromId=3&limit=9", json.dumps(rows)),
        line(f"{REST}/depth?symbol=BTCUSDT&limit=5", '{"lastUpdateId":7,"bids":[],"asks":[]}'),
        line(f"{WS}/ws/ethusdt@trade", trade(9), exchange="other"),
        line(f"{WS}/stream", combined("btcusdt@trade", trade(2))),
        line(f"{WS}/stream", combined("btcusdt@trade", trade(6))),
        line(f"{REST}/depth?symbol=BTCUSDT&limit=5", '{"lastUpdateId":8,"bids":[],"asks":[]}'),
    ]
    path = tmp_path / "small.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


async def test_history_grows_as_it_plays(recording: Path) -> None:
    """Nothing has happened before the play; afterwards every trade of stream and REST is there once, in order."""
    source, tape = Recording(str(recording), "binance", READ), Tape()
    assert list(source.prints("BTC/USDT", 0, 100)) == []
    assert json.loads(source.recorded("/api/v3/depth?limit=5&symbol=BTCUSDT") or b"")["lastUpdateId"] == 7
    await source.play(tape, rate=1e6)
    assert [row[0] for row in source.prints("BTC/USDT", 0, 100)] == [1, 2, 4, 5, 6]
    assert [row[0] for row in source.prints("BTC/USDT", 2, 5)] == [2, 4]
    assert json.loads(source.recorded("/api/v3/depth?limit=5&symbol=BTCUSDT") or b"")["lastUpdateId"] == 8
    span = source.span("BTC/USDT", 0, source.now(0))
    assert (span.count, span.high, span.low) == (6, 10_5000_0000, 10_0000_0000)
    assert source.pairs["BTC/USDT"].tick == 2500_0000


async def test_frames_go_to_those_who_want_them(recording: Path) -> None:
    """Frames of a stream reach its subscribers in the form they asked for; what nobody understands reaches all."""
    source, tape = Recording(str(recording), "binance", READ), Tape()
    dialect = load("binance")(source)
    sessions = [dialect.session(target) for target in ("/stream?streams=btcusdt@trade", "/ws/ethusdt@trade", "/ws")]
    feeds = [TapeFeed(session, tape) for session in sessions if session]
    await source.play(tape, rate=1e6)
    first, second, third = ([frame.decode() for _, frames in feed.take(0) for frame in frames] for feed in feeds)
    torn, weather = combined("btcusdt@trade", trade(3))[:60], combined("!weather@arr", '{"e":"weather"}')
    odd = combined("btcusdt@trade", trade(3, price="NaN"))
    known = [combined("btcusdt@trade", trade(number)) for number in (1, 2, 2, 6)]
    assert first == [*known[:2], torn, odd, weather, *known[2:]]
    assert second == [torn, odd, weather] and third == []


def test_raw_frames_find_their_stream() -> None:
    """A payload without envelope belongs to what its path or its fields say."""
    best = '{"u":1,"s":"BTCUSDT","b":"1.0","B":"1","a":"2.0","A":"1"}'
    for url, payload, stream in [
        (f"{WS}/ws/btcusdt@trade", trade(1), "btcusdt@trade"),
        (f"{WS}/ws", trade(1), "btcusdt@trade"),
        (f"{WS}/ws", best, "btcusdt@bookTicker"),
        (f"{WS}/ws", '{"e":"kline","s":"ETHBTC","k":{"i":"1m"}}', "ethbtc@kline_1m"),
        (f"{WS}/ws", '{"e":"24hrTicker","s":"ETHBTC"}', "ethbtc@ticker"),
    ]:
        found = READ(url, payload.encode())
        assert found is not None and found.stream == stream and found.data == payload.encode()


def test_late_readers_fall_off_the_tape() -> None:
    """The tape keeps a window: who is slower than that is told so."""
    session, tape = load("binance")(Market()).session("/ws/btcusdt@trade"), Tape()
    assert session is not None
    feed = TapeFeed(session, tape)
    for number in range(WINDOW):
        tape.add("", b"%d" % number)
    assert not feed.late(0) and feed.more(0) and next(feed.take(0))[1][0] == b"0"
    for number in range(WINDOW):
        tape.add("", b"%d" % number)
    assert feed.late(0)


@pytest.mark.parametrize("content", [b"", b"not a capture\n", b"\x1f\x8btorn"])
def test_captures_that_hold_nothing(tmp_path: Path, content: bytes) -> None:
    """A file without a line of the exchange, or torn, is one line of explanation."""
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"^capture .*bad\.jsonl[^\n]*$"):
        Recording(str(path), "binance", READ)
