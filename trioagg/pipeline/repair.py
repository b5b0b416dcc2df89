"""Repairs: one task per exchange asks REST for the trades that the database lacks, the newest gaps first.

By id where the exchange counts its trades; else by time, until what REST tells overlaps with both ends of a stretch.

It shares the exchange's one budget with the polls, one request at a time, so that live data never waits for more than
that. What REST tells goes through the intake like everything else, so it is stored once however often it comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog
import trio
from attrs import define, evolve, field

from trioagg.errors import LinkError, Rejected
from trioagg.exchanges import Exchange, Feed, Fetch, Hole, Subscription, counts
from trioagg.integrity.agreement import size, union, without
from trioagg.integrity.continuity import Run
from trioagg.integrity.repair import Stretch, Want, bridged, progress, stretch
from trioagg.model import Bridged, Channel, Forgone, Gap, Nanos, Trade
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
    _wanted: Mapping[str, Subscription] = field(init=False)
    _done: dict[str, list[Run]] = field(factory=dict, init=False)
    _told: dict[str, int] = field(factory=dict, init=False)
    _failures: dict[tuple[str, Run], int] = field(factory=dict, init=False)
    _resting: dict[tuple[str, Run], float] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        wanted = (item for item in self.feed.subscriptions if item.channel is Channel.TRADES)
        self._wanted = {item.symbol: item for item in wanted}

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
        choose = self._newest if counts(self.adapter.name) else self._stretch
        for symbol in dict.fromkeys(gap.symbol for gap in gaps if gap.symbol in self._wanted):
            if run := choose(symbol, [gap for gap in gaps if gap.symbol == symbol]):
                return symbol, run
        return None

    def _stretch(self, symbol: str, gaps: Sequence[Gap]) -> Run | None:
        """The stretch that was noticed last of those that may be asked for."""
        if self._told.get(symbol, 0) >= self.limit:
            return None
        now, done = trio.current_time(), self._done.get(symbol, [])
        runs = [(gap.first, gap.last) for gap in gaps]
        return next((run for run in runs if run not in done and now >= self._resting.get((symbol, run), 0)), None)

    def _newest(self, symbol: str, gaps: Sequence[Gap]) -> Run | None:
        alone = union([*self._done.get(symbol, []), *self._asleep(symbol)])
        open_runs = union((part.first, part.last) for gap in gaps for part in gap.parts if part.status == "open")
        awake = without(open_runs, alone)
        if not awake or (spare := self.limit - size(alone)) <= 0:
            return None
        first, last = awake[-1]
        first = min((run[0] for run in awake if last - run[0] < TOGETHER), default=first)
        return max(first, last - spare + 1), last

    def _asleep(self, symbol: str) -> list[Run]:
        now = trio.current_time()
        return [run for (whose, run), until in self._resting.items() if whose == symbol and now < until]

    async def _mend(self, symbol: str, run: Run) -> None:
        log.debug("filling a gap", symbol=symbol, first=run[0], last=run[1])
        try:
            want: Want | Stretch | None = await self._want(symbol, run)
            for _ in range(PAGES):
                want = want and await self._page(symbol, want)
                if want is None or (isinstance(want, Stretch) and self._told.get(symbol, 0) >= self.limit):
                    self._finish(symbol, run)
                    return
        except Rejected as error:
            log.error("the exchange refuses to tell what is missing", symbol=symbol, reason=str(error))
            self._finish(symbol, run)
        except LinkError as error:
            self._rest(symbol, run, str(error))
        else:
            self._rest(symbol, run, f"no end after {PAGES} answers")

    async def _want(self, symbol: str, run: Run) -> Want | Stretch | None:
        """What to ask for first; None where it is no gap any more."""
        if counts(self.adapter.name):
            since, until = await self.holes.around(self.adapter.name, symbol, run)
            return Want(*run, since or 0, until or self.stamps.take())
        gaps = (gap for gap in self.holes.of(self.adapter.name) if gap.symbol == symbol)
        return next((stretch(gap) for gap in gaps if (gap.first, gap.last) == run), None)

    async def _page(self, symbol: str, want: Want | Stretch) -> Want | Stretch | None:
        """Ask for one page; what is left to be asked for, None when nothing is.

        Raises:
            LinkError: there was no answer, or one that brought nothing.
        """
        wanted = self._wanted[symbol]
        adapter = self.adapter(evolve(self.feed, subscriptions=[wanted]))
        if (fetch := adapter.missing(_hole(wanted, want))) is None:
            self._forgo(symbol, [want.whole])
            return None
        answer = await self._ask(adapter, fetch, symbol)
        found = progress(want, answer) if isinstance(want, Want) else bridged(want, answer)
        self._forgo(symbol, found.gone)
        if isinstance(want, Stretch) and not found.left and not found.gone:
            self.intake.note([Bridged(self.adapter.name, symbol, *want.whole, self.stamps.take())])
        if found.left and not found.moved:
            raise LinkError("the exchange tells nothing of it")
        return found.left

    async def _ask(self, adapter: Exchange, fetch: Fetch, symbol: str) -> Sequence[Trade]:
        events = await self.rest.consult(adapter, fetch, self.intake)
        await self.intake.room()
        trades = [event for event in events if isinstance(event, Trade) and event.symbol == symbol]
        self._told[symbol] = self._told.get(symbol, 0) + len(trades)
        return trades

    def _finish(self, symbol: str, run: Run) -> None:
        done = [*self._done.get(symbol, []), run]
        self._done[symbol] = union(done) if counts(self.adapter.name) else done

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


def _hole(market: Subscription, want: Want | Stretch) -> Hole:
    first, last = (want.first, want.last) if isinstance(want, Want) else (None, None)
    return Hole(market.symbol, market.native, first, last, want.since, want.until)
