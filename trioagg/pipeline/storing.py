"""The writers' nursery around the producers': what both a run and a replay stand in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio
from attrs import frozen

from trioagg import sinks
from trioagg.model import Event
from trioagg.pipeline.flow import Inlet, flow
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.ledger import Ledger
from trioagg.pipeline.record import record
from trioagg.pipeline.tally import Outcome, Tally
from trioagg.pipeline.write import Writer
from trioagg.settings import Settings
from trioagg.sinks import Sink
from trioagg.transport.capture import Captured


@frozen
class Producing:
    """Where producers live and deliver.

    Attributes:
        intake: takes what they receive.
        nursery: theirs; cancelling it is a clean stop.
    """

    intake: Intake
    nursery: trio.Nursery


@frozen
class Causes:
    """Why a numbered trade may be missing, for the ledger.

    Attributes:
        before: between what was stored earlier and the first of this session.
        within: within this session.
    """

    before: str
    within: str


@asynccontextmanager
async def open_sinks(urls: Sequence[str]) -> AsyncIterator[dict[str, Sink]]:
    """Every sink by its URL, opened in order and closed in reverse.

    Raises:
        SettingsError, StoreError: one of them cannot be opened.
    """
    async with AsyncExitStack() as stack:
        yield {url: await stack.enter_async_context(sinks.connect(url)) for url in urls}


@asynccontextmanager
async def storing(
    stores: dict[str, Sink], settings: Settings, outcome: Outcome, *, causes: Causes, folder: Path | None = None
) -> AsyncIterator[Producing]:
    """Nurseries for those who produce, inside one for those who store.

    When the producers have ended, the flows are closed, and the writers store what is in them; what they cannot store
    in time is counted as lost. A database that takes nothing any more ends the producers; another sink loses alone.

    Args:
        stores: by URL; the first is the database, whose account is the outcome's.
        folder: for raw captures, if they are wanted.
    """
    tallies = dict(zip(stores, [outcome.tally, *(Tally() for _ in list(stores)[1:])], strict=True))
    async with trio.open_nursery() as writers:
        async with trio.open_nursery() as producers:
            inlets: list[Inlet[Event]] = []
            for url, store in stores.items():
                inlet, outlet = flow(url, settings.buffers.channel)
                ledger = Ledger(store, cause=causes.within, first_cause=causes.before)
                ends = producers.cancel_scope.cancel if not inlets else _nothing
                writer = Writer(outlet, store, ledger, tallies[url], settings.buffers, dead=ends)
                writers.start_soon(writer.run)
                inlets.append(inlet)
            captures = _recording(writers, folder, settings.buffers.channel, outcome.problems) if folder else None
            intake = Intake(outcome.tally, inlets, captures)
            yield Producing(intake, producers)
        intake.close()
        writers.cancel_scope.deadline = trio.current_time() + settings.run.drain_timeout
    outcome.problems += [f"{tally.lost} events not stored in {url}" for url, tally in tallies.items() if tally.lost]


def _nothing() -> None:
    """A sink beside the database died: the others go on."""


def _recording(writers: trio.Nursery, folder: Path, capacity: int, problems: list[str]) -> Inlet[Captured]:
    inlet, outlet = flow("recorder", capacity)
    writers.start_soon(record, outlet, folder, problems)
    return inlet
