"""Every key of the settings, once: how its text is read, its default, and what ``settings.ini`` says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from attrs import asdict, field, frozen

from trioagg import exchanges
from trioagg.exchanges import BookPlan, Kept
from trioagg.integrity.alerts import Rule
from trioagg.model import Channel
from trioagg.settings.levels import level
from trioagg.settings.shards import Shard, shard
from trioagg.settings.stores import Store, at
from trioagg.settings.words import Parse, addresses, argv, hook, many, number, one_of, symbol, url, word

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS = ("console", "json")
CANDLES = ("1m", "5m", "15m", "1h", "4h", "1d")
Form = Literal["json", "slack", "discord"]
"""In whose words a webhook is told."""


INSTANT = 1e-9
"""Seconds; what is called no time at all."""


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
    shard: Shard = key(shard, Shard(), "the part of all markets that is collected: 2/5 is the second of five")
    workers: int = key(number(int, least=1, most=64), 1, "processes among which the exchanges are dealt")
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
        number(float, least=0, most=60), 0.018, "seconds between the beginnings of transactions: what a crash can lose"
    )
    spool: float = key(
        number(float, least=0), 2000.0, "megabytes that may wait on disk for a further store that is away; 0: none"
    )


def alert(usual: Rule, says: str) -> Any:
    """When to raise one alert, by default."""
    return key(level(usual), usual, says)


@frozen
class Alerts:
    """When to raise an alert, and where to tell of it beside the log."""

    exchange: Rule | None = alert(Rule(60, 30, 0, 10), "an exchange from which no connection brings anything")
    stream: Rule | None = alert(Rule(60, 30, 0, 10), "a stream that no connection brings, though the exchange is there")
    silence: Rule | None = alert(
        Rule(120, 60, 0, 10), "a connected stream that brings nothing for longer than it ever does"
    )
    gap: Rule | None = alert(Rule(600, 300, 0, 10), "the age of the oldest gap of a market that is still open")
    lag: Rule | None = alert(Rule(10, 5, 30, 30), "the time from an event at the exchange until it is here")
    fill: Rule | None = alert(Rule(0.8, 0.5, 30, 30, "%"), "how full the channel before a store is")
    price: Rule | None = alert(
        Rule(0.02, 0.01, 30, 30, "%"), "how far a price is from the median of at least two other exchanges"
    )
    webhook: str = key(hook, "", "a URL to post alerts to; what follows its host is kept secret")
    webhook_form: Form = key(one_of(get_args(Form)), "json", "json, slack or discord: whose form the post has")
    command: tuple[str, ...] = key(argv, (), "a program with its arguments that is given alerts as JSON; no shell")
    timeout: float = key(number(float, least=0.1), 10.0, "seconds that one post, or one run of the command, may take")


@frozen
class Venue:
    """One exchange, ``[exchange:NAME]``; None: the adapter's own."""

    rest_url: str | None = key(url("https", "http"), None, "where its REST is; http:// for a proxy or a test server")
    ws_url: str | None = key(url("wss", "ws"), None, "where its WebSocket is; ws:// likewise")
    min_delay: float = key(number(float, least=0), 0.05, "seconds between REST requests to it")
    retry_after_header: str = key(word, "Retry-After", "the header that says how long to wait")


@frozen
class Settings:
    """All of it.

    Attributes:
        worker: which of a run's processes this one is; no text tells it.
    """

    run: Run = Run()
    book: Books = Books()
    retry: Retry = Retry()
    repair: Repair = Repair()
    buffers: Buffers = Buffers()
    alerts: Alerts = Alerts()
    venues: Mapping[str, Venue] = field(factory=dict)
    sinks: tuple[Store, ...] = ()
    worker: Shard = field(factory=Shard)

    @property
    def rules(self) -> dict[str, Rule]:
        """When to raise which alert: those of ``[alerts]`` that are not off, and those whose level ``[run]`` names."""
        run, told = self.run, asdict(self.alerts, recurse=False)
        own = {name: rule for name, rule in told.items() if isinstance(rule, Rule)}
        own["unheard"] = Rule(run.first_data_timeout, run.first_data_timeout / 2, 0, 0)
        own["skew"] = Rule(max(run.max_skew, INSTANT), run.max_skew / 2, 0, 10)
        if run.min_free_disk:
            own["disk"] = Rule(run.min_free_disk, run.min_free_disk * 1.2, 0, 10, "MB")
        return own

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

    def symbols_of(self, exchange: str) -> tuple[str, ...]:
        """The symbols that are collected from an exchange: those in this run's shard."""
        return tuple(symbol for symbol in self.run.symbols if self.run.shard.holds(exchange, symbol))

    @property
    def exchanges(self) -> tuple[str, ...]:
        """The exchanges with a market in this run's shard, those that are this worker's: they are dealt in turn."""
        there = tuple(name for name in self.run.exchanges if self.symbols_of(name))
        return there[self.worker.number - 1 :: self.worker.of]


SECTIONS: dict[str, type] = {
    "run": Run,
    "book": Books,
    "retry": Retry,
    "repair": Repair,
    "buffers": Buffers,
    "alerts": Alerts,
}

CAPTIONS = {
    "alerts": """\
; One rule a line: raised at a level that lasts, until it is well again and that lasts; or off. `lag = 5s` is enough.
"""
}
"""What ``settings.ini`` says of a whole section."""
