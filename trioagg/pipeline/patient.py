"""The writer of a sink that may be away for minutes: what it misses waits on disk, in order.

Two tasks share the work while there is trouble: one offers to the sink what is oldest, the other moves what comes from
the flow into the spool, so that the flow never fills. Once the spool is empty, there is one task again.
"""

from __future__ import annotations

import math

import structlog
import trio
from attrs import define, field

from trioagg.errors import SinkError, StoreError, bare
from trioagg.integrity.ledger import Ledger
from trioagg.model import Record
from trioagg.pipeline.packing import events
from trioagg.pipeline.segments import Batch, Damage, Full, Mark
from trioagg.pipeline.spool import Spool
from trioagg.pipeline.tally import SinkTally, Tally
from trioagg.pipeline.write import AGAIN, Writer

log = structlog.get_logger(__name__)

REFUSALS = 2
"""Refusals of a batch after which its sink is away."""

PATIENCE = 0.5
"""Seconds that a sink may take over a batch, refusals included, before it is treated as away."""

PORTION = 1_000
"""Records that are read from the spool at a time: a transaction of more is hardly cheaper by the row, and several sinks
that catch up at once each hold one in memory, in all the forms that it takes on the way."""

ROOM = 0.5
"""Seconds between looks at whether a full spool has room."""

REMINDER = 60.0
"""Seconds between lines that tell the same trouble."""


