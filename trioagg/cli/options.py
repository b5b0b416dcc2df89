"""What the commands share: their options, and the settings that flags make."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trioagg.errors import SettingsError

if TYPE_CHECKING:
    from trioagg.settings import Settings, Values
    from trioagg.store import Readable

DONE, FAILED, MISUSED = 0, 1, 2
"""Exit codes."""


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class Listing(StrEnum):
    """How lists that are no rows are printed."""

    TABLE = "table"
    JSON = "json"


class Kind(StrEnum):
    """The kinds of rows."""

    BEST = "best"
    BARS = "bars"
    TICKER = "ticker"
    TRADES = "trades"
    CANDLES = "candles"
    BOOK = "book"
    QUOTES = "quotes"
    DELTAS = "deltas"
    FUNDING = "funding"
    OPEN_INTEREST = "open_interest"
    LIQUIDATIONS = "liquidations"
    INSTRUMENTS = "instruments"
    QUARANTINE = "quarantine"
    SESSIONS = "sessions"
    CLOCKS = "clocks"


def many(name: str, short: str, says: str) -> Any:
    """An option that may be repeated."""
    return typer.Option(f"--{name}", f"-{short}", metavar=name.upper(), help=f"{says}; repeat for more.")


Exchanges = Annotated[list[str] | None, many("exchange", "e", "An exchange")]
Symbols = Annotated[list[str] | None, many("symbol", "s", "A symbol, such as BTC/USDT")]
Channels = Annotated[list[str] | None, many("channel", "c", "A channel, such as trades")]
Database = Annotated[str | None, typer.Option("--database", "-d", metavar="FILE", help="The SQLite file.")]
Stored = Annotated[
    str | None,
    typer.Option(
        "--database", "-d", metavar="FILE|URL", help="The SQLite file, or postgresql://, mysql://, sqlite:///."
    ),
]
Sinks = Annotated[list[str] | None, typer.Option("--sink", metavar="URL", help="A further store; repeat for more.")]
Interval = Annotated[
    str | None, typer.Option(metavar="LENGTH", help="bars: how long one is, as 10s, 1m, 4h, 1d. [the setting candle]")
]
LogLevel = Annotated[str | None, typer.Option(metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")]
LogFormat = Annotated[str | None, typer.Option(metavar="FORMAT", help="console or json.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings, in place of ./settings.ini.")]


def read_settings(config: Path | None, **flags: tuple[str, Any]) -> Settings:
    """Read the settings under the flags that were given, and set up logging by them."""
    settings = read_quietly(config, **flags)
    _set_up_logging(settings)
    return settings


def read_quietly(config: Path | None, **flags: tuple[str, Any]) -> Settings:
    """The same for a command that has nothing to log, so that it starts fast."""
    from trioagg.settings import load, unknown_variables

    settings = load(file=config, environment=os.environ, flags=given(**flags))
    for name in unknown_variables(os.environ, settings):
        _set_up_logging(settings).warning("a variable sets nothing: no such section", name=name)
    return settings


def _set_up_logging(settings: Settings) -> Any:
    """Set it up, and give the log of the program itself."""
    from trioagg import logs

    logs.configure(level=settings.run.log_level, style=settings.run.log_format)
    return logs.log


def given(**flags: tuple[str, Any]) -> Values:
    """The flags that were given, as settings of the section ``run``: key → (flag, value)."""
    texts = {
        name: (", ".join(value) if isinstance(value, list) else str(value), flag)
        for name, (flag, value) in flags.items()
        if value is not None and value != []
    }
    return {"run": texts}


def stored(settings: Settings) -> AbstractContextManager[Readable]:
    """The store that the settings name, for reading."""
    from trioagg import sinks

    return sinks.stored(settings.run.database)


def value(flag: str, text: str | None, parse: Callable[[str], Any]) -> Any:
    """What the text of a flag means; None where it was not given.

    Raises:
        SettingsError: nothing; it names the flag and the bad value.
    """
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise SettingsError(f"{flag}: bad value {text!r}: {error}") from None


def upper(symbols: list[str] | None) -> list[str]:
    """Symbols as they are spelled, however they were typed."""
    return [symbol.upper() for symbol in symbols or ()]
