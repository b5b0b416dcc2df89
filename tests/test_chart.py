"""Charts show what was traded, and a gap where nothing was."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from matplotlib.image import imread

from trioagg.cli import main
from trioagg.model import Candle, Event, Ticker, Trade, TradeId
from trioagg.store import Bar, Scale, Series, Writer, database, seek, series
from trioagg.store.order import Found
from trioagg.views import axes
from trioagg.views.blocks import draw

T0 = 1_769_860_800_000_000_000
"""2026-01-31, noon, UTC."""

SECOND, MINUTE = 10**9, 60 * 10**9
SCALE = Scale("1m", MINUTE, 60)


def trade(
    at: int, price: str, number: TradeId | None = None, *, market: str = "binance BTC/USDT", amount: str = "0.5"
) -> Trade:
    exchange, symbol = market.split()
    when = T0 + at * SECOND
    return Trade(exchange, symbol, at if number is None else number, Decimal(price), Decimal(amount), "buy", when, when)


def candle(number: int, prices: str, interval: str = "1m", symbol: str = "BTC/USDT") -> Candle:
    start, high, low, end, volume = map(Decimal, prices.split())
    opened = T0 + number * MINUTE
    return Candle("binance", symbol, interval, opened, start, high, low, end, volume, closed=True, received=T0)


def ticker(at: int, last: str | None, bid: str | None = "1.0", ask: str | None = "1.1") -> Ticker:
    prices = [None if price is None else Decimal(price) for price in (bid, ask, last)]
    return Ticker("binance", "BTC/USDT", prices[0], None, prices[1], None, prices[2], None, None, T0 + at * SECOND)


def stored(*events: Event) -> None:
    """A database with these in it."""
    with closing(Writer.open(Path("trioagg.db"))) as writer:
        writer.write(events)


def read(scale: Scale = SCALE, exchanges: tuple[str, ...] = ()) -> list[Series]:
    with database("trioagg.db") as db:
        return series(db, "BTC/USDT", scale, exchanges)


def told(bars: list[Bar] | Series) -> list[str]:
    """Each bar as minute, open, high, low, close, volume."""
    found = bars.bars if isinstance(bars, Series) else bars
    return [
        f"{(bar.open_time - T0) // MINUTE}: {bar.open} {bar.high} {bar.low} {bar.close} {bar.volume}" for bar in found
    ]


def typed(*words: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main([*words])
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands run in an empty folder, as from a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_trades_make_exact_candles_and_none_where_there_were_none() -> None:
    """The first and the last of each minute, by time, those of one instant by their ids; a digit is never lost."""
    stored(
        trade(3, "10.10", 2, amount="0.3"),
        trade(59, "11.00", 60, amount="0.2"),
        trade(59, "11.5", 59, amount="0.3"),
        *(trade(at, price) for at, price in ((3, "10.20"), (4, "12.0"), (5, "9.5"))),
        trade(60, "0.1234567890123456789012345678", 61, amount="0.0000000000000000000000000001"),
        trade(185, "8"),
    )
    (found,) = read()
    digits = "0.1234567890123456789012345678"
    assert told(found) == [
        "0: 10.10 12.0 9.5 11.00 2.3",
        f"1: {digits} {digits} {digits} {digits} 1E-28",
        "3: 8 8 8 8 0.5",
    ]
    assert (found.source, found.slots, [found.slot(bar) for bar in found.bars]) == ("trades", 4, [0, 1, 3])


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("text", [False, True])
def test_the_newest_candles_are_made_whatever_the_ids_say(
    *, hashed: bool, text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In steps from the end; ids in order need no look at older trades, hashes need one at all."""
    monkeypatch.setattr(seek, "AT_ONCE", 4)
    steps: list[object] = []

    def counted(*where: Any) -> list[Found]:
        steps.append(where[-1])
        return seek.before(*where)

    monkeypatch.setattr("trioagg.store.times.before", counted)
    numbers: list[TradeId] = [n * 7919 % 1009 if hashed else n for n in range(200)]
    ids = [f"x{n}" for n in numbers] if text else numbers
    stored(*(trade(10 * n, f"{n}", ids[n]) for n in range(200)))
    (found,) = read(Scale("1m", MINUTE, 2))
    assert told(found) == ["32: 192 197 192 197 3.0", "33: 198 199 198 199 1.0"]
    assert (len(steps) > 50) == (hashed and not text)


