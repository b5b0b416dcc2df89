"""What each stage of the line costs, one after the other on the same batches, without a socket or a thread."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

from attrs import define, field

from bench.figures import Load
from bench.frames import blocks, natives, pattern
from bench.ours import adapter, run
from trioagg.exchanges import Feed, Output, counts
from trioagg.exchanges.binance import Adapter
from trioagg.integrity.ledger import Known, Ledger
from trioagg.model import Nanos, Trade
from trioagg.pipeline.drift import Drift
from trioagg.pipeline.flow import flow
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.tally import Tally
from trioagg.settings import Buffers
from trioagg.store import Writer
from trioagg.store.cells import trade_rows
from trioagg.transport.frames import Frames
from trioagg.transport.splitter import Splitter
from trioagg.transport.websocket import MAX_SIZE

READ = 64 * 1024  # bytes that one read brings
BUFFERS = Buffers()


class Digested(Adapter):
    """An adapter that has done its work: gives out again what was digested before."""

    def digest(self, frames: Iterable[bytes], at: Nanos) -> list[Output]:
        """What is called a payload here is an event already."""
        return cast(list[Output], frames)


@define
class Clock:
    """CPU seconds by stage."""

    seconds: defaultdict[str, float] = field(factory=lambda: defaultdict(float))

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        """The block belongs to a stage."""
        began = time.process_time()
        yield
        self.seconds[stage] += time.process_time() - began


class Blind(Drift):
    """Looks at nothing: what stands in for the frames here are the events."""

    def look(self, exchange: str, payloads: Sequence[bytes], at: Nanos) -> None:
        """Nothing."""


def stages(load: Load) -> dict[str, float]:
    """CPU microseconds per message of each stage."""
    return run(lambda: _measure(load))


async def _measure(load: Load) -> dict[str, float]:
    clock, messages = Clock(), load.messages
    ids = {("binance", symbol): number for number, symbol in enumerate(natives(load.symbols).values())}
    ours, ready, splitter = adapter(load), Digested(Feed()), _opened()
    inlet, outlet = flow("bench", BUFFERS.channel)
    intake, stored = Intake(Tally(), [inlet], drift=Blind()), 0
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(counts, cause="", first_cause="")
        with closing(Writer.open(Path(folder) / "stages.db")) as writer:
            for chunks in _commits(load):
                with clock.at("split"):
                    payloads = [_texts(splitter, chunk) for chunk in chunks]
                with clock.at("decode, event (digest)"):
                    reads = [ours.digest(batch, time.time_ns()) for batch in payloads]
                with clock.at("intake, flow"):
                    for read in reads:
                        intake.frames(ready, "", Frames(0, cast(list[bytes], read)))
                        await intake.room()
                    batch = await outlet.take(len(chunks) * READ)
                with clock.at("ledger"):
                    draft = ledger.draft(batch)
                    draft.entries(_nothing, stale=False)
                    ledger.keep(draft)
                with clock.at("row tuples"):
                    trade_rows(cast(list[Trade], batch), ids)
                with clock.at("store, SQLite"):
                    stored += writer.write(batch).stored
    assert stored == messages
    clock.seconds["store, SQLite"] -= clock.seconds["row tuples"]  # which the writer makes again
    return {stage: seconds / messages * 1e6 for stage, seconds in clock.seconds.items()}


def _nothing(_exchange: str, _symbol: str) -> Known:
    """An empty store's answer."""
    return Known(None, None, ())


def _opened() -> Splitter:
    """A splitter that has seen the handshake."""
    splitter = Splitter(MAX_SIZE)
    splitter.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    splitter.passing()
    return splitter


def _texts(splitter: Splitter, chunk: bytes) -> list[bytes]:
    splitter.feed(chunk)
    return splitter.texts()


def _commits(load: Load) -> Iterator[list[bytes]]:
    """The bytes as reads bring them, as many reads as one transaction takes at full speed."""
    sent = b"".join(blocks(pattern(load.shape, natives(load.symbols)), load.messages))
    chunks = [sent[start : start + READ] for start in range(0, len(sent), READ)]
    reads = max(1, BUFFERS.commit_rows * len(sent) // load.messages // READ)
    return (chunks[start : start + reads] for start in range(0, len(chunks), reads))
