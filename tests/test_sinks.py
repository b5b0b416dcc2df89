"""Sinks by their URLs: mistakes are one line, secrets stay secret, and an absent server holds nobody up."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
from far_end import far_end, settings_for
from hypothesis import given
from hypothesis import strategies as st
from plain_sql import plain
from told_rows import T0, everything, replayed, shortened, ticker

from trioagg import sinks
from trioagg.cli import main
from trioagg.errors import SettingsError
from trioagg.pipeline.replay import Choice, replay
from trioagg.pipeline.run import Job, run
from trioagg.pipeline.tally import Outcome, SinkTally
from trioagg.settings import Buffers, Run, Settings, Store, load, redacted
from trioagg.sinks import _address, kafka, parquet, redis
from trioagg.sinks.sqlite import url_of
from trioagg.store import Texts

DOCUMENTED = (Path(__file__).parent.parent / "docs" / "sinks.md").read_text(encoding="utf-8")

MISTAKES = [
    ("nats://me:s3cret@h", ["'nats'", "kafka, mysql, parquet, postgresql, redis, sqlite"]),
    ("redis://me:s3cret@h/0?maxlem=5", ["'redis://h/0?maxlem=5'", "'maxlem'", "did you mean maxlen?"]),
    ("redis://me:s3cret@h/0?maxlen=0", ["maxlen", "'0'", "from 1"]),
    ("redis://me:s3cret@h/0?latest=maybe", ["latest", "'maybe'", "yes or no"]),
    ("redis://me:s3cret@h/0?tls=yes&tls=no", ["'tls'", "twice"]),
    ("redis://me:s3cret@h/first", ["'redis://h/first'", "redis://host:6379/0"]),
    ("redis://me:s3cret@h,i/0", ["'redis://h,i/0'", "redis://host:6379/0"]),
    ("redis://me:s3cret@h:port/0", ["port", "whole number"]),
    ("redis://me:s3cret@", ["redis://host:6379/0"]),
    ("redis://me:s3cr?et@h/0", ["'redis://h/0'"]),
    ("redis://me:s3c/ret@h/0", ["'redis://h/0'"]),
    ("redis://me:s3cret@[::1/0", ["redis://host:6379/0"]),
    ("kafka://me:s3cret@h", ["'kafka://h'", "kafka://broker:9092,broker:9092/prefix"]),
    ("kafka://me:s3cret@h/a/b", ["'kafka://h/a/b'", "prefix"]),
    ("kafka://me:s3cret@h/a", ["'kafka://h/a'", "security=sasl_ssl"]),
    ("kafka://h/a?security=sasl_ssl", ["'kafka://h/a'", "name and password"]),
    ("kafka://h:99999/a", ["port", "65535"]),
    ("kafka://h/a?compression=zip", ["compression", "'zip'", "gzip"]),
    ("kafka://h/a?security=ssl&ca=/none.pem", ["ca", "'/none.pem'", "no such file"]),
    ("kafka://h/a?security=ssl&ca=a.jsonl", ["'kafka://h/a'", "ssl.ca.location"]),
    ("parquet://folder", ["'parquet://folder'", "parquet:///path/to/folder"]),
    ("parquet:///a?row=5", ["'row'", "did you mean rows?"]),
]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to run commands in."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("url", "told"), MISTAKES)
def test_a_mistake_is_one_line_without_the_password(
    url: str, told: Sequence[str], capsys: pytest.CaptureFixture[str], elsewhere: None
) -> None:
    """Exit 2, nothing on standard output, and the good ones are named."""
    Path("a.jsonl").touch()
    with pytest.raises(SystemExit) as ended:
        main(["replay", "a.jsonl", "--sink", url])
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "replayed" not in line]
    assert (ended.value.code, out, len(lines)) == (2, "", 1), err
    assert all(word in lines[0] for word in told), err
    assert not re.search("s3c|ret@|me:", err)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("url = parquet:///a\nrowz = 5", ["unknown option 'rowz'", "did you mean rows?"]),
        ("url = postgresql://h/db\nsslmod = require", ["unknown option 'sslmod'", "sslmode"]),
        ("url = mysql://me@h/db\nssl_cert_ = a", ["unknown option 'ssl_cert_'", "did you mean ssl_cert"]),
        ("url = redis://h\nmaxlen = many", ["option maxlen: bad value 'many'", "must be a whole number"]),
        ("url = nats://me@h\npassword = s3cret", ["no sink is named 'nats'"]),
    ],
)
def test_a_mistake_in_a_section_names_it(
    section: str, told: Sequence[str], capsys: pytest.CaptureFixture[str], elsewhere: None
) -> None:
    """Exit 2 and one line: the section, the bad key and the nearest good one."""
    Path("a.jsonl").touch()
    Path("settings.ini").write_text(f"[sink:archive]\n{section}\n")
    with pytest.raises(SystemExit) as ended:
        main(["replay", "a.jsonl"])
    lines = [line for line in capsys.readouterr().err.splitlines() if "replayed" not in line]
    assert (ended.value.code, len(lines)) == (2, 1) and lines[0].startswith("trioagg: [sink:archive]: "), lines
    assert all(word in lines[0] for word in told) and "s3cret" not in lines[0], lines


async def test_a_sink_with_a_name_is_called_by_it(tmp_path: Path, captures: Path) -> None:
    """In the account, in what is logged, and in what is told to monitors."""
    files = shortened(captures, tmp_path)
    run_of = Run(database=str(tmp_path / "a.db"), drain_timeout=0.2)
    named = (Store("copy", url_of(tmp_path / "b.db")), Store("away", "postgresql://me:s3cret@127.0.0.1:1/db"))
    settings = Settings(run=run_of, sinks=named, buffers=Buffers(spool=0))
    with structlog.testing.capture_logs() as logged:
        outcome = await replay(files, settings, choice=Choice(), progress=lambda count: None)
    assert list(outcome.beside) == ["copy", "away"] and outcome.beside["copy"].stored == outcome.tally.stored
    assert [line for line in outcome.problems if line.endswith("events were not stored in away")]
    assert {line["sink"] for line in logged if "sink" in line} == {"away"}
    assert "s3cret" not in str(logged)


def test_what_is_told_of_a_url_keeps_its_secrets() -> None:
    """Whatever is between the slashes and the last at sign."""
    assert redacted("redis://me:s@c/r?e#t@h:1/0?a=b@c") == "redis://c"
    assert redacted("redis://:s3cret@h:1/0?prefix=a") == "redis://h:1/0?prefix=a"
    assert redacted("kafka://h:1,[::1]:2,i/p?x=1") == "kafka://h:1,[::1]:2,i/p?x=1"
    assert redacted("redis:///me:s3cret@h/0") == "redis://h/0"
    outcome = Outcome(beside={"redis://h/0": SinkTally(lost=3)})
    assert outcome.problems == ["3 events were not stored in redis://h/0"]


def test_names_and_passwords_come_from_the_url_or_the_environment() -> None:
    """The URL's are decoded, and win."""
    around = {"REDIS_USERNAME": "you", "REDIS_PASSWORD": "hidden"}
    own = _address.address("redis://me:s%40%2F@h/0", "", 6379, around)
    other = _address.address("redis://h/0", "", 6379, around)
    assert (own.user, own.password, own.hosts) == ("me", "s@/", ["h:6379"])
    assert (other.user, other.password) == ("you", "hidden")
    assert "hidden" not in repr(other) and "s@/" not in f"{own!r}{own.shown}"
    assert _address.address("kafka://h:1,[::1],[::2]:3/p", "", 9, {}).hosts == ["h:1", "[::1]:9", "[::2]:3"]


