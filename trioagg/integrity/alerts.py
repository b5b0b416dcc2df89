"""When a value is too much for too long, and when it is well again. Pure.

Each rule has a level at which it raises an alert and another, on the well side of it, at which it resolves one; either
must last for some seconds. Between the two nothing changes, so a value that trembles at one of them is told once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import define, field, frozen

Unit = Literal["s", "%", "MB"]
"""Seconds; a share, where 0.01 is one percent; millions of bytes."""
Turn = Literal["raised", "resolved"]

PERCENT = 100


def written(value: float, unit: Unit) -> str:
    """A value with its unit, as a person writes it: ``2%``."""
    return f"{value * PERCENT if unit == '%' else value:g}{unit}"


@frozen
class Rule:
    """When to raise, and when to resolve.

    Attributes:
        level: what is too much. Where ``calm`` is above it, it is what is too little.
        calm: what is well again.
        hold: seconds that the one must last before the alert is raised, ...
        rest: ... and the other before it is resolved.
        unit: of the two levels.
    """

    level: float
    calm: float
    hold: float
    rest: float
    unit: Unit = "s"

    def bad(self, value: float) -> bool:
        """Whether a value is a reason to raise, whatever its sign."""
        return abs(value) >= self.level if self.calm < self.level else abs(value) <= self.level

    def well(self, value: float) -> bool:
        """Whether a value is a reason to resolve."""
        return abs(value) <= self.calm if self.calm < self.level else abs(value) >= self.calm

    def __str__(self) -> str:
        """As ``settings.ini`` has it: ``2% for 30s until 1% for 30s``."""
        hold = f" for {self.hold:g}s" if self.hold else ""
        return f"{written(self.level, self.unit)}{hold} until {written(self.calm, self.unit)} for {self.rest:g}s"


@frozen
class Subject:
    """What an alert is about; empty where it is about more than one.

    Attributes:
        channel: of market data, or the name of a flow.
    """

    exchange: str = ""
    symbol: str = ""
    channel: str = ""


Key = tuple[str, Subject]
"""The name of a rule, and what it is applied to."""


@frozen
class Alert:
    """One that is raised.

    Attributes:
        value: what it was then.
        since: when, by the clock of the observations, seconds.
    """

    rule: str
    subject: Subject
    value: float
    since: float


@frozen
class Change:
    """An alert was raised or resolved.

    Attributes:
        lasted: seconds since it was raised.
    """

    turn: Turn
    alert: Alert
    lasted: float = 0.0


@define(eq=False)
class Alarms:
    """Which alerts are raised.

    Attributes:
        rules: by name; a value that has none is passed over.
        standing: those that are raised.
    """

    rules: Mapping[str, Rule]
    standing: dict[Key, Alert] = field(factory=dict)
    _turning: dict[Key, float] = field(factory=dict)

    def observe(self, values: Mapping[Key, float | None], now: float) -> list[Change]:
        """What a look at everything changes.

        Args:
            values: what is not among them is well; None: nobody knows, so that it stays as it is.
            now: seconds, by a clock that never steps back.
        """
        keys = dict.fromkeys([*values, *self.standing, *self._turning])
        changes = (self._judge(key, values, now) for key in keys if key[0] in self.rules)
        return [change for change in changes if change]

    def _judge(self, key: Key, values: Mapping[Key, float | None], now: float) -> Change | None:
        rule, alert = self.rules[key[0]], self.standing.get(key)
        value = values.get(key, rule.calm)
        turns, patience = (rule.well, rule.rest) if alert else (rule.bad, rule.hold)
        if value is None or not turns(value):
            self._turning.pop(key, None)
            return None
        if now - self._turning.setdefault(key, now) < patience:
            return None
        del self._turning[key]
        if alert:
            del self.standing[key]
            return Change("resolved", alert, now - alert.since)
        raised = self.standing[key] = Alert(*key, value, now)
        return Change("raised", raised)