@define(eq=False)
class PatientWriter(Writer):
    """A writer with a spool.

    What was taken from the flow is in hand until it is stored or in the spool. At a stop, what waits in the spool is
    delivered as long as the sink takes it; the first refusal leaves the rest to the next run.

    Attributes:
        earlier: the ledger for what earlier runs left, so that they and this one are told apart.
    """

    tally: SinkTally  # pyright: ignore[reportIncompatibleVariableOverride]
    spool: Spool
    earlier: Ledger
    _patience: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _mark: Mark | None = field(default=None, init=False)
    _turn: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _paused: bool = field(default=False, init=False)
    _ended: bool = field(default=False, init=False)
    _left: bool = field(default=False, init=False)
    _told: dict[str, float] = field(factory=dict, init=False)

    @property
    def name(self) -> str:
        """The sink's, without secrets."""
        return self.outlet.gauge.name

    async def run(self) -> None:
        """See ``Writer.run``; what waits in the spool at the end is not lost."""
        try:
            await super().run()
        finally:
            await self._close()  # noqa: ASYNC102  (it shields itself: a thread that syncs a file)

    async def _work(self) -> None:
        with bare():
            await self._find()
            await self._catch_up()
            while not self._left:
                await self._live()
                await self._catch_up()

    async def _live(self) -> None:
        """Offer what comes to the sink itself; ends when it was away, and has taken what it was offered after all."""
        self._mark, self._patience = None, trio.CancelScope()
        late: list[Record] = []
        try:
            async with trio.open_nursery() as nursery:
                self._turn = nursery.cancel_scope
                nursery.start_soon(self._stand_in, self._patience)
                while not late and await self._gathered():
                    late = await self._stored()
                nursery.cancel_scope.cancel()
        finally:
            if self._mark and late:
                self.spool.passed(self._mark)
                self.tally.spooled -= events(late)
            elif late:
                self._in_hand = []

    async def _gathered(self) -> bool:
        """Whether something is in hand; not at the end of the flow."""
        try:
            await self._gather()
        except trio.EndOfChannel:
            self._left = True
        return not self._left

    async def _stored(self) -> list[Record]:
        """Offer what is in hand until it is taken; returns it if it came too late to have it in hand still."""
        batch = self._in_hand
        self._patience.deadline = trio.current_time() + PATIENCE
        await self._offer(batch, self.ledger, self.tally)
        self._patience.deadline = math.inf
        if self._patience.cancel_called:
            return batch
        self._in_hand = []
        return []

    async def _stand_in(self, patience: trio.CancelScope) -> None:
        """Once the sink is away, move what is in hand, and then what comes, into the spool."""
        with patience:
            await trio.sleep_forever()
        self._mark = await self._keep()
        self._tell("a sink is away; what it misses waits on disk", folder=str(self.spool.folder))
        await self._move()

    async def _move(self) -> None:
        """Move what comes from the flow into the spool, until it ends."""
        try:
            while True:
                if self._in_hand:
                    await self._keep()
                await trio.sleep(self.buffers.commit_delay)
                self._in_hand = await self.outlet.take(self.buffers.commit_rows)
        except trio.EndOfChannel:
            self._ended = True
            if self._paused:
                self._leave()

    async def _keep(self) -> Mark:
        """Move what is in hand into the spool, as soon as that has room."""
        while True:
            try:
                mark = await self.spool.append(self._in_hand)
            except Full as full:
                self._tell("the spool takes nothing; the readers may have to wait", reason=str(full))
                await trio.sleep(ROOM)
            else:
                self.tally.spooled += events(self._in_hand)
                self._in_hand = []
                return mark

    async def _catch_up(self) -> None:
        """Deliver what waits in the spool, while more may come into it; at a stop, as long as the sink takes it."""
        behind = not self.spool.empty
        while not self.spool.empty and not self._left:
            async with trio.open_nursery() as nursery:
                self._turn = nursery.cancel_scope
                nursery.start_soon(self._move)
                await self._deliver()
                nursery.cancel_scope.cancel()
        if behind and not self._left:
            self._tell("a sink has caught up", belated=self.tally.belated)

    async def _deliver(self) -> None:
        while found := await self._read():
            if isinstance(found, Damage):
                self._damaged(found)
            elif found.earlier:
                await self._offer(found.records, self.earlier, Tally())
                self.spool.passed(found.end, earlier=found.events)
                self.tally.belated += found.events
            else:
                await self._offer(found.records, self.ledger, self.tally)
                self.spool.passed(found.end)
                self.tally.spooled -= found.events

    async def _read(self) -> Batch | Damage | None:
        while True:
            try:
                return await self.spool.read(min(self.buffers.commit_rows, PORTION))
            except StoreError as error:
                self._tell("the spool cannot be read; trying again", reason=str(error))
                await trio.sleep(ROOM)

    def _damaged(self, damage: Damage) -> None:
        log.error("a part of the spool cannot be read", sink=self.name, events=damage.events, path=str(damage.path))
        if damage.earlier:
            self.spool.passed(damage.end, earlier=damage.events)
        else:
            self.spool.passed(damage.end)
            self.tally.spooled -= damage.events
            self.tally.lost += damage.events

    async def _refused(self, error: SinkError, failures: int) -> None:
        """See ``Writer._refused``; the second one calls for the spool, and one at a stop is the last."""
        self._tell("not stored; trying again", reason=str(error), spooled=self.tally.spooled)
        if failures >= REFUSALS:
            self._patience.cancel()
        if self._ended:
            self._leave()
        self._paused = True
        await trio.sleep(AGAIN.delay(failures))
        self._paused = False

    def _leave(self) -> None:
        """Leave the rest to the next run."""
        self._left = True
        self._turn.cancel()

    async def _find(self) -> None:
        try:
            torn = await self.spool.find()
        except StoreError as error:
            self._tell("no spool for a sink; while it is away the readers may have to wait", reason=str(error))
            self.spool.limit = 0
            return
        if torn:
            log.warning("a torn end of a spool was cut off", sink=self.name, bytes=torn, folder=str(self.spool.folder))
        if self.spool.earlier:
            self._tell("what an earlier run left on disk goes first", events=self.spool.earlier)

    async def _close(self) -> None:
        try:
            await self.spool.close()
        except StoreError as error:
            log.error("a power cut now may cost what waits on disk", sink=self.name, reason=str(error))
        if self.tally.spooled or self.spool.earlier:
            counts = {"spooled": self.tally.spooled, "earlier": self.spool.earlier}
            log.warning("waits on disk for the next run", sink=self.name, folder=str(self.spool.folder), **counts)

    def _tell(self, what: str, **more: object) -> None:
        """Log something of this sink, the same thing once a minute at the most."""
        now = trio.current_time()
        if now >= self._told.get(what, -math.inf) + REMINDER:
            self._told[what] = now
            log.warning(what, sink=self.name, **more)
