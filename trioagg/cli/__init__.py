"""The command line: parse, compose, exit codes; no logic.

What a command needs is imported when it runs, so that ``--help`` starts fast.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from trioagg import __version__
from trioagg.cli.common import (
    Channels,
    Config,
    Database,
    Exchanges,
    Format,
    Kind,
    Listing,
    Sinks,
    Symbols,
    parsed,
    read_settings,
    upper,
)
from trioagg.cli.files import chart, export
from trioagg.errors import SettingsError, TrioaggError

if TYPE_CHECKING:
    from trioagg.pipeline.tally import Outcome

app = typer.Typer(
    name="trioagg",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)

DONE, FAILED, MISUSED = 0, 1, 2


def _version(wanted: bool) -> None:
    if wanted:
        print(f"trioagg {__version__}")
        raise typer.Exit(DONE)


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Collect, store and show live crypto market data: a record that can be trusted."""


@app.command(epilog="Example: trioagg run --exchange binance --symbol BTC/USDT --interval 5")
def run(
    exchange: Exchanges = None,
    symbol: Symbols = None,
    channel: Channels = None,
    interval: Annotated[
        str | None, typer.Option("--interval", "-i", metavar="SECONDS", help="REST poll period.")
    ] = None,
    database: Database = None,
    duration: Annotated[str | None, typer.Option(metavar="SECONDS", help="Stop cleanly after so long.")] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="Against the built-in exchange, offline.")] = False,
    record: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep raw captures there.")] = None,
    sink: Sinks = None,
    config: Config = None,
    display: Annotated[bool, typer.Option(help="Print summaries.")] = True,
    log_level: Annotated[str | None, typer.Option(metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")] = None,
    log_format: Annotated[str | None, typer.Option(metavar="FORMAT", help="console or json.")] = None,
) -> None:
    """Collect from the exchanges into the database.

    Ends cleanly on Ctrl-C, SIGTERM, or after the duration: everything received is stored first. A second signal stops
    at once.
    """
    _hold_signals()
    from trioagg.settings import number

    lasting = parsed("--duration", duration, number(float, least=0))
    settings = read_settings(
        config,
        exchanges=("--exchange", exchange),
        symbols=("--symbol", symbol),
        channels=("--channel", channel),
        interval=("--interval", interval),
        database=("--database", database),
        sinks=("--sink", sink),
        log_level=("--log-level", log_level),
        log_format=("--log-format", log_format),
    )
    import trio

    from trioagg.pipeline.run import Job
    from trioagg.pipeline.run import run as collect

    if record is not None and record.exists() and not record.is_dir():
        raise SettingsError(f"--record: bad value {str(record)!r}: must be a folder")
    job = Job(settings, simulated=simulated, duration=lasting, record=record, display=display)
    collect_less_garbage()
    _end(trio.run(collect, job))


@app.command(epilog="Example: trioagg show trades --symbol BTC/USDT --limit 20 --format json")
def show(
    kind: Annotated[Kind, typer.Argument(help="What to show.")] = Kind.TICKER,
    exchange: Exchanges = None,
    symbol: Symbols = None,
    limit: Annotated[str | None, typer.Option("--limit", "-n", metavar="N", help="Rows at the most.")] = None,
    database: Database = None,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with new rows as they come.")] = False,
    config: Config = None,
) -> None:
    """Show the latest rows of the database.

    Without --limit, the newest ticker of every market, or 20 rows of another kind.
    """
    from trioagg.settings import number
    from trioagg.views import show as view

    rows = parsed("--limit", limit, number(int, least=1, most=1_000_000_000))
    path = Path(read_settings(config, database=("--database", database)).run.database)
    chosen = {"exchanges": exchange or (), "symbols": upper(symbol)}
    if follow:
        view.show_on(path, kind.value, form.value, limit=rows or view.LIMIT, **chosen)
    else:
        view.show(path, kind.value, form.value, limit=rows, **chosen)


app.command(
    epilog="Example: trioagg export trades --symbol BTC/USDT --from 2026-01-31 --to 2026-02-01 --output trades.parquet"
)(export)
app.command(epilog="Example: trioagg chart BTC/USDT --interval 5m --output btc.html")(chart)


@app.command(epilog="Example: trioagg gaps --format json")
def gaps(
    database: Database = None,
    form: Annotated[Listing, typer.Option("--format", help="How to print.")] = Listing.TABLE,
    config: Config = None,
) -> None:
    """Show what is missing and why; exit 1 if anything is."""
    from trioagg.views import show as view

    settings = read_settings(config, database=("--database", database))
    if view.show_gaps(Path(settings.run.database), form.value):
        raise typer.Exit(FAILED)


@app.command(epilog="Example: trioagg replay captures/binance-20260101T00Z.jsonl.gz --database replayed.db")
def replay(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Raw captures, gzipped or not.")],
    exchange: Exchanges = None,
    symbol: Symbols = None,
    channel: Channels = None,
    database: Database = None,
    sink: Sinks = None,
    config: Config = None,
) -> None:
    """Store what raw captures hold; the same again adds nothing."""
    _hold_signals()
    import trio

    from trioagg.pipeline.replay import Choice
    from trioagg.pipeline.replay import replay as play
    from trioagg.views.progress import progress

    settings = read_settings(config, database=("--database", database), sinks=("--sink", sink))
    chosen = read_settings(
        config, exchanges=("--exchange", exchange), symbols=("--symbol", symbol), channels=("--channel", channel)
    ).run
    choice = Choice(
        chosen.exchanges if exchange else (), chosen.symbols if symbol else (), chosen.channels if channel else ()
    )
    for file in files:
        if not file.is_file():
            raise SettingsError(f"FILE: bad value {str(file)!r}: there is no such file")
    collect_less_garbage()
    with progress("replayed") as advance:
        outcome = trio.run(lambda: play(files, settings, choice=choice, progress=advance))
    _end(outcome)


@app.command(epilog="Example: trioagg simulate --port 9000 --rate 1000 --fault garble,share=0.02")
def simulate(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[str, typer.Option(metavar="NUMBER", help="0: a free one.")] = "0",
    exchange: Exchanges = None,
    symbol: Symbols = None,
    rate: Annotated[str | None, typer.Option(metavar="MESSAGES", help="Per second in all.")] = None,
    seed: Annotated[str, typer.Option(metavar="NUMBER", help="The same seed makes the same market.")] = "0",
    fault: Annotated[list[str] | None, typer.Option(metavar="SPEC", help="As cut,every=10; repeat for more.")] = None,
    capture: Annotated[Path | None, typer.Option(metavar="FILE", help="Play this recording.")] = None,
) -> None:
    """Serve the built-in exchange, for tests and demos."""
    import trio

    from trioagg.settings import number
    from trioagg.simulator.standalone import serve_until_signal

    settings = read_settings(None, exchanges=("--exchange", exchange), symbols=("--symbol", symbol))
    trio.run(
        lambda: serve_until_signal(
            host=host,
            port=parsed("--port", port, number(int, least=0, most=65535)),
            exchanges=settings.run.exchanges,
            symbols=settings.run.symbols if symbol else (),
            rate=parsed("--rate", rate, number(float, least=0)),
            seed=parsed("--seed", seed, number(int, least=0)),
            faults=fault or (),
            capture=capture,
        )
    )


@app.command(name="exchanges", epilog="Example: trioagg exchanges --format json")
def list_exchanges(form: Annotated[Listing, typer.Option("--format", help="How to print.")] = Listing.TABLE) -> None:
    """List the exchanges, their channels and their proofs."""
    from trioagg.views.exchanges import show_exchanges

    show_exchanges(form.value)


@app.command(epilog="Example: trioagg init")
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("settings.ini"),
) -> None:
    """Write a settings file that holds every key."""
    from trioagg.settings import template

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError:
        raise SettingsError(f"{path}: is there already; nothing was written") from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None


