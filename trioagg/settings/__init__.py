"""Settings: flag over environment over file over default, into frozen records.

``sections`` holds the keys, ``stores`` the sections of sinks, ``words`` reads their texts; here they are loaded. A
mistake is answered by one ``SettingsError`` that names the section, the key, the bad value and the nearest good one.
"""

from __future__ import annotations

import configparser
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from trioagg import exchanges
from trioagg.errors import SettingsError
from trioagg.settings.sections import (
    CAPTIONS,
    SECTIONS,
    Alerts,
    Books,
    Buffers,
    Form,
    Repair,
    Retry,
    Run,
    Settings,
    Venue,
)
from trioagg.settings.shards import Shard, shard
from trioagg.settings.stores import EXAMPLE, SINK, Store, at, check, section
from trioagg.settings.words import (
    BadWord,
    instant,
    length,
    many,
    nearest,
    nearest_symbol,
    number,
    one_of,
    place,
    redacted,
    symbol,
    url,
    veiled,
    word,
)

__all__ = [
    "SECTIONS",
    "Alerts",
    "Books",
    "Buffers",
    "Form",
    "Repair",
    "Retry",
    "Run",
    "Settings",
    "Shard",
    "Store",
    "Values",
    "Venue",
    "at",
    "instant",
    "length",
    "load",
    "many",
    "nearest",
    "nearest_symbol",
    "number",
    "one_of",
    "place",
    "redacted",
    "shard",
    "sources",
    "symbol",
    "template",
    "unknown_variables",
    "url",
    "veiled",
    "word",
]

PREFIX = "TRIOAGG_"
DEFAULT_FILE = "settings.ini"
LONGEST = 1_000_000  # characters of a settings file that are read: a device has no end

HEAD = """\
; Settings of trioagg: every key with its default. Precedence: flag, environment, this file, default.
; In the environment a key is TRIOAGG_SECTION_KEY in capitals: TRIOAGG_RUN_INTERVAL, TRIOAGG_EXCHANGE_BINANCE_WS_URL.
"""

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
    values = sources(file=file, environment=environment, flags=flags)
    records: dict[str, Any] = {name: _record(name, kind, values.pop(name, {})) for name, kind in SECTIONS.items()}
    named = {name.removeprefix(SINK): values.pop(name) for name in [*values] if name.startswith(SINK)}
    sinks = [store for name, keys in named.items() if (store := section(name, keys))]
    venues = {name.removeprefix(EXCHANGE): _record(name, Venue, keys) for name, keys in values.items()}
    return Settings(**records, venues=venues, sinks=tuple(sinks))


def sources(*, file: Path | None = None, environment: Mapping[str, str], flags: Values | None = None) -> Values:
    """The texts that ``load`` reads, and where each stands; what is not there is the default.

    Raises:
        SettingsError: the file cannot be read, or a section or variable is unknown.
    """
    values = _from_file(file)
    for layer in (_from_environment(environment, values), flags or {}):
        for name, keys in layer.items():
            values.setdefault(name, {}).update(keys)
    return values


def template() -> str:
    """The text of ``settings.ini``: every key with its default and its comment."""
    venues = {}
    for name in exchanges.names():
        adapter = exchanges.load(name)
        venues[EXCHANGE + name] = Venue(rest_url=adapter.rest_url, ws_url=adapter.ws_url)
    sections = {**{name: kind() for name, kind in SECTIONS.items()}, **venues}
    texts = (f"\n[{name}]\n{CAPTIONS.get(name, '')}{_lines(record)}" for name, record in sections.items())
    return HEAD + "".join(texts) + EXAMPLE


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


def unknown_variables(environment: Mapping[str, str], settings: Settings) -> list[str]:
    """Variables that look like ours and belong to no section: worth a warning, since they do nothing."""
    sections = _sections(environment, [SINK + store.name for store in settings.sinks])
    return sorted(name for name in environment if name.startswith(PREFIX) and not _split(name, sections))


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
    for name in parser.sections():
        _check_section(name, f"{path} [{name}]")
    return {
        name: {key: (text, f"{path} [{name}] {key}") for key, text in parser.items(name)} for name in parser.sections()
    }


def _from_environment(environment: Mapping[str, str], file: Values) -> Values:
    values: Values = {}
    sections = _sections(environment, file)
    for name, text in environment.items():
        if not name.startswith(PREFIX):
            continue
        if found := _split(name, sections):
            values.setdefault(found[0], {})[found[1]] = (text, name)
        else:
            _check_variable(name)
    return values


def _sections(environment: Mapping[str, str], file: Iterable[str]) -> list[str]:
    """Those that a variable may belong to, long names first; a sink may be in the environment alone."""
    sinks = [name for name in file if name.startswith(SINK)]
    begin, end = f"{PREFIX}SINK_", "_URL"
    for name in environment:
        if name.startswith(begin) and name.endswith(end):
            sink = name[len(begin) : -len(end)].lower()
            check(sink, name)
            sinks.append(SINK + sink)
    return sorted([*SECTIONS, *(EXCHANGE + name for name in exchanges.names()), *sinks], key=len, reverse=True)


def _split(name: str, sections: Iterable[str]) -> tuple[str, str] | None:
    """``TRIOAGG_RUN_INTERVAL`` → (run, interval); None where no section is named."""
    rest = name.removeprefix(PREFIX).lower()
    for found in sections:
        start = found.replace(":", "_") + "_"
        if rest.startswith(start):
            return found, rest.removeprefix(start)
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


def _check_section(name: str, where: str) -> None:
    good = [*SECTIONS, *(EXCHANGE + venue for venue in exchanges.names()), f"{SINK}NAME"]
    if name.startswith(SINK):
        check(name.removeprefix(SINK), where)
    elif name not in good:
        raise SettingsError(f"{where}: unknown section; {nearest(name, good)}")


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
            bad = error.word if isinstance(error, BadWord) else text.strip()
            raise SettingsError(f"{where}: bad value {bad!r}: {error}") from None
    return kind(**parsed)
