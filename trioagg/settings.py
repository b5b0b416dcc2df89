"""Settings: flag over environment over file over default, into frozen records.

Every key stands once, as a field of a record here, with how its text is read, its default, and what it means. A mistake
is answered by one ``SettingsError`` that names the section, the key, the bad value and the nearest good one.
"""

from __future__ import annotations

import configparser
import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs
from attrs import field, frozen

from trioagg import exchanges
from trioagg.errors import SettingsError
from trioagg.model import Channel

PREFIX = "TRIOAGG_"
DEFAULT_FILE = "settings.ini"
LONGEST = 1_000_000  # characters of a settings file that are read: a device has no end
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS = ("console", "json")
CANDLES = ("1m", "5m", "15m", "1h", "4h", "1d")

HEAD = """\
; Settings of trioagg: every key with its default. Precedence: flag, environment, this file, default.
; In the environment a key is TRIOAGG_SECTION_KEY in capitals: TRIOAGG_RUN_INTERVAL, TRIOAGG_EXCHANGE_BINANCE_WS_URL.
"""

Parse = Callable[[str], Any]


def nearest(word: str, good: Iterable[str]) -> str:
    """The end of a message about an unknown word: what may have been meant, else what there is."""
    known = list(good)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known[:20])}{', …' if len(known) > 20 else ''}"


def one_of(good: Iterable[str]) -> Parse:
    """A word out of a list, whatever its case."""
    words = {word.lower(): word for word in good}

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(nearest(text.lower(), words.values()))
        return words[text.lower()]

    return parse


def many(parse: Parse) -> Parse:
    """A list, separated by commas, without repetitions and not empty."""

    def parse_all(text: str) -> tuple[Any, ...]:
        words = [word.strip() for word in text.split(",") if word.strip()]
        if not words:
            raise ValueError("must name at least one")
        return tuple(dict.fromkeys(_each(parse, word) for word in words))

    return parse_all


class _BadWord(ValueError):
    """One bad word of a list; ``word`` is it."""

    def __init__(self, word: str, reason: str) -> None:
        super().__init__(reason)
        self.word = word


def _each(parse: Parse, word: str) -> Any:
    try:
        return parse(word)
    except ValueError as error:
        raise _BadWord(word, str(error)) from None


def optional_many(parse: Parse) -> Parse:
    """A list that may be empty."""
    return lambda text: many(parse)(text) if text.strip(" ,") else ()


