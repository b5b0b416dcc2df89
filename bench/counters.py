"""Whether the counters that a run serves are what its rows say, to the last one."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from trioagg.model import Nanos

Samples = Mapping[tuple[str, ...], float]
"""Name, and label values in the order of the labels' names → value."""
TABLES = {
    "trades": ["trades"],
    "ticker": ["tickers"],
    "book": ["books", "quotes", "deltas"],
    "funding": ["funding"],
    "open_interest": ["open_interest"],
    "liquidations": ["liquidations"],
}
"""Channel → where its rows are. Not candles, whose rows do not tell when they came."""
ROWS = "trioagg_rows_stored_total"
KEPT = ("stored", "duplicates", "quarantined", "conflated", "lost")
"""What becomes of everything that is received."""


def samples(page: str) -> Samples:
    """What a scraper reads of ``/metrics``."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def account(told: Samples) -> dict[str, int]:
    """The counts of a run's last line, as its metrics tell them."""
    sums = Counter[str]()
    for (name, *_), value in told.items():
        sums[name.removeprefix("trioagg_").removesuffix("_total")] += round(value)
    renamed = {"received": sums["messages"], "stored": sums["rows_stored"]}
    return {**renamed, **{word: sums[word] for word in KEPT if word != "stored"}}


def differences(told: Samples, file: Path, *, since: Nanos) -> list[str]:
    """Where the counters and the database disagree, a line each; to be asked when nothing comes any more.

    Args:
        file: the database.
        since: when the run began, nanoseconds UTC; older rows are those of earlier runs.
    """
    counts = account(told)
    rest = counts["received"] - sum(counts[word] for word in KEPT)
    wrong = [f"{rest} events are not accounted for"] if rest else []
    durable = counts["received"] - counts["conflated"] - counts["lost"]
    wrong += _unlike("commits", round(told["trioagg_commit_seconds_count",]), durable)
    with closing(sqlite3.connect(file)) as db:
        for name, found in stored(db, since).items():
            wrong += _unlike(" ".join(name), round(told.get(name, 0)), found)
    return wrong


def _unlike(name: str, told: int, found: int) -> list[str]:
    return [] if told == found else [f"{name} is {told:,}, in the database it is {found:,}"]


def stored(db: sqlite3.Connection, since: Nanos) -> Mapping[tuple[str, ...], int]:
    """The counters as the rows have them: of each exchange that there is."""
    names = [
        row[0] for row in db.execute("SELECT DISTINCT exchange FROM instruments UNION SELECT exchange FROM sessions")
    ]
    return {key: count for name in names for key, count in _of_one(db, name, since)}


def _of_one(db: sqlite3.Connection, name: str, since: Nanos) -> Iterator[tuple[tuple[str, ...], int]]:
    def count(sql: str) -> int:
        return int(db.execute(f"SELECT count(*) {sql}", (name, since)).fetchone()[0])

    for channel, tables in TABLES.items():
        yield (
            (ROWS, channel, name),
            sum(count(f"FROM {table} WHERE exchange = ? AND received >= ?") for table in tables),
        )
    yield ("trioagg_quarantined_total", name), count("FROM quarantine WHERE exchange = ? AND received >= ?")
    opened = "FROM sessions WHERE exchange = ? AND opened >= ?"
    names = f"FROM (SELECT DISTINCT connection {opened})"
    yield ("trioagg_reconnects_total", name), count(opened) - count(names)
    yield ("trioagg_gaps_open", name), count("FROM gaps WHERE exchange = ? AND status = 'open' AND ? > 0")