def test_stored_candles_go_before_trades_and_those_before_tickers() -> None:
    """Of the interval that is asked for; a ticker without a last price counts as the middle of bid and ask."""
    stored(ticker(1, "1.25"), ticker(2, None), ticker(3, None, bid=None), ticker(130, "1.5"))
    (found,) = read()
    assert (found.source, told(found)) == ("ticker", ["0: 1.25 1.25 1.05 1.05 0", "2: 1.5 1.5 1.5 1.5 0"])
    stored(trade(1, "2"), candle(0, "5 6 4 5.5 1", "5m"))
    assert read()[0].source == "trades"
    stored(candle(0, "3 3.5 2.50 3 7"), candle(2, "3 4 3 3.9 0"))
    (found,) = read()
    assert (found.source, told(found)) == ("candles", ["0: 3 3.5 2.50 3 7", "2: 3 4 3 3.9 0"])


def test_a_limit_counts_intervals() -> None:
    """The empty ones too, so that a chart never reaches further back than was asked for."""
    stored(*(candle(n, "1 2 1 2 1") for n in (0, 1, 2, 9, 10)))
    assert [line[:2] for line in told(read(Scale("1m", MINUTE, 3))[0])] == ["9:", "10"]
    assert [line[:2] for line in told(read(Scale("1m", MINUTE, 9))[0])] == ["2:", "9:", "10"]


def made(*prices: str | None) -> Series:
    """Bars of "open high low close volume", minute after minute, None for none."""
    bars = []
    for number, text in enumerate(prices):
        if text:
            opened, high, low, close, volume = map(Decimal, text.split())
            at = T0 + number * MINUTE
            bars.append(Bar(at, at, at, opened, high, low, close, volume))
    return Series("binance", "BTC/USDT", "1m", MINUTE, "trades", bars)


def test_characters_show_bodies_wicks_and_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rising body is a line, a falling one a block, wicks are thin, and nothing stands where nothing was traded."""
    monkeypatch.setattr("trioagg.views.blocks.HEIGHT", 4)
    text = draw(made("2 8 1 6 4", "7 8 4 5 1", None, "3 3 3 3 8"), 16, colour=False)
    assert text.splitlines() == [
        "binance BTC/USDT",
        "last 3, 2026-01-",
        "│ ▄     │",
        "┃ █     │",
        "┃ ╵   ╻ │",
        "╿       │",
        "▅ ▂   █ volume",
        "12:00",
    ]


def test_colours_are_told_apart_and_may_be_left_out() -> None:
    """Green rises, red falls; without them the signs differ."""
    coloured = draw(made("1 2 1 2 0", "2 2 1 1 0"), 80, colour=True)
    assert "\x1b[32m┃\x1b[0m" in coloured and "\x1b[31m█\x1b[0m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == draw(made("1 2 1 2 0", "2 2 1 1 0"), 80, colour=False)
    assert "volume" not in coloured


@pytest.mark.parametrize("width", [1, 20, 41, 80, 200])
def test_a_chart_fits_the_terminal(width: int) -> None:
    """The newest candles that there is room for, on any width that holds the prices."""
    found = made(*(f"{n}.5 {n + 2} {n} {n + 1} {n}" for n in range(1000, 1120)))
    lines = draw(found, width, colour=False).splitlines()
    assert max(map(len, lines)) <= max(width, 10)
    assert "1,1" in "".join(lines) or width == 1


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (63_012.5, 63_499.0, ["63,100", "63,200", "63,300", "63,400"]),
        (0.0000171, 0.0000209, ["0.000018", "0.000019", "0.000020"]),
        (-3.0, 5.0, ["-2", "0", "2", "4"]),
        (1.0, 1.004, ["1.000", "1.001", "1.002", "1.003", "1.004"]),
    ],
)
def test_prices_stand_at_round_numbers(low: float, high: float, texts: list[str]) -> None:
    """With as many digits as tell them apart."""
    assert [text for _, text in axes.price_marks(low, high, 5)] == texts


def test_times_stand_at_round_times() -> None:
    """As far apart as is asked for at the least; a chart has one in any case."""
    found = made(None, None, None, *["1 1 1 1 1"] * 30)
    assert axes.time_marks(found, 8) == [(7, "12:10"), (17, "12:20"), (27, "12:30")]
    assert axes.time_marks(made(None, "1 1 1 1 1"), 8) == [(0, "12:01")]


def test_the_terminal_gets_every_exchange_that_has_the_symbol(capsys: pytest.CaptureFixture[str]) -> None:
    """Or the one that was named; the symbol's case does not matter."""
    stored(trade(1, "2"), trade(1, "2", market="kraken BTC/USDT"), trade(1, "2", market="okx ETH/USDT"))
    assert typed("chart", "btc/usdt") == 0
    assert re.findall(r"^(\w+) BTC/USDT", capsys.readouterr().out, re.MULTILINE) == ["binance", "kraken"]
    assert typed("chart", "BTC/USDT", "-e", "kraken") == 0
    out = capsys.readouterr().out
    assert "binance" not in out and "\x1b" not in out


