"""The command line: parse, compose, exit codes; no logic.

``options`` is what commands share; ``collecting``, ``looking`` and ``files`` hold them, in the order of the help below.
What a command needs is imported when it runs, so that ``--help`` starts fast. Their annotations are no texts, which
typer would evaluate four times each at every start; ``taking`` says how it is kept from loading pydantic.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from trioagg import __version__
from trioagg.cli import collecting, files, looking
from trioagg.cli.options import DONE, FAILED, MISUSED
from trioagg.cli.taking import Command, Group
from trioagg.errors import SettingsError, TrioaggError

app = typer.Typer(
    name="trioagg",
    cls=Group,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


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


COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "run": (collecting.run, "run --exchange binance --symbol BTC/USDT --interval 5"),
    "show": (looking.show, "show trades --symbol BTC/USDT --limit 20 --format json"),
    "gaps": (looking.gaps, "gaps --format json"),
    "verify": (looking.verify, "verify --database trioagg.db"),
    "export": (files.export, "export trades --symbol BTC/USDT --from 2026-01-01 --output trades.parquet"),
    "chart": (files.chart, "chart BTC/USDT --interval 5m --output chart.html"),
    "replay": (collecting.replay, "replay captures/binance-20260101T00Z.jsonl.gz --database replayed.db"),
    "load": (collecting.load, "load --from kafka://broker:9092/market --to postgresql://host/market"),
    "simulate": (collecting.simulate, "simulate --port 9000 --rate 1000 --fault garble,share=0.02"),
    "doctor": (looking.doctor, "doctor --exchange kraken"),
    "exchanges": (looking.list_exchanges, "exchanges --format json"),
    "symbols": (looking.symbols, "symbols kraken --format json"),
    "init": (looking.init, "init"),
}
"""Every command, in the order of the help, with an example."""

for name, (command, example) in COMMANDS.items():
    app.command(name=name, cls=Command, epilog=f"Example: trioagg {example}")(command)


def main(arguments: list[str] | None = None) -> NoReturn:
    """The program: every mistake is one line on standard error, and never a traceback."""
    _collect_less_garbage()
    code = _invoke(arguments)
    with suppress(OSError):
        sys.stdout.flush()
        sys.exit(code)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit complains
    sys.exit(code)


def _collect_less_garbage() -> None:
    """Look through the living less often: what is loaded stays, what waits refers to nothing that refers back.

    At the end it is not looked through once more: all of it goes.
    """
    gc.set_threshold(50_000, 20, 1000)
    atexit.register(gc.freeze)


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
    from trioagg.signs import visible

    print(f"trioagg: {visible(' '.join(message.split()))}", file=sys.stderr)
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