def main(arguments: list[str] | None = None) -> NoReturn:
    """The program: every mistake is one line on standard error, and never a traceback."""
    code = _invoke(arguments)
    with suppress(OSError):
        sys.stdout.flush()
        sys.exit(code)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit complains
    sys.exit(code)


def _invoke(arguments: list[str] | None) -> int:
    try:
        return app(arguments, standalone_mode=False, prog_name="trioagg") or DONE
    except typer.TyperException as error:
        return _complain(_usage(error), MISUSED)
    except (typer.Abort, KeyboardInterrupt):
        return _complain("interrupted", FAILED)
    except TrioaggError as error:
        return _complain(str(error), MISUSED if isinstance(error, SettingsError) else FAILED)
    except OSError as error:
        return _complain(f"{error.filename or 'standard output'}: {error.strerror or error}", FAILED)


def _complain(message: str, code: int) -> int:
    print(f"trioagg: {' '.join(message.split())}", file=sys.stderr)
    return code


def _usage(error: typer.TyperException) -> str:
    from trioagg.settings import nearest

    message = str(getattr(error, "format_message", lambda: str(error))())
    option, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if (
        option
        and context
        and "ossible" not in message
        and option not in (good := [name for item in context.command.params for name in item.opts])
    ):
        return f"{message}; {nearest(option, good)}"
    return message if option else f"{message.rstrip('.')}; see `trioagg --help`"


def _hold_signals() -> None:
    """Keep signals back until the run listens for them, and once it is over, so that none ends it untidily."""
    import signal

    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])


def collect_less_garbage() -> None:
    """Look through the living less often: events wait by the thousand, and nothing that they refer to refers back."""
    import gc

    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 1000)


def _end(outcome: Outcome) -> None:
    if outcome.problems:
        raise typer.Exit(FAILED)
