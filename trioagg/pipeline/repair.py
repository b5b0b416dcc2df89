"""Repairs: one task per exchange asks REST for the trades that the database lacks, the newest gaps first.

It shares the exchange's one budget with the polls, one request at a time, so that live data never waits for more than
that. What REST tells goes through the intake like everything else, so it is stored once however often it comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
import trio
from attrs import define, evolve, field

from trioagg.errors import LinkError, Rejected
from trioagg.exchanges import Exchange, Feed, Fetch, Hole
from trioagg.integrity.agreement import size, union, without
from trioagg.integrity.continuity import Run
from trioagg.integrity.repair import Want, progress
from trioagg.model import Channel, Forgone, Gap, Nanos, Trade
from trioagg.pipeline.holes import Holes
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.rest import Rest
from trioagg.transport.clock import Stamps

log = structlog.get_logger(__name__)

GRACE = 2.0
"""Seconds that late trades have to come by themselves."""
RESTS = (5.0, 30.0, 120.0)
"""Seconds to leave a gap alone after each failure in a row; after the last one it is given up for this run."""
TOGETHER = 500
"""Ids that are asked for in one go, whatever is stored between the missing ones."""
PAGES = 10_000
"""Answers that one gap takes at the most."""
SECOND = 1_000_000_000


@define(eq=False)
class Repair:
    """Mends one exchange's gaps.

    Attributes:
        limit: trades of each market that one run asks for at the most.
    """

    adapter: type[Exchange]
    feed: Feed
    rest: Rest
    intake: Intake
    holes: Holes
    stamps: Stamps
    limit: int
    _natives: Mapping[str, str] = field(init=False)
    _done: dict[str, list[Run]] = field(factory=dict, init=False)
    _failures: dict[tuple[str, Run], int] = field(factory=dict, init=False)
    _resting: dict[tuple[str, Run], float] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        wanted = (item for item in self.feed.subscriptions if item.channel is Channel.TRADES)
        self._natives = {item.symbol: item.native for item in wanted}

    async def run(self) -> None:
        """Mend until cancelled."""
        while True:
            changed = self.holes.changed
            if (found := self._next()) is not None:
                await self._mend(*found)
            else:
                with trio.move_on_after(GRACE):
                    await changed.wait()

    def _next(self) -> tuple[str, Run] | None:
        """What is to be asked for now: the newest part of a gap, and older ones that lie close below it."""
        now = self.stamps.take()
        # A gap of the future was noticed before the clock was set back, so it is no young one.
        gaps = [gap for gap in self.holes.of(self.adapter.name) if not 0 <= now - gap.detected < GRACE * SECOND]
        for symbol in dict.fromkeys(gap.symbol for gap in gaps if gap.symbol in self._natives):
            if run := self._newest(symbol, [gap for gap in gaps if gap.symbol == symbol]):
                return symbol, run
        return None

    def _newest(self, symbol: str, gaps: Sequence[Gap]) -> Run | None:
        done = self._done.get(symbol, [])
        open_runs = union((part.first, part.last) for gap in gaps for part in gap.parts if part.status == "open")
        awake = [run for run in without(open_runs, done) if trio.current_time() >= self._resting.get((symbol, run), 0)]
        if not awake or (spare := self.limit - size(done)) <= 0:
            return None
        first, last = awake[-1]
        first = min((run[0] for run in awake if last - run[0] < TOGETHER), default=first)
        return max(first, last - spare + 1), last

    async def _mend(self, symbol: str, run: Run) -> None:
        since, until = await self.holes.around(self.adapter.name, symbol, run)
        want = Want(*run, since or 0, until or self.stamps.take())
        log.debug("filling a gap", symbol=symbol, first=run[0], last=run[1])
        try:
            for _ in range(PAGES):
                left = await self._page(symbol, want)
                if left is None:
                    self._finish(symbol, run)
                    return
                want = left
        except Rejected as error:
            log.error("the exchange refuses to tell what is missing", symbol=symbol, reason=str(error))
            self._finish(symbol, run)
        except LinkError as error:
            self._rest(symbol, run, str(error))
        else:
            self._rest(symbol, run, f"no end after {PAGES} answers")

    async def _page(self, symbol: str, want: Want) -> Want | None:
        """Ask for one page; what is left to be asked for, None when nothing is.

        Raises:
            LinkError: there was no answer, or one that brought nothing.
        """
        adapter = self.adapter(evolve(self.feed, subscriptions=()))
        hole = Hole(self._natives[symbol], want.first, want.last, want.since, want.until)
        if (fetch := adapter.missing(hole)) is None:
            self._forgo(symbol, [(want.first, want.last)])
            return None
        found = progress(want, await self._ask(adapter, fetch, symbol))
        self._forgo(symbol, found.gone)
        if found.left and not found.moved:
            raise LinkError("the exchange tells nothing of it")
        return found.left

    async def _ask(self, adapter: Exchange, fetch: Fetch, symbol: str) -> Sequence[Trade]:
        events = await self.rest.consult(adapter, fetch, self.intake)
        await self.intake.room()
        return [event for event in events if isinstance(event, Trade) and event.symbol == symbol]

    def _finish(self, symbol: str, run: Run) -> None:
        self._done[symbol] = union([*self._done.get(symbol, []), run])

    def _rest(self, symbol: str, run: Run, reason: str) -> None:
        """Leave a part of a gap alone for a while; one that failed too often is given up."""
        failures = self._failures[symbol, run] = self._failures.get((symbol, run), 0) + 1
        if failures > len(RESTS):
            log.warning("a gap cannot be filled", symbol=symbol, first=run[0], last=run[1], reason=reason)
            self._forgo(symbol, [run])
            self._finish(symbol, run)
            return
        wait = RESTS[failures - 1]
        self._resting[symbol, run] = trio.current_time() + wait
        log.warning("a gap is not filled yet", symbol=symbol, reason=reason, wait=f"{wait:g} s")

    def _forgo(self, symbol: str, ids: Sequence[Run]) -> None:
        at: Nanos = self.stamps.take()
        self.intake.note([Forgone(self.adapter.name, symbol, first, last, at) for first, last in ids])