def test_a_page_is_whole_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Well-formed, a mark for each candle with its exact prices, and nothing from elsewhere."""
    stored(trade(1, "2.10"), trade(61, "1.90"), trade(200, "2.0"), trade(1, "2", market="kraken BTC/USDT"))
    assert typed("chart", "BTC/USDT", "-o", "a.html") == 0
    assert capsys.readouterr().out == "4 candles in a.html\n"
    text = Path("a.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|<script|<link|url\(", text)
    charts = [ET.fromstring(chart) for chart in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    assert [len(chart.findall("g")) for chart in charts] == [3, 1]
    assert charts[0].findtext("g/title") == (
        "2026-01-31 12:00 UTC: open 2.10, high 2.10, low 2.10, close 2.10, volume 0.5"
    )
    lefts = [float(candle.findall("rect")[0].get("x", "")) for candle in charts[0].findall("g")]
    pitch = lefts[1] - lefts[0]
    assert lefts[2] - lefts[1] == pytest.approx(2 * pitch, abs=0.2), "the empty minute keeps its room"


def test_a_picture_is_a_png(capsys: pytest.CaptureFixture[str]) -> None:
    """With a panel for each exchange, and the colours of both directions (a second, for matplotlib)."""
    stored(trade(1, "2.10"), trade(30, "1.90"), trade(61, "1.90"), trade(62, "2.0"))
    assert typed("chart", "BTC/USDT", "-o", "a.PNG") == 0
    assert capsys.readouterr().out == "2 candles in a.PNG\n"
    assert Path("a.PNG").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = imread("a.PNG")
    assert pixels.shape == (500, 1200, 4)
    for red, green, blue in ((0x1A, 0x7F, 0x4B), (0xC0, 0x39, 0x2B)):
        assert (abs(pixels[:, :, :3] * 255 - (red, green, blue)).max(axis=2) < 2).sum() > 50


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["BTC/USDC"], ["'BTC/USDC'", "nearest: BTC/USDT"]),
        (["BTC/USDT", "-e", "krakn"], ["'krakn'", "kraken"]),
        (["ETH/USDT"], ["neither 1m candles, trades nor tickers of 'ETH/USDT'", "there are candles of 5m"]),
        (["BTC/USDT", "-e", "binance", "-e", "kraken"], ["'BTC/USDT'", "of kraken"]),
        (["BTC/USDT", "--interval", "1M"], ["--interval", "'1M'", "10s, 1m"]),
        (["BTC/USDT", "-n", "0"], ["--limit", "'0'"]),
        (["BTC/USDT", "-o", "a.svg"], ["--output", "'a.svg'", ".png or .html"]),
        (["BTC/USDT", "-o", "there.html"], ["'there.html'", "there already"]),
        ([], ["SYMBOL"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    words: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2."""
    stored(trade(1, "2"), candle(1, "1 1 1 1 1", "5m", "ETH/USDT"), trade(1, "2", market="kraken XRP/USDT"))
    Path("there.html").touch()
    assert typed("chart", *words) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert all(word in err for word in said), err
    assert [path.name for path in Path().iterdir() if not path.name.startswith("trioagg.db")] == ["there.html"]


class Without:
    """An installation that lacks matplotlib."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "matplotlib":
            raise ModuleNotFoundError(name=name)


def test_a_picture_without_its_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, exit 2."""
    stored(trade(1, "2"))
    monkeypatch.delitem(sys.modules, "trioagg.views.picture", raising=False)
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without(), *sys.meta_path])
    assert typed("chart", "BTC/USDT", "-o", "a.png") == 2
    assert "trioagg[charts]" in capsys.readouterr().err
