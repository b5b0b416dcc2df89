"""Markets are dealt to processes: each to one, stably, whatever else is collected."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from far_end import ask, far_end, settings_for
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from trioagg.pipeline.run import Job, run
from trioagg.settings import Run, Settings, Shard, shard

counts = st.integers(1, 12)
symbols = st.integers(0, 10**6).map("A{}/USDT".format)
markets = st.tuples(st.sampled_from(["binance", "kraken", "okx"]), symbols)
BOTH = ("BTC/USDT", "ETH/USDT")


def holders(market: tuple[str, str], of: int) -> list[int]:
    """The parts that a market is in."""
    return [number for number in range(1, of + 1) if Shard(number, of).holds(*market)]


@given(markets, counts)
def test_every_market_is_in_exactly_one_shard(market: tuple[str, str], of: int) -> None:
    """However many there are."""
    assert len(holders(market, of)) == 1


@given(markets, counts)
def test_one_more_shard_takes_markets_and_moves_no_other(market: tuple[str, str], of: int) -> None:
    """So growing from N to N + 1 breaks the connections of those alone."""
    before, after = holders(market, of), holders(market, of + 1)
    assert after in (before, [of + 1])


@given(st.lists(symbols, min_size=1, unique=True), counts)
def test_another_symbol_moves_none(some: list[str], of: int) -> None:
    """What a shard holds of some symbols, it holds of them beside others."""
    few = Settings(run=Run(symbols=tuple(some[:-1]), shard=Shard(1, of)))
    all_of_them = Settings(run=Run(symbols=tuple(some), shard=Shard(1, of)))
    assert few.symbols_of("binance") == tuple(s for s in all_of_them.symbols_of("binance") if s != some[-1])


def test_shards_are_even() -> None:
    """A thousand markets in five shards: each holds about two hundred."""
    sizes = [sum(Shard(number, 5).holds("binance", f"A{n}/USDT") for n in range(1000)) for number in range(1, 6)]
    assert sum(sizes) == 1000 and all(150 < size < 250 for size in sizes)


def test_a_market_stays_where_it_is() -> None:
    """In another process, with another seed of its hashes, and in later versions: users rely on these facts."""
    code = (
        "from trioagg.settings import Shard\nprint(*(n for n in range(1, 6) if Shard(n, 5).holds('kraken', 'BTC/USD')))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert told == {"3\n"}
    assert [holders(("binance", symbol), 5) for symbol in BOTH] == [[5], [3]]


@given(counts, counts)
def test_a_shard_is_written_as_it_is_read(number: int, of: int) -> None:
    """So that settings.ini shows what is meant."""
    if number > of:
        with pytest.raises(ValueError, match="must look like 2/5"):
            shard(f"{number}/{of}")
    else:
        assert shard(str(Shard(number, of))) == Shard(number, of)


@pytest.mark.parametrize("text", ["6/5", "0/5", "x", "2/", "-1/5", "1/1001", "2/5 ", "\u0661/\u0665", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    """With how it must look."""
    with pytest.raises(ValueError, match="must look like 2/5, the second of five"):
        shard(text)


def part_of(number: int, of: int) -> Settings:
    """Two symbols of two exchanges, the part of one process."""
    return Settings(run=Run(exchanges=("binance", "kraken"), symbols=BOTH, shard=Shard(number, of)))


def test_an_exchange_without_a_market_is_not_asked_for() -> None:
    """The four markets lie in some of nine shards, each once."""
    parts = [part_of(number, 9) for number in range(1, 10)]
    dealt = [(name, symbol) for part in parts for name in part.exchanges for symbol in part.symbols_of(name)]
    assert sorted(dealt) == [(name, symbol) for name in ("binance", "kraken") for symbol in BOTH]
    assert [part.exchanges for part in parts if not part.exchanges]


async def test_two_shards_fill_one_database(tmp_path: Path) -> None:
    """Each connects for its own market alone, and together they collect what one run would."""
    file = tmp_path / "a.db"
    async with far_end(symbols=BOTH) as urls:
        for number in (3, 5):
            settings = settings_for(urls, file, symbols=BOTH, shard=Shard(number, 5))
            await run(Job(settings, duration=0.5))
            found = ask(file, "SELECT DISTINCT symbol FROM trades ORDER BY 1")
            assert found == ([("ETH/USDT",)] if number == 3 else [(symbol,) for symbol in BOTH])
    assert ask(file, "SELECT DISTINCT subscriptions FROM sessions") == [(2,)]


async def test_a_shard_without_a_market_waits(tmp_path: Path) -> None:
    """It says so, connects to nothing, and ends as any run does."""
    async with far_end() as urls:
        with capture_logs() as logs:
            outcome = await run(Job(settings_for(urls, tmp_path / "a.db", shard=Shard(1, 5)), duration=0.2))
        assert outcome.tally.received == urls.statistics.connections == 0
    assert any("no market is in this shard" in entry["event"] for entry in logs)
