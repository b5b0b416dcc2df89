"""Every key of the settings, once: how its text is read, its default, and what ``settings.ini`` says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from attrs import field, frozen

from trioagg import exchanges
from trioagg.exchanges import BookPlan, Kept
from trioagg.model import Channel
from trioagg.settings.stores import Store, at
from trioagg.settings.words import Parse, addresses, many, number, one_of, symbol, url, word

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS = ("console", "json")
CANDLES = ("1m", "5m", "15m", "1h", "4h", "1d")


def key(parse: Parse, default: Any, says: str) -> Any:
    """A setting: how its text is read, its default, and the comment that ``settings.ini`` gives it."""
    return field(default=default, metadata={"parse": parse, "says": says})


@frozen
class Run:
    """What to collect, where to, and how to tell of it."""

    exchanges: tuple[str, ...] = key(many(one_of(exchanges.names())), ("binance",), "the exchanges to collect from")
    symbols: tuple[str, ...] = key(
        many(symbol), ("BTC/USDT", "ETH/USDT"), "the markets, spelled the same on all exchanges"
    )
    channels: tuple[Channel, ...] = key(
        many(lambda text: Channel(one_of(Channel)(text))),
        (Channel.TRADES, Channel.TICKER),
        "trades, ticker, candles, book, funding, open_interest, liquidations",
    )
    interval: float = key(
        number(float, least=0.1), 5.0, "seconds between REST polls (tickers are polled beside their stream)"
    )
    candle: str = key(one_of(CANDLES), "1m", "the length of a candle")
    redundancy: int = key(
        number(int, least=1, most=4),
        1,
        "connections with the same subscriptions, up to 4; all count in the exchange's limits",
    )
    stall_timeout: float = key(
        number(float, least=0.1),
        30.0,
        "seconds without data on a subscribed connection before it is replaced, pings or not",
    )
    first_data_timeout: float = key(
        number(float, least=0.1), 60.0, "seconds without data after which a subscription is told to be silent"
    )
    max_skew: float = key(
        number(float, least=0), 1.0, "seconds that an exchange's clock may differ from ours before that is told"
    )
    database: str = key(word, "trioagg.db", "the SQLite file")
    sinks: tuple[str, ...] = key(addresses, (), "further stores, as URLs")
    min_free_disk: float = key(
        number(float, least=0), 500.0, "megabytes free where the database is, below which that is told; 0: never"
    )
    display_interval: float = key(number(float, least=0.1), 10.0, "seconds between summaries")
    drain_timeout: float = key(number(float, least=0), 8.0, "seconds that a stop may take to store what was received")
    log_level: str = key(one_of(LEVELS), "INFO", "DEBUG, INFO, WARNING or ERROR")
    log_format: str = key(one_of(FORMATS), "console", "console or json")


@frozen
class Books:
    """What is kept of order books."""

    levels: int = key(number(int, least=1, most=1000), 20, "best levels of a side in a snapshot")
    period: float = key(number(float, least=0.01), 1.0, "seconds between snapshots of a market")
    keep: tuple[Kept, ...] = key(
        many(one_of(get_args(Kept))),
        ("snapshots", "best"),
        "snapshots, best (each change of the best prices), deltas (each raw change: large)",
    )

    @property
    def plan(self) -> BookPlan:
        """It, as adapters take it."""
        return BookPlan(self.levels, round(self.period * 1e9), frozenset(self.keep))


@frozen
class Retry:
    """How failures are met."""

    attempts: int = key(number(int, least=1, most=100), 5, "REST: tries per request")
    base_delay: float = key(number(float, least=0), 1.0, "seconds; doubles, with jitter of at most half")
    max_delay: float = key(number(float, least=0), 60.0, "seconds")
    reconnect_delay: float = key(number(float, least=0), 1.0, "seconds; first wait before a WebSocket reconnects")


@frozen
class Repair:
    """How holes are closed."""

    backfill_limit: int = key(
        number(int, least=0), 100_000, "missing trades of each market that one run asks REST for; 0: none"
    )


@frozen
class Buffers:
    """How much may be under way, and how it is gathered for the store."""

    channel: int = key(number(int, least=1), 50_000, "events that may wait for a store before the readers wait")
    commit_rows: int = key(number(int, least=1), 10_000, "events in one transaction at the most")
    commit_delay: float = key(
        number(float, least=0, most=60), 0.02, "seconds between the beginnings of transactions: what a crash can lose"
    )
    spool: float = key(
        number(float, least=0), 2000.0, "megabytes that may wait on disk for a further store that is away; 0: none"
    )


@frozen
class Venue:
    """One exchange, ``[exchange:NAME]``; None: the adapter's own."""

    rest_url: str | None = key(url("https", "http"), None, "where its REST is; http:// for a proxy or a test server")
    ws_url: str | None = key(url("wss", "ws"), None, "where its WebSocket is; ws:// likewise")
    min_delay: float = key(number(float, least=0), 0.05, "seconds between REST requests to it")
    retry_after_header: str = key(word, "Retry-After", "the header that says how long to wait")


@frozen
class Settings:
    """All of it."""

    run: Run = Run()
    book: Books = Books()
    retry: Retry = Retry()
    repair: Repair = Repair()
    buffers: Buffers = Buffers()
    venues: Mapping[str, Venue] = field(factory=dict)
    sinks: tuple[Store, ...] = ()

    @property
    def stores(self) -> list[Store]:
        """All further stores: the URLs first, then those with a name."""
        return [*map(at, dict.fromkeys(self.run.sinks)), *self.sinks]

    def store(self, word: str, where: str) -> Store:
        """A store by its name, or by its URL."""
        return next((store for store in self.sinks if store.name == word), at(word, where))

    def venue(self, name: str) -> Venue:
        """The section of one exchange, or its defaults."""
        return self.venues.get(name, Venue())


SECTIONS: dict[str, type] = {"run": Run, "book": Books, "retry": Retry, "repair": Repair, "buffers": Buffers}
