"""Alerting: looks once a second how the run is, and tells what became bad and what became well."""

from __future__ import annotations

import logging
import platform
from collections import Counter
from collections.abc import Callable

import structlog
import trio
from attrs import define, field

from trioagg.integrity.alerts import Alarms
from trioagg.monitor.notices import Line, Notice
from trioagg.monitor.vitals import Moment, Vitals

log = structlog.get_logger(__name__)

EVERY = 1.0
"""Seconds between two looks."""
HELD_UP = 5.0
"""Seconds that a look may be late. After more it is we who stood still, and what came meanwhile is not read yet."""


@define(eq=False)
class Alerting:
    """Watches one run.

    Attributes:
        tell: given each notice; never waits.
        raised: how many alerts were raised so far, by rule.
    """

    alarms: Alarms
    vitals: Vitals
    tell: Callable[[Notice], None]
    raised: Counter[str] = field(factory=Counter)

    async def watch(self, look: Callable[[], Moment]) -> None:
        """Look until cancelled.

        Args:
            look: tells how it is now.
        """
        while True:
            due = trio.current_time() + EVERY
            await trio.sleep_until(due)
            if trio.current_time() < due + HELD_UP:
                self.judge(look())

    def judge(self, moment: Moment) -> None:
        """Log what a look changes, and hand it to those who tell it."""
        changes = self.alarms.observe(self.vitals.look(moment), moment.clock)
        if not changes:
            return
        self.raised.update(change.alert.rule for change in changes if change.turn == "raised")
        notice = Notice(changes, self.alarms.rules, platform.node(), moment.clock, moment.now)
        for line in notice.lines():
            _log(line)
        self.tell(notice)


def _log(line: Line) -> None:
    about = {"exchange": line.exchange, "symbols": line.named, "channel": line.channel}
    told = {name: text for name, text in about.items() if text}
    level, event = (logging.WARNING, "alert raised") if line.turn == "raised" else (logging.INFO, "alert resolved")
    log.log(level, event, alert=line.rule, **told, says=line.says)
