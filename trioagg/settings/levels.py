"""How the text of an alert's rule is read: ``2% for 30s until 1% for 30s``, or ``off``."""

from __future__ import annotations

import re

from trioagg.integrity.alerts import PERCENT, Rule, Unit
from trioagg.settings.words import Parse

NUMBER = r"(\d+(?:\.\d+)?)"
HALF = 0.5
REST = 10.0
"""Seconds for which what is told to be well must be so, at the least, where no time is named."""


def level(example: Rule) -> Parse:
    """A rule in the unit of an example, and on the same side of its level; None where it is off.

    What is left out follows from the rest: no time before it is raised; resolved at half of the level (at twice, where
    less is worse), after as long as it took to be raised.
    """
    unit, low = example.unit, example.calm > example.level
    lasting = rf"\s+for\s+{NUMBER}\s*s"
    value = rf"{NUMBER}\s*{unit}"
    shape = re.compile(rf"{value}(?:{lasting})?(?:\s+until\s+{value}(?:{lasting})?)?", re.IGNORECASE)

    def parse(text: str) -> Rule | None:
        if text.lower() == "off":
            return None
        found = shape.fullmatch(text)
        if found is None:
            raise ValueError(f"must look like {example!s}, or off")
        bound, hold, calm, rest = (part if part is None else float(part) for part in found.groups())
        return _rule(unit, bound or 0.0, hold=hold or 0.0, calm=calm, rest=rest, low=low)

    return parse


def _rule(unit: Unit, bound: float, *, hold: float, calm: float | None, rest: float | None, low: bool) -> Rule:
    scale = PERCENT if unit == "%" else 1
    worst = bound / scale
    well = (worst / HALF if low else worst * HALF) if calm is None else calm / scale
    if worst <= 0:
        raise ValueError("must be above 0; off turns it off")
    if (well <= worst) if low else (well >= worst):
        raise ValueError(f"must have a {'higher' if low else 'lower'} level behind until")
    return Rule(worst, well, hold, max(hold, REST) if rest is None else rest, unit)