def number(kind: type[int | float], *, least: float, most: float = math.inf) -> Parse:
    """A finite number within bounds."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(f"must be a {'whole ' if kind is int else ''}number") from None
        if not (least <= value <= most) or math.isinf(value):
            bounds = f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
            raise ValueError(f"must be {bounds}")
        return value

    return parse


def instant(text: str) -> int:
    """A date or a time of ISO 8601, UTC unless it says otherwise, to the nanosecond: nanoseconds since 1970."""
    whole, point, rest = text.replace(",", ".").partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        told = datetime.fromisoformat(whole + rest[len(digits) :])
    except ValueError:
        raise ValueError("must look like 2026-01-31, 2026-01-31T12:00 or 2026-01-31T12:00:00.5+01:00") from None
    if point and not (whole.count(":") == 2 and 0 < len(digits) <= 9):
        raise ValueError("must have 1 to 9 digits behind the point of its seconds")
    since = (told if told.tzinfo else told.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    nanos = since // timedelta(microseconds=1) * 1000 + int(digits.ljust(9, "0"))
    if not -(2**63) <= nanos < 2**63:
        raise ValueError("must lie between the years 1678 and 2262")
    return nanos


def symbol(text: str) -> str:
    """A unified symbol: BTC/USDT, BTC/USDT:USDT."""
    pair, _, settle = text.upper().partition(":")
    base, slash, quote = pair.partition("/")
    broken = not (base and slash and quote) or (":" in text and not settle) or "/" in quote + settle
    if broken or " " in text or not text.isprintable():
        raise ValueError("must look like BTC/USDT, or BTC/USDT:USDT for a perpetual")
    return text.upper()


def url(*schemes: str) -> Parse:
    """An address with one of the schemes and a host; a trailing slash is dropped."""

    def parse(text: str) -> str:
        if not _is_address(text, schemes):
            raise ValueError(f"must look like {schemes[0]}://host:port")
        return text.rstrip("/")

    return parse


def _is_address(text: str, schemes: Sequence[str]) -> bool:
    try:
        parts = urlsplit(text)
        there = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return there and not parts.query and not parts.fragment


def word(text: str) -> str:
    """Any text but none."""
    if not text:
        raise ValueError("must not be empty")
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return text


def key(parse: Parse, default: Any, says: str) -> Any:
    """A setting: how its text is read, its default, and the comment that ``settings.ini`` gives it."""
    return field(default=default, metadata={"parse": parse, "says": says})


@frozen
class Run:
    """What to collect, where to, and how to tell of it."""

    exchanges: tuple[str, ...] = key(many(one_of(exchanges.names())), ("binance",), "the exchanges to collect from")
    symbols: tuple[str, ...] = key(
        many(symbol), ("BTC/USDT", "ETH/USDT"), "the markets, spelled the same on all exchanges"
    )
    channels: tuple[Channel, ...] = key(
        many(lambda text: Channel(one_of(Channel)(text))),
        (Channel.TRADES, Channel.TICKER),
        "trades, ticker, candles, funding, open_interest, liquidations",
    )
    interval: float = key(
        number(float, least=0.1), 5.0, "seconds between REST polls (tickers are polled beside their stream)"
    )
    candle: str = key(one_of(CANDLES), "1m", "the length of a candle")
    stall_timeout: float = key(
        number(float, least=0.1),
        30.0,
        "seconds without data on a subscribed connection before it is replaced, pings or not",
    )
    database: str = key(word, "trioagg.db", "the SQLite file")
    sinks: tuple[str, ...] = key(optional_many(word), (), "further stores, as URLs")
    display_interval: float = key(number(float, least=0.1), 10.0, "seconds between summaries")
    drain_timeout: float = key(number(float, least=0), 8.0, "seconds that a stop may take to store what was received")
    log_level: str = key(one_of(LEVELS), "INFO", "DEBUG, INFO, WARNING or ERROR")
    log_format: str = key(one_of(FORMATS), "console", "console or json")


@frozen
class Retry:
    """How failures are met."""

    attempts: int = key(number(int, least=1, most=100), 5, "REST: tries per request")
    base_delay: float = key(number(float, least=0), 1.0, "seconds; doubles, with jitter of at most half")
    max_delay: float = key(number(float, least=0), 60.0, "seconds")
    reconnect_delay: float = key(number(float, least=0), 1.0, "seconds; first wait before a WebSocket reconnects")


@frozen
class Buffers:
    """How much may be under way, and how it is gathered for the store."""

    channel: int = key(number(int, least=1), 50_000, "events that may wait for a store before the readers wait")
    commit_rows: int = key(number(int, least=1), 10_000, "events in one transaction at the most")
    commit_delay: float = key(
        number(float, least=0, most=60), 0.02, "seconds between the beginnings of transactions: what a crash can lose"
    )


@frozen
class Venue:
    """One exchange, ``[exchange:NAME]``; None: the adapter's own."""

    rest_url: str | None = key(url("https", "http"), None, "where its REST is; http:// for a proxy or a test server")
    ws_url: str | None = key(url("wss", "ws"), None, "where its WebSocket is; ws:// likewise")
    min_delay: float = key(number(float, least=0), 0.05, "seconds between REST requests to it")
    retry_after_header: str = key(word, "Retry-After", "the header that says how long to wait")


@frozen
class Settings:
    """All of it."""

    run: Run = Run()
    retry: Retry = Retry()
    buffers: Buffers = Buffers()
    venues: Mapping[str, Venue] = field(factory=dict)

    def venue(self, name: str) -> Venue:
        """The section of one exchange, or its defaults."""
        return self.venues.get(name, Venue())


SECTIONS: dict[str, type] = {"run": Run, "retry": Retry, "buffers": Buffers}
EXCHANGE = "exchange:"

Values = dict[str, dict[str, tuple[str, str]]]
"""section → key → (text, where it stands)"""


