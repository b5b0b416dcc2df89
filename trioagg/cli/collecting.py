"""The commands that take data in: from exchanges, from captures; and the exchange that is built in."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trioagg.cli.options import (
    FAILED,
    Channels,
    Config,
    Database,
    Exchanges,
    LogFormat,
    LogLevel,
    Sinks,
    Symbols,
    read_settings,
    value,
)
from trioagg.errors import SettingsError

if TYPE_CHECKING:
    from trioagg.pipeline.load import Loaded
    from trioagg.pipeline.run import Job
    from trioagg.pipeline.tally import Outcome
    from trioagg.settings import Shard


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
    shard: Annotated[
        str | None, typer.Option(metavar="K/N", help="Collect only part K of N of all markets; each market is in one.")
    ] = None,
    workers: Annotated[
        str | None, typer.Option(metavar="N", help="Share the exchanges among N processes, all into the same stores.")
    ] = None,
    worker: Annotated[str | None, typer.Option(hidden=True, help="Which of them this is.")] = None,
    serve: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Serve /metrics, /healthz and /status there; PORT alone: here only."),
    ] = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Collect from the exchanges into the database.

    Ends cleanly on Ctrl-C, SIGTERM, or after the duration: everything received is stored first. A second signal stops
    at once. SIGHUP reads the settings again: exchanges, symbols and channels change without a gap.
    """
    _hold_signals()
    from trioagg.settings import number, place
    from trioagg.settings import shard as shard_of

    lasting = value("--duration", duration, number(float, least=0))
    served = value("--serve", serve, place)
    read = partial(
        read_settings,
        config,
        exchanges=("--exchange", exchange),
        symbols=("--symbol", symbol),
        channels=("--channel", channel),
        interval=("--interval", interval),
        database=("--database", database),
        sinks=("--sink", sink),
        shard=("--shard", shard),
        workers=("--workers", workers),
        log_level=("--log-level", log_level),
        log_format=("--log-format", log_format),
    )
    from trioagg.pipeline.run import Job

    if record is not None and record.exists() and not record.is_dir():
        raise SettingsError(f"--record: bad value {str(record)!r}: must be a folder")
    job = Job(
        read(),
        simulated=simulated,
        duration=lasting,
        record=record,
        display=display,
        serve=served,
        reread=None if simulated else read,
    )
    _end(_collected(job, value("--worker", worker, shard_of)))


def _collected(job: "Job", part: "Shard | None") -> "Outcome":
    """A run in this process, as one of several, or in several."""
    import sys

    import trio

    from trioagg.pipeline import run, worker, workers

    _set_aside()
    if part:
        return trio.run(worker.work, worker.share(job, part))
    if workers.size(job.settings) > 1:
        return trio.run(workers.lead, job, [sys.executable, *sys.orig_argv[1:]])
    return trio.run(run.run, job)


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
    _set_aside()
    with progress("replayed") as advance:
        outcome = trio.run(lambda: play(files, settings, choice=choice, progress=advance))
    _end(outcome)


def load(
    source: Annotated[str, typer.Option("--from", metavar="URL", help="Where a sink wrote: kafka://broker/prefix.")],
    to: Annotated[
        list[str], typer.Option("--to", metavar="URL", help="A store, by URL or [sink:NAME]; repeat for more.")
    ],
    drain: Annotated[bool, typer.Option("--drain", help="Stop when all that is there now is stored.")] = False,
    config: Config = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Load what a sink wrote to Kafka into other stores.

    Any number of loaders share the topics as one consumer group; whatever happens to one of them, each row is stored
    once. A store that is away is waited for. Ends cleanly on Ctrl-C or SIGTERM; a second signal stops at once.
    """
    _hold_signals()
    settings = read_settings(config, log_level=("--log-level", log_level), log_format=("--log-format", log_format))
    import trio

    from trioagg.pipeline.load import Job
    from trioagg.pipeline.load import load as pump

    stores = [settings.store(word, "--to") for word in dict.fromkeys(to)]
    job = Job(settings, settings.store(source, "--from"), stores, drain=drain)
    _set_aside()
    _end(trio.run(pump, job))


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
            port=value("--port", port, number(int, least=0, most=65535)),
            exchanges=settings.run.exchanges,
            symbols=settings.run.symbols if symbol else (),
            rate=value("--rate", rate, number(float, least=0)),
            seed=value("--seed", seed, number(int, least=0)),
            faults=fault or (),
            capture=capture,
        )
    )


def _hold_signals() -> None:
    """Keep signals back until the run listens for them, and once it is over, so that none ends it untidily."""
    import signal

    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])


def _set_aside() -> None:
    """Never look again through what is there before anything is collected."""
    import gc

    gc.collect()
    gc.freeze()


def _end(outcome: "Outcome | Loaded") -> None:
    if outcome.problems:
        raise typer.Exit(FAILED)
