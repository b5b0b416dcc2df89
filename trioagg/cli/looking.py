"""The commands that show what is stored, and what there is to collect."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from trioagg.cli.options import (
    FAILED,
    Config,
    Database,
    Exchanges,
    Format,
    Interval,
    Kind,
    Listing,
    Sinks,
    Stored,
    Symbols,
    given,
    read_quietly,
    read_settings,
    stored,
    upper,
    value,
)
from trioagg.errors import SettingsError


def show(
    kind: Annotated[Kind, typer.Argument(help="What to show.")] = Kind.TICKER,
    exchange: Exchanges = None,
    symbol: Symbols = None,
    limit: Annotated[str | None, typer.Option("--limit", "-n", metavar="N", help="Rows at the most.")] = None,
    database: Stored = None,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with new rows as they come.")] = False,
    stale: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="best: by how much prices may be older than the newest. [30]")
    ] = None,
    interval: Interval = None,
    config: Config = None,
) -> None:
    """Show the latest rows of the database.

    Without --limit, the newest ticker of every market, or 20 rows of another kind. The kind best is the best bid and
    ask across exchanges, and the last price weighted by the day's volume. The kind bars is candles made from the stored
    trades, so many intervals of every market, each with the seconds that are covered and whether it is complete,
    backfilled, partial or unproven; with --follow one comes again when that changes.
    """
    from trioagg.settings import length, number
    from trioagg.views import show as view

    rows = value("--limit", limit, number(int, least=1, most=1_000_000_000))
    value("--interval", interval, length)
    settings = read_quietly(config, database=("--database", database))
    patience = value("--stale", stale, number(float, least=0))
    if kind is Kind.BEST and follow:
        raise SettingsError("--follow: the kind 'best' is a look at now; follow 'ticker' or 'quotes'")
    chosen = {"exchanges": exchange or (), "symbols": upper(symbol)}
    with stored(settings) as db:
        if kind is Kind.BEST:
            from trioagg.views import best

            best.show_best(db, form.value, limit=rows, stale=best.STALE if patience is None else patience, **chosen)
        elif kind is Kind.BARS:
            from trioagg.views import bars

            look = bars.show_bars_on if follow else bars.show_bars
            look(db, interval or settings.run.candle, form.value, limit=rows, **chosen)
        elif follow:
            view.show_on(db, kind.value, form.value, limit=rows or view.LIMIT, **chosen)
        else:
            view.show(db, kind.value, form.value, limit=rows, **chosen)


def gaps(
    database: Stored = None,
    form: Annotated[Listing, typer.Option("--format", help="How to print.")] = Listing.TABLE,
    config: Config = None,
) -> None:
    """Show what is missing and why; exit 1 if anything is."""
    from trioagg.views import show as view

    with stored(read_quietly(config, database=("--database", database))) as db:
        missing = view.show_gaps(db, form.value)
    if missing:
        raise typer.Exit(FAILED)


def verify(
    database: Stored = None,
    form: Annotated[Listing, typer.Option("--format", help="How to print.")] = Listing.TABLE,
    config: Config = None,
) -> None:
    """Compare the ledger with the stored rows; exit 1 if they differ."""
    from trioagg.views.verify import show_differences

    with stored(read_quietly(config, database=("--database", database))) as db:
        different = show_differences(db, form.value)
    if different:
        raise typer.Exit(FAILED)


def list_exchanges(form: Annotated[Listing, typer.Option("--format", help="How to print.")] = Listing.TABLE) -> None:
    """List the exchanges, their channels and their proofs."""
    from trioagg.views.exchanges import show_exchanges

    show_exchanges(form.value)


def symbols(
    exchange: Annotated[str, typer.Argument(help="The exchange.")],
    simulated: Annotated[bool, typer.Option("--simulated", help="Ask the built-in exchange, offline.")] = False,
    form: Annotated[Listing, typer.Option("--format", help="How to print.")] = Listing.TABLE,
    config: Config = None,
) -> None:
    """List the markets of an exchange, as it tells them now."""
    import trio

    from trioagg.pipeline.symbols import symbols as ask
    from trioagg.views.symbols import show_symbols

    settings = read_settings(config, exchanges=("EXCHANGE", [exchange]))
    show_symbols(trio.run(lambda: ask(settings.run.exchanges[0], settings, offline=simulated)), form.value)


def doctor(
    exchange: Exchanges = None,
    database: Database = None,
    sink: Sinks = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="Ask the built-in exchange, offline.")] = False,
    form: Annotated[Listing, typer.Option("--format", help="How to print.")] = Listing.TABLE,
    config: Config = None,
) -> None:
    """Look whether a run would go well: exchanges, clock, disk, further stores, settings; exit 1 if not.

    Each trouble comes with its cure. Within 20 seconds it is over, whoever does not answer. Stores are opened as a run
    opens them.
    """
    import trio

    from trioagg.pipeline.doctor import examine
    from trioagg.settings import sources
    from trioagg.views.findings import show_findings

    flags = {
        "exchanges": ("--exchange", exchange),
        "database": ("--database", database),
        "sinks": ("--sink", sink),
    }
    settings = read_settings(config, **flags)
    told = sources(file=config, environment=os.environ, flags=given(**flags))
    if show_findings(trio.run(lambda: examine(settings, told, offline=simulated)), form.value):
        raise typer.Exit(FAILED)


def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("settings.ini"),
) -> None:
    """Write a settings file that holds every key."""
    from trioagg.settings import template

    try:
        opener = partial(os.open, mode=0o600)  # sinks may be named in it, with their passwords
        with open(path, "x", encoding="utf-8", opener=opener) as file:
            file.write(template())
    except FileExistsError:
        raise SettingsError(f"{path}: is there already; nothing was written") from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