def test_a_list_of_urls_may_have_commas_within() -> None:
    """A comma ends a URL only where the next begins."""
    text = "kafka://a:1,b:2/p, sqlite:///c.db,redis://h"
    told = load(environment={"TRIOAGG_RUN_SINKS": text}).run.sinks
    assert told == ("kafka://a:1,b:2/p", "sqlite:///c.db", "redis://h")
    assert load(environment={"TRIOAGG_RUN_SINKS": " , "}).run.sinks == ()


@pytest.mark.parametrize(
    ("name", "library"),
    [("redis", "redis"), ("kafka", "confluent_kafka"), ("parquet", "pyarrow"), ("mysql", "pymysql")],
)
async def test_a_missing_library_names_the_extra(name: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    for module in (f"trioagg.sinks.{name}", "trioagg.sinks._partition", "trioagg.store.arrow"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SettingsError, match=rf"^{name} needs {library}.*pip install 'trioagg\[{name}\]'$"):
        sinks.connect(f"{name}:///a")


@pytest.mark.parametrize(
    ("title", "kind"), [("Redis", redis.Options), ("Kafka", kafka.Options), ("Parquet", parquet.Options)]
)
def test_the_page_tells_every_option_with_its_default(title: str, kind: type[Any]) -> None:
    """No more and no fewer."""
    section = DOCUMENTED.partition(f"## {title}\n")[2].partition("| --- |")[2].partition("\n\n")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", section, re.MULTILINE))
    assert told == {field.name: _text(field.default) for field in attrs.fields(kind)}


def _text(default: object) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else str(default)


@given(st.lists(st.integers(1, 12), max_size=6))
def test_ids_do_not_depend_on_how_events_were_batched(cuts: list[int]) -> None:
    """Nor on how often a batch was offered before it was taken."""
    whole, parted = Texts(), Texts()
    events = [*everything(), *(ticker(f"{number}", T0 + 1) for number in range(9))]
    events.remove(ticker("1.50"))  # of two that are the same in all, the second alone is taken for the first again
    told, _ = whole.of(events)
    ids, rest = [], events
    for cut in [*cuts, len(rest)]:
        part, rest = rest[:cut], rest[cut:]
        parted.of(part)  # it was not taken, and comes again
        some, met = parted.of(part)
        parted.keep(met)
        ids += [text.identity for text in some]
    assert sorted(ids) == sorted(text.identity for text in told)


async def test_absent_servers_hold_nobody_up(tmp_path: Path) -> None:
    """The run goes on; the database and another sink have all; the rest waits on disk; no password is told (a run)."""
    away = ["redis://me:s3cret@127.0.0.1:1/0?timeout=0.2", "kafka://127.0.0.1:1/p?timeout=0.1"]
    folder = tmp_path / "files"
    async with far_end() as urls:
        settings = settings_for(urls, tmp_path / "a.db", sinks=(*away, f"parquet:///{folder}"), drain_timeout=0.3)
        with structlog.testing.capture_logs() as logs:
            outcome = await run(Job(settings, duration=0.6))
    assert outcome.tally.lost == 0 < outcome.tally.stored
    assert outcome.beside[f"parquet:///{folder}"].lost == 0
    gone = [tally for url, tally in outcome.beside.items() if not url.startswith("parquet")]
    assert [(tally.spooled, tally.stored, tally.lost) for tally in gone] == [(outcome.tally.received, 0, 0)] * 2
    assert outcome.problems == []
    assert list(outcome.beside)[:2] == ["redis://127.0.0.1:1/0?timeout=0.2", "kafka://127.0.0.1:1/p?timeout=0.1"]
    assert any("redis://127.0.0.1:1/0: Error" in line.get("reason", "") for line in logs)
    assert "s3cret" not in f"{logs}{outcome}"


LISTING = r"""{"exchange":"binance","received":5,"source":"https://api.binance.com/api/v3/exchangeInfo",
"payload":"{\"symbols\":[{\"symbol\":\"BTCUSDT\",\"status\":\"TRADING\",\"baseAsset\":\"BTC\",\"quoteAsset\":\"USDT\"}]}"}"""


async def test_a_sink_that_cannot_take_instruments_ends_no_replay(captures: Path, tmp_path: Path) -> None:
    """It is told, and the sinks after it have theirs (half a second: a real recording)."""
    two, away = tmp_path / "two.db", "redis://127.0.0.1:1/0"
    (tmp_path / "listing.jsonl").write_text(LISTING.replace("\n", ""))
    files = [tmp_path / "listing.jsonl", *shortened(captures, tmp_path)]
    outcome = await replayed(files, tmp_path / "a.db", away, url_of(two), options={"drain_timeout": 0.2})
    assert any(line.startswith(f"instruments were not stored: {away}: ") for line in outcome.problems)
    with closing(plain(two)) as db:
        assert db.execute("SELECT native FROM instruments WHERE exchange = 'binance'").fetchall() == [("BTCUSDT",)]
