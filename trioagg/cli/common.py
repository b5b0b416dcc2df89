"""What several commands share: the options and how their values are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trioagg.errors import SettingsError

if TYPE_CHECKING:
    from trioagg.settings import Settings, Values


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

    TICKER = "ticker"
    TRADES = "trades"
    CANDLES = "candles"
    BOOK = "book"
    FUNDING = "funding"
    OPEN_INTEREST = "open_interest"
    LIQUIDATIONS = "liquidations"
    INSTRUMENTS = "instruments"
    QUARANTINE = "quarantine"


def _many(name: str, short: str, says: str) -> Any:
    return typer.Option(f"--{name}", f"-{short}", metavar=name.upper(), help=f"{says}; repeat for more.")


Exchanges = Annotated[list[str] | None, _many("exchange", "e", "An exchange")]
Symbols = Annotated[list[str] | None, _many("symbol", "s", "A symbol, such as BTC/USDT")]
Channels = Annotated[list[str] | None, _many("channel", "c", "A channel, such as trades")]
Database = Annotated[Path | None, typer.Option("--database", "-d", metavar="FILE", help="The SQLite file.")]
Sinks = Annotated[list[str] | None, typer.Option("--sink", metavar="URL", help="A further store; repeat for more.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings, in place of ./settings.ini.")]


def read_settings(config: Path | None, **flags: tuple[str, Any]) -> Settings:
    """Read the settings under the flags that were given, and set up logging by them.

    Raises:
        SettingsError: one of them cannot be.
    """
    from trioagg import logs
    from trioagg.settings import load, unknown_variables

    given: Values = {"run": {}}
    for name, (flag, value) in flags.items():
        if value is not None and value != []:
            given["run"][name] = (", ".join(value) if isinstance(value, list) else str(value), flag)
    settings = load(file=config, environment=os.environ, flags=given)
    logs.configure(level=settings.run.log_level, style=settings.run.log_format)
    for name in unknown_variables(os.environ):
        logs.log.warning("a variable sets nothing: no such section", name=name)
    return settings


def upper(symbols: list[str] | None) -> list[str]:
    """Symbols as the database spells them."""
    return [name.upper() for name in symbols or ()]


def parsed(flag: str, text: str | None, parse: Callable[[str], Any]) -> Any:
    """A flag's value, None where it was not given.

    Raises:
        SettingsError: ``parse`` says that it cannot be.
    """
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise SettingsError(f"{flag}: bad value {text!r}: {error}") from None
