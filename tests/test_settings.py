"""Settings: precedence, every mistake in one line, and the shipped file true to the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from trioagg import exchanges
from trioagg.errors import SettingsError
from trioagg.settings import Settings, Values, Venue, load, template, unknown_variables

ROOT = Path(__file__).parent.parent


def flags(**given: str) -> Values:
    """Flags of [run] as the command line gives them."""
    return {"run": {name: (text, f"--{name}") for name, text in given.items()}}


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """The same key at every level."""
    file = tmp_path / "a.ini"
    file.write_text("[run]\ninterval = 2\nstall_timeout = 3\ndatabase = file.db\n")
    environment = {"TRIOAGG_RUN_INTERVAL": "4", "TRIOAGG_RUN_STALL_TIMEOUT": "5"}

    run = load(file=file, environment=environment, flags=flags(interval="6")).run

    assert (run.interval, run.stall_timeout, run.database, run.display_interval) == (6, 5, "file.db", 10)


def test_the_working_directory_s_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """settings.ini there counts without being named; none there is no mistake."""
    monkeypatch.chdir(tmp_path)
    assert load(environment={}) == Settings()
    Path("settings.ini").write_text("[run]\nsymbols = sol/usdt , ETH/BTC\n")
    assert load(environment={}).run.symbols == ("SOL/USDT", "ETH/BTC")


def test_the_environment_reaches_an_exchange_s_section() -> None:
    """A proxy or a test server is one variable; a path prefix stays, a trailing slash goes."""
    environment = {"TRIOAGG_EXCHANGE_BINANCE_WS_URL": "ws://127.0.0.1:9/prefix/"}
    assert load(environment=environment).venue("binance").ws_url == "ws://127.0.0.1:9/prefix"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"interval": "x"}, "--interval: bad value 'x': must be a number"),
        ({"interval": "nan"}, "--interval: bad value 'nan': must be at least 0.1"),
        ({"interval": "inf"}, "--interval: bad value 'inf': must be at least 0.1"),
        ({"exchanges": "krakn"}, "--exchanges: bad value 'krakn': did you mean kraken?"),
        (
            {"symbols": "BTCUSDT"},
            "--symbols: bad value 'BTCUSDT': must look like BTC/USDT, or BTC/USDT:USDT for a perpetual",
        ),
        ({"symbols": " , "}, "--symbols: bad value ',': must name at least one"),
        ({"channels": "trade"}, "--channels: bad value 'trade': did you mean trades or candles?"),
        ({"log_level": "loud"}, "--log_level: bad value 'loud': known: DEBUG, INFO, WARNING, ERROR"),
        ({"database": ""}, "--database: bad value '': must not be empty"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(given: dict[str, str], line: str) -> None:
    """The flag, the value, and the cure."""
    with pytest.raises(SettingsError) as caught:
        load(environment={}, flags=flags(**given))
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run]\nintervall = 5\n", ["[run] intervall", "unknown setting 'intervall'", "did you mean interval"]),
        ("[runn]\ninterval = 5\n", ["[runn]", "unknown section", "did you mean run?"]),
        ("[exchange:krakn]\nmin_delay = 1\n", ["[exchange:krakn]", "did you mean exchange:kraken"]),
        ("[run]\ninterval = 5\ninterval = 6\n", ["interval", "already exists"]),
        ("interval = 5\n", ["no section headers"]),
        ("[exchange:binance]\nws_url = https://x\n", ["ws_url", "'https://x'", "wss://host:port"]),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    """The file, the section, the key and the nearest good one."""
    file = tmp_path / "bad.ini"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file=file, environment={})
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in [str(file), *words])


def test_a_missing_config_and_an_unknown_variable_are_told(tmp_path: Path) -> None:
    """A named file must be there; a variable of a known section must name a key; others only deserve a warning."""
    with pytest.raises(SettingsError, match="No such file"):
        load(file=tmp_path / "none.ini", environment={})
    with pytest.raises(SettingsError, match=r"TRIOAGG_RUN_INTERVALL.*did you mean interval"):
        load(environment={"TRIOAGG_RUN_INTERVALL": "5"})
    with pytest.raises(
        SettingsError, match=r"TRIOAGG_RNU_INTERVAL: unknown setting; did you mean TRIOAGG_RUN_INTERVAL"
    ):
        load(environment={"TRIOAGG_RNU_INTERVAL": "5"})
    with pytest.raises(SettingsError, match=r"TRIOAGG_EXCHANGE_KRAKN_WS_URL: unknown exchange; known: binance, "):
        load(environment={"TRIOAGG_EXCHANGE_KRAKN_WS_URL": "ws://x"})
    somebody_else_s = {"TRIOAGG_HOME": "x", "TRIOAGG_RUN_INTERVAL": "5"}
    assert load(environment=somebody_else_s).run.interval == 5
    assert unknown_variables(somebody_else_s, Settings()) == ["TRIOAGG_HOME"]


def test_the_template_holds_every_key_with_its_default(tmp_path: Path) -> None:
    """What ``init`` writes reads back as the defaults, and settings.ini is what ``init`` writes."""
    file = tmp_path / "settings.ini"
    file.write_text(template())
    venues = {
        name: Venue(rest_url=exchanges.load(name).rest_url, ws_url=exchanges.load(name).ws_url)
        for name in exchanges.names()
    }

    assert load(file=file, environment={}) == Settings(venues=venues)
    assert (ROOT / "settings.ini").read_text(encoding="utf-8") == template()


def sinks_of(tmp_path: Path, text: str, **environment: str) -> list[tuple[str, str]]:
    """The named sinks of a file and an environment: names and URLs."""
    file = tmp_path / "sinks.ini"
    file.write_text(text)
    return [(store.name, store.url) for store in load(file=file, environment=environment).sinks]


def test_a_sink_has_a_section_of_its_own(tmp_path: Path) -> None:
    """Its further keys are options of its URL; the environment adds, changes and brings what is secret."""
    archive = "[sink:archive]\nurl = postgresql://me@h/db\nsslmode = require\n"
    text = f"{archive}[sink:fast]\nurl = redis://h/0?tls=yes\nmaxlen = 5\n"
    environment = {
        "TRIOAGG_SINK_ARCHIVE_PASSWORD": "p@:/, ?%",
        "TRIOAGG_SINK_FAST_MAXLEN": "9",
        "TRIOAGG_SINK_MY_OWN_URL": "parquet:///tmp/a",
        "TRIOAGG_SINK_MY_OWN_ROWS": "7",
    }
    assert sinks_of(tmp_path, text, **environment) == [
        ("archive", "postgresql://me:p%40%3A%2F%2C%20%3F%25@h/db?sslmode=require"),
        ("fast", "redis://h/0?tls=yes&maxlen=9"),
        ("my_own", "parquet:///tmp/a?rows=7"),
    ]
    assert sinks_of(tmp_path, text, TRIOAGG_SINK_FAST_URL="", TRIOAGG_SINK_FAST_PASSWORD="x")[1:] == []
    assert "p%40" not in repr(load(file=tmp_path / "sinks.ini", environment=environment))


def test_stores_are_the_urls_and_then_the_named(tmp_path: Path) -> None:
    """A URL is called by itself without its secrets, and a name leads to its section."""
    (tmp_path / "a.ini").write_text("[run]\nsinks = redis://me:s3cret@h\n[sink:archive]\nurl = sqlite:///b.db\n")
    settings = load(file=tmp_path / "a.ini", environment={})
    assert [store.name for store in settings.stores] == ["redis://h", "archive"]
    assert settings.store("archive", "--to").url == "sqlite:///b.db"
    assert settings.store("kafka://h/t", "--to").where == "--to"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sink:a]\nulr = redis://h\n", ["sinks.ini [sink:a] ulr: unknown setting 'ulr'", "did you mean url?"]),
        ("[sink:a]\nurl = redis://h\npasword = s3cret\n", ["'pasword' in [sink:a]; did you mean password?"]),
        ("[sink:a]\nrows = 5\n", ["[sink:a]: needs url"]),
        ("[sink:a]\nurl = redis://me:s3cret@h\npassword = s3cret\n", ["[sink:a]", "leave one of them out"]),
        ("[sink:My-Own]\nurl = redis://h\n", ["[sink:My-Own]: bad name 'My-Own'", "lower-case"]),
        ("[sink:database]\nurl = redis://h\n", ["bad name 'database'"]),
        ("[snik:a]\nurl = redis://h\n", ["[snik:a]: unknown section", "did you mean sink:NAME?"]),
    ],
)
def test_a_bad_section_of_a_sink_is_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    """The section, the key and the nearest good one, and never the password."""
    with pytest.raises(SettingsError) as caught:
        sinks_of(tmp_path, text)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "s3cret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_variable_of_no_sink_deserves_a_warning() -> None:
    """It may be for another settings file; one of a sink that is there is known."""
    environment = {"TRIOAGG_SINK_A_URL": "redis://h", "TRIOAGG_SINK_A_PREFIX": "x", "TRIOAGG_SINK_B_PREFIX": "x"}
    settings = load(environment=environment)
    assert unknown_variables(environment, settings) == ["TRIOAGG_SINK_B_PREFIX"]
    with pytest.raises(SettingsError, match=r"^TRIOAGG_SINK_RECORDER_URL: bad name 'recorder'"):
        load(environment={"TRIOAGG_SINK_RECORDER_URL": "redis://h"})