def load(*, file: Path | None = None, environment: Mapping[str, str], flags: Values | None = None) -> Settings:
    """Read the settings.

    Args:
        file: ``--config``; None takes ``settings.ini`` of the working directory if it is there.
        environment: ``os.environ``.
        flags: those that were given.

    Raises:
        SettingsError: whatever is wrong, the first of it.
    """
    values = _from_file(file)
    for layer in (_from_environment(environment), flags or {}):
        for section, keys in layer.items():
            values.setdefault(section, {}).update(keys)
    records: dict[str, Any] = {
        section: _record(section, kind, values.pop(section, {})) for section, kind in SECTIONS.items()
    }
    venues = {name.removeprefix(EXCHANGE): _record(name, Venue, keys) for name, keys in values.items()}
    return Settings(**records, venues=venues)


def template() -> str:
    """The text of ``settings.ini``: every key with its default and its comment."""
    venues = {}
    for name in exchanges.names():
        adapter = exchanges.load(name)
        venues[EXCHANGE + name] = Venue(rest_url=adapter.rest_url, ws_url=adapter.ws_url)
    sections = {**{name: kind() for name, kind in SECTIONS.items()}, **venues}
    return HEAD + "".join(f"\n[{name}]\n{_lines(record)}" for name, record in sections.items())


def _lines(record: attrs.AttrsInstance) -> str:
    lines = [
        (f"{item.name} = {_text(getattr(record, item.name))}", item.metadata["says"])
        for item in attrs.fields(type(record))
    ]
    width = max(len(line) for line, _ in lines)
    return "".join(f"{line:{width}}  ; {says}\n" for line, says in lines)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like ours and belong to no section: worth a warning, since they do nothing."""
    return sorted(name for name in environment if name.startswith(PREFIX) and not _split(name))


def _from_file(file: Path | None) -> Values:
    path = file or Path(DEFAULT_FILE)
    if file is None and not path.is_file():
        return {}
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",), default_section="")
    try:
        with path.open(encoding="utf-8") as lines:
            parser.read_string(lines.read(LONGEST), source=str(path))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    except (configparser.Error, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {' '.join(str(error).split())}") from None
    for section in parser.sections():
        _check_section(section, f"{path} [{section}]")
    return {
        section: {name: (text, f"{path} [{section}] {name}") for name, text in parser.items(section)}
        for section in parser.sections()
    }


def _from_environment(environment: Mapping[str, str]) -> Values:
    values: Values = {}
    for name, text in environment.items():
        if name.startswith(PREFIX) and not _split(name):
            _check_variable(name)
        elif name.startswith(PREFIX) and (place := _split(name)):
            values.setdefault(place[0], {})[place[1]] = (text, name)
    return values


def _split(name: str) -> tuple[str, str] | None:
    """``TRIOAGG_RUN_INTERVAL`` → (run, interval); None where no section is named."""
    rest = name.removeprefix(PREFIX).lower()
    sections = [*SECTIONS, *(EXCHANGE + exchange for exchange in sorted(exchanges.names(), key=len, reverse=True))]
    for section in sections:
        start = section.replace(":", "_") + "_"
        if rest.startswith(start):
            return section, rest.removeprefix(start)
    return None


def _check_variable(name: str) -> None:
    """Refuse a variable that is nearly one of ours; others may be somebody else's."""
    if name.startswith(PREFIX + "EXCHANGE_"):
        raise SettingsError(f"{name}: unknown exchange; known: {', '.join(exchanges.names())}")
    known = [
        f"{PREFIX}{section}_{item.name}".upper() for section, kind in SECTIONS.items() for item in attrs.fields(kind)
    ]
    if close := difflib.get_close_matches(name, known, n=1, cutoff=0.88):
        raise SettingsError(f"{name}: unknown setting; did you mean {close[0]}?")


def _check_section(section: str, where: str) -> None:
    good = [*SECTIONS, *(EXCHANGE + name for name in exchanges.names())]
    if section not in good:
        raise SettingsError(f"{where}: unknown section; {nearest(section, good)}")


Record = TypeVar("Record")


def _record(section: str, kind: type[Record], values: Mapping[str, tuple[str, str]]) -> Record:
    fields = {item.name: item for item in attrs.fields(kind)}  # type: ignore[arg-type]
    parsed = {}
    for name, (text, where) in values.items():
        if name not in fields:
            raise SettingsError(f"{where}: unknown setting {name!r} in [{section}]; {nearest(name, fields)}")
        try:
            parsed[name] = fields[name].metadata["parse"](text.strip())
        except ValueError as error:
            bad = error.word if isinstance(error, _BadWord) else text.strip()
            raise SettingsError(f"{where}: bad value {bad!r}: {error}") from None
    return kind(**parsed)
