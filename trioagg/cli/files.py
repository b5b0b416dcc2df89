"""The commands that make files of what is stored."""

from pathlib import Path
from typing import Annotated

import typer

from trioagg.cli.options import Config, Exchanges, Interval, Kind, Stored, Symbols, read_quietly, stored, upper, value
from trioagg.errors import SettingsError


def export(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="*.csv, *.csv.gz or *.parquet.")],
    kind: Annotated[Kind, typer.Argument(help="What to export.")] = Kind.TRADES,
    exchange: Exchanges = None,
    symbol: Symbols = None,
    first: Annotated[str | None, typer.Option("--from", metavar="TIME", help="From this time on, ISO 8601.")] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Up to this time, without it.")] = None,
    interval: Interval = None,
    database: Stored = None,
    config: Config = None,
) -> None:
    """Write rows of the database to a Parquet or CSV file.

    Market after market, in the order of time: of "timestamp", or "received" where there is none; of "open_time" for
    candles, and for bars, which are candles made from the trades, as show has them. Times are UTC unless they say
    otherwise. No digit is lost: a CSV has the text that the exchange sent, a Parquet column is decimal128(38, 18) where
    that holds each value exactly and text where it does not, times are integers, nanoseconds since 1970. Parquet needs
    the extra trioagg[parquet]. No file is overwritten, and one that is there is whole.
    """
    from trioagg.settings import instant, length
    from trioagg.store import ALWAYS, Span
    from trioagg.views import bars
    from trioagg.views import export as view

    span = Span(
        ALWAYS.first if first is None else value("--from", first, instant),
        ALWAYS.end if end is None else value("--to", end, instant),
    )
    if span.first >= span.end:
        raise SettingsError(f"--to: bad value {end!r}: must be later than --from {first}")
    value("--interval", interval, length)
    settings = read_quietly(config, database=("--database", database))
    chosen = {"exchanges": exchange or (), "symbols": upper(symbol)}
    _end_on_sigterm()
    with stored(settings) as db:
        if kind is Kind.BARS:
            bars.export_bars(db, interval or settings.run.candle, output, span=span, **chosen)
        else:
            view.export(db, kind.value, output, span=span, **chosen)


def chart(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="A symbol, such as BTC/USDT.")],
    exchange: Exchanges = None,
    interval: Annotated[str, typer.Option(metavar="LENGTH", help="Of a candle: 10s, 1m, 4h, 1d.")] = "1m",
    limit: Annotated[str, typer.Option("--limit", "-n", metavar="N", help="Candles at the most.")] = "60",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="*.png or *.html.")] = None,
    database: Stored = None,
    config: Config = None,
) -> None:
    """Draw the candles of a symbol, in the terminal or into a file.

    They are the stored candles of that length; where there are none, they are made from the stored trades, else from
    the last prices of tickers. Where nothing was traded, there is a gap. Without --exchange, every exchange that has
    the symbol is drawn. In the terminal, a thin body rises and a thick one falls; what does not fit in its width is
    left out, the oldest first. PNG needs the extra trioagg[charts]. No file is overwritten.
    """
    from trioagg.settings import length, number
    from trioagg.store import Scale
    from trioagg.views import chart as view

    each = value("--interval", interval, length)
    scale = Scale(interval, each, value("--limit", limit, number(int, least=1, most=10_000)))
    settings = read_quietly(config, database=("--database", database))
    _end_on_sigterm()
    with stored(settings) as db:
        view.chart(db, symbol.upper(), scale, exchanges=exchange or (), output=output)


def _end_on_sigterm() -> None:
    """Let SIGTERM end a command as Ctrl-C does, so that nothing half-made is left."""
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)
