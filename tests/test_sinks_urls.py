"""URLs of stores: what is wrong is told in one line, and nothing ever shows who logs in, or with what."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from attrs import evolve
from servers import Server

from trioagg import sinks
from trioagg.errors import SettingsError, StoreError
from trioagg.model import Channel
from trioagg.pipeline.replay import Choice, replay
from trioagg.pipeline.storing import open_stores
from trioagg.settings import Buffers, Run, Settings, redacted

SHOWN = {
    "sqlite:///a/b@c.db": "sqlite:///a/b@c.db",
    "postgresql://me:secret@host:5432/db?sslmode=require": "postgresql://host:5432/db?sslmode=require",
    "postgresql://host/db?user=me&password=secret&sslpassword=secret": (
        "postgresql://host/db?user=me&password=...&sslpassword=..."
    ),
    "postgresql:///db?host=/run/x&password=secret": "postgresql:///db?host=/run/x&password=...",
    "postgresql://me:secret@[::1]:5432/db": "postgresql://[::1]:5432/db",
    "mysql://me:se@cret@host/db": "mysql://host/db",
    "mysql://me:se/cret@host/db": "mysql://host/db",
    "mysql://me:secret": "mysql://...",
    "mysql:me:secret@host/db": "mysql:host/db",
    "ecret@host/db": "host/db",
}


@pytest.mark.parametrize(("url", "shown"), SHOWN.items())
def test_what_is_shown_of_a_url(url: str, shown: str) -> None:
    """The place, not the person; what may be a piece of a badly written password is left out."""
    assert redacted(url) == shown


BAD = [
    "postgresql://me:secret@host:port/db",
    "postgresql://me:se@cret@host/db",
    "postgresql://me:se/cret@host/db",
    "postgresql://me:secret@host/db?colour=red",
    "mysql://me:secret@host:port/db",
    "mysql://me:secret@host",
    "mysql://host/db",
    "mysql://me:se@cret@host/db",
    "mysql://me:se/cret@host/db",
    "mysql://me:secret@host/db?colour=red",
    "mysql:me:secret@host/db",
    "secret@host/db",
    "redis-like://me:secret@host",
]


@pytest.mark.parametrize("url", BAD)
async def test_a_bad_url(url: str) -> None:
    """One line that names the cure, before anything is tried."""
    with pytest.raises(SettingsError, match=r"^(bad value|no sink).*(must look like|known: )") as error:
        async with sinks.connect(url):
            pass
    assert "cret" not in str(error.value) and "\n" not in str(error.value)


async def test_two_sinks_that_nobody_could_tell_apart() -> None:
    """One line, before anything is opened: neither account nor spool would be either's own."""
    run = Run(database="/nowhere/a.db", sinks=("mysql://me:secret@host/db", "mysql://you:secret@host/db"))
    with pytest.raises(SettingsError, match=r"^--sink: mysql://host/db is named twice; leave one of them out$"):
        async with open_stores(Settings(run=run)):
            pass


@pytest.mark.parametrize("change", [("root", "nobody-here:secret"), ("postgres:pa%40ss", "nobody-here:secret")])
async def test_a_stranger_is_refused(server: Server, change: tuple[str, str]) -> None:
    """Who may not come in is told at the beginning, in one line; so is a database that is not there."""
    strange = server.url().replace(*change)
    nowhere = server.url().replace("/test?", "/absent?").replace(server.name, "absent")
    for url in {strange, nowhere} - {server.url()}:
        with pytest.raises(StoreError, match="cannot be used") as error:
            async with sinks.connect(url):
                pass
        assert "secret" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("scheme", "driver", "extra"), [("postgresql", "psycopg", "postgres"), ("mysql", "pymysql", "mysql")]
)
async def test_a_driver_that_is_not_there(
    scheme: str, driver: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its extra is named."""
    monkeypatch.delitem(sys.modules, f"trioagg.sinks.{scheme}", raising=False)
    monkeypatch.setitem(sys.modules, driver, None)
    cure = rf"pip install 'trioagg\[{extra}\]'$"
    with pytest.raises(SettingsError, match=cure):
        async with sinks.connect(f"{scheme}://me:secret@host/db"):
            pass
    with pytest.raises(SettingsError, match=f"^--database: .*{cure}"), sinks.stored(f"{scheme}://me:secret@host/db"):
        pass


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
async def test_a_sink_that_is_away_costs_the_database_nothing(
    scheme: str, tmp_path: Path, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it could not store is told by its place; neither a log line nor the account shows the password."""
    url = f"{scheme}://me:secret@127.0.0.1:1/db"
    lines = (captures / "okx-recording.jsonl.gz", tmp_path / "a.db")
    run = evolve(Run(), database=str(lines[1]), sinks=(url,), drain_timeout=0.3)
    settings = Settings(run=run, buffers=Buffers(spool=0))
    choice = Choice(channels=(Channel.TRADES,))
    outcome = await replay([lines[0]], settings, choice=choice, progress=lambda count: None)
    lost = f"{outcome.tally.stored + outcome.tally.duplicates} events were not stored in {scheme}://127.0.0.1:1/db"
    assert outcome.tally.lost == 0 < outcome.tally.stored
    assert lost in outcome.problems
    told = capsys.readouterr()
    assert f"{scheme}://127.0.0.1:1/db does not work now" in told.out + told.err
    assert "secret" not in told.out + told.err + repr(outcome)
