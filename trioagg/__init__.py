"""trioagg: a record of the crypto market that can be trusted.

The map of the house, as the data goes::

    exchanges    pure: what the bytes of each exchange mean; one file each
    transport    moves bytes: WebSockets, REST, captures; knows no market
    pipeline     every task and every channel; ``run`` is the tree of them
    integrity    pure: what is missing
    sinks        where events become durable; one file each
    sources      what sinks wrote, to be loaded into other stores
    store        the SQLite file: the one place that knows its schema
    views        rows to look at
    monitor      what a run tells of itself over HTTP
    simulator    a far end that speaks the exchanges' protocols, with faults on request

beside ``model`` (one record per kind of event), ``errors`` (their tree), ``settings``, ``logs`` and ``cli``.

From Python, ``trioagg.run`` collects, in a script as in a notebook's cell, and ``trioagg.rows`` reads exact decimals.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trioagg.pipeline.tally import Outcome

__version__ = "0.1.0"
__all__ = ["rows", "run"]

DECIMALS = frozenset(
    "price amount bid bid_size ask ask_size last volume open high low close rate mark index tick_size amount_step "
    "contract_size".split()
)


def run(
    *,
    duration: float | None = None,
    simulated: bool = False,
    record: str | PathLike[str] | None = None,
    display: bool = False,
    config: str | PathLike[str] | None = None,
    **settings: object,
) -> Outcome:
    """Collect, as ``trioagg run`` does; Ctrl-C, or a notebook's Interrupt, stores what was received and returns.

    Args:
        duration: seconds; None until interrupted.
        simulated: against the built-in exchange.
        record: the folder for raw captures.
        display: print summaries.
        config: the settings file, in place of ``settings.ini``.
        settings: keys of the section ``run``: ``exchanges=["binance"], symbols=["BTC/USDT"], database="a.db"``.

    Returns:
        The account of the run, with its problems.

    Raises:
        SettingsError: a setting cannot be.
        StoreError: the database cannot be used.
    """
    import trio

    from trioagg.errors import SettingsError
    from trioagg.pipeline.run import Job
    from trioagg.pipeline.run import run as collect
    from trioagg.settings import load

    texts = {key: value if isinstance(value, str) else _text(value) for key, value in settings.items()}
    flags = {"run": {key: (text, f"{key}=") for key, text in texts.items()}}
    chosen = load(file=Path(config) if config else None, environment=os.environ, flags=flags)
    if chosen.run.workers > 1:
        raise SettingsError("workers=: only the command `trioagg run` starts processes; leave it at 1")
    folder = Path(record) if record else None
    job = Job(chosen, simulated=simulated, duration=duration, record=folder, display=display)
    return trio.run(collect, job)


def rows(
    database: str | PathLike[str],
    kind: str = "ticker",
    *,
    exchanges: Sequence[str] = (),
    symbols: Sequence[str] = (),
    limit: int = 20,
) -> list[dict[str, Any]]:
    """The newest rows of a database, oldest first, with the database's column names and exact decimals.

    Args:
        database: the SQLite file, or the URL of a database server's store.
        kind: ``ticker``, ``trades``, ``candles``, …, as ``trioagg show`` names them.
        exchanges, symbols: all if empty.
        limit: rows at the most.

    Raises:
        SettingsError: the database knows nothing of an exchange or symbol, or the URL is wrong.
        StoreError: there is no such database, or it cannot be read.
    """
    from trioagg import sinks, store

    with sinks.stored(os.fspath(database)) as db:
        found = store.rows(db, kind, exchanges=exchanges, symbols=symbols, limit=limit)
    return [{name: _exact(name, value) for name, value in row.items()} for row in found]


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Sequence) else str(value)


def _exact(name: str, value: Any) -> Any:
    return Decimal(value) if name in DECIMALS and isinstance(value, str) else value
