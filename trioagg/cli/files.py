"""The commands that make files of what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trioagg.cli.common import Config, Database, Exchanges, Kind, Symbols, parsed, read_settings, upper
from trioagg.errors import SettingsError


def export(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="*.csv, *.csv.gz or *.parquet.")],
    kind: Annotated[Kind, typer.Argument(help="What to export.")] = Kind.TRADES,
    exchange: Exchanges = None,
    symbol: Symbols = None,
    first: Annotated[str | None, typer.Option("--from", metavar="TIME", help="From this time on, ISO 8601.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Up to this time, without it.")] = None,
    database: Database = None,
    config: Config = None,
) -> None:
    """Write rows of the database to a Parquet or CSV file.

    Market after market, in the order of time: of "timestamp", or "received" where there is none; of "open_time" for
    candles. Times are UTC unless they say otherwise. No digit is lost: a CSV has the text that the exchange sent, a
    Parquet column is decimal128(38, 18) where that holds each value exactly and text where it does not, times are
    integers, nanoseconds since 1970. Parquet needs the extra trioagg[parquet]. No file is overwritten, and one that is
    there is whole.
    """
    from trioagg.settings import instant
    from trioagg.store import ALWAYS, Span
    from trioagg.views import export as view

    span = Span(
        ALWAYS.first if first is None else parsed("--from", first, instant),
        ALWAYS.end if end is None else parsed("--to", end, instant),
    )
    if span.first >= span.end:
        raise SettingsError(f"--to: bad value {end!r}: must be later than --from {first}")
    path = Path(read_settings(config, database=("--database", database)).run.database)
    _end_on_sigterm()
    view.export(path, kind.value, output, exchanges=exchange or (), symbols=upper(symbol), span=span)


def _end_on_sigterm() -> None:
    """Let SIGTERM end a command as Ctrl-C does, so that nothing half-made is left."""
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)
