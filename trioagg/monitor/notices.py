"""Changes of alerts in words: a line for people, and bodies for those who are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import asdict, frozen

from trioagg.integrity.alerts import Alert, Change, Rule, Turn, written
from trioagg.model import Nanos
from trioagg.settings import Form

SAYS: Mapping[str, str] = {
    "exchange": "no connection has brought anything for {}",
    "stream": "nobody has brought it for {}",
    "unheard": "subscribed, and never heard of for {}",
    "silence": "connected, and silent for {}",
    "gap": "a gap has been open for {}",
    "lag": "what comes is {} late",
    "skew": "its clock is {} ahead of ours (less than zero: behind)",
    "fill": "its channel is {} full",
    "disk": "{} are free",
    "price": "the price is {} from that of the others",
}
"""What an alert says, by its rule."""
NAMED = 10
"""Symbols that one line names at the most."""
LINES = 20
"""Lines that one message has at the most."""
DISCORD = 2000
"""Characters that Discord takes."""
SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@frozen
class Line:
    """Changes of one rule at one exchange and channel, told together.

    Attributes:
        symbols: whose.
        says: what is so, by the worst of them; or how long it was.
    """

    turn: Turn
    rule: str
    exchange: str
    channel: str
    symbols: tuple[str, ...]
    says: str

    @property
    def named(self) -> str:
        """The symbols, not too many of them."""
        more = len(self.symbols) - NAMED
        return ", ".join(self.symbols[:NAMED]) + (f" and {more} more" if more > 0 else "")

    def __str__(self) -> str:
        """``raised lag, binance: what comes is 12s late``."""
        what = " ".join(part for part in (self.exchange, self.named, self.channel) if part)
        return f"{self.turn} {self.rule}{', ' if what else ''}{what}: {self.says}"


@frozen
class Notice:
    """What is told at one moment.

    Attributes:
        host: whose run it is.
        clock, now: the moment, by the clock of the alerts in seconds, and by ours in nanoseconds UTC.
    """

    changes: Sequence[Change]
    rules: Mapping[str, Rule]
    host: str
    clock: float
    now: Nanos

    def lines(self) -> list[Line]:
        """All of it, in few lines."""
        groups: dict[tuple[Turn, str, str, str], list[Change]] = {}
        for change in self.changes:
            about = change.alert.subject
            groups.setdefault((change.turn, change.alert.rule, about.exchange, about.channel), []).append(change)
        return [self._line(*group, changes) for group, changes in groups.items()]

    def text(self) -> str:
        """All of it for a person, unless it is too much."""
        told = list(map(str, self.lines()))
        more = [f"and {len(told) - LINES} more"] if len(told) > LINES else []
        return "\n".join([f"trioagg on {self.host}:", *told[:LINES], *more])

    def _line(self, turn: Turn, rule: str, exchange: str, channel: str, changes: Sequence[Change]) -> Line:  # noqa: PLR0917
        symbols = tuple(change.alert.subject.symbol for change in changes if change.alert.subject.symbol)
        return Line(turn, rule, exchange, channel, symbols, self._says(max(changes, key=_size)))

    def _says(self, change: Change) -> str:
        if change.turn == "resolved":
            return f"well again after {change.lasted:.0f}s"
        rule = change.alert.rule
        return SAYS[rule].format(written(float(f"{change.alert.value:.3g}"), self.rules[rule].unit))

    def entries(self) -> list[dict[str, Any]]:
        """Each change for a machine."""
        told = ((change.turn, change.alert, self.rules[change.alert.rule]) for change in self.changes)
        return [{"state": turn, **entry(alert, rule, self.clock, self.now)} for turn, alert, rule in told]


def entry(alert: Alert, rule: Rule, clock: float, now: Nanos) -> dict[str, Any]:
    """One alert for a machine; ``since`` is when it was raised, nanoseconds UTC.

    Args:
        clock, now: one moment, as in ``Notice``.
    """
    about = {name: value or None for name, value in asdict(alert.subject).items()}
    since = now - round((clock - alert.since) * 1e9)
    return {"alert": alert.rule, **about, "value": alert.value, "level": rule.level, "unit": rule.unit, "since": since}


def _size(change: Change) -> float:
    return change.lasted if change.turn == "resolved" else abs(change.alert.value)


def as_json(notice: Notice) -> dict[str, Any]:
    """Everything: times are nanoseconds UTC, shares have 0.01 for one percent; a ``value`` is that of its raising."""
    return {"host": notice.host, "sent": notice.now, "text": notice.text(), "alerts": notice.entries()}


def as_slack(notice: Notice) -> dict[str, Any]:
    """An incoming webhook of Slack's, or of what copies it."""
    return {"text": notice.text().translate(SLACK)}


def as_discord(notice: Notice) -> dict[str, Any]:
    """A webhook of Discord's; nobody is mentioned, whatever a symbol is called."""
    return {"content": notice.text()[:DISCORD], "allowed_mentions": {"parse": []}}


SHAPES: Mapping[Form, Callable[[Notice], dict[str, Any]]] = {
    "json": as_json,
    "slack": as_slack,
    "discord": as_discord,
}


def body(notice: Notice, form: Form) -> str:
    """What a webhook, or a command, is given."""
    return json.dumps(SHAPES[form](notice))
