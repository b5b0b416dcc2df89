"""What a sink that is away leaves in memory: nothing of the batch that it refused, however often it is offered."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import trio
from attrs import define, field
from told_rows import trade

from trioagg import sinks
from trioagg.errors import SinkError
from trioagg.exchanges import counts
from trioagg.integrity.ledger import Ledger
from trioagg.pipeline.flow import flow
from trioagg.pipeline.tally import Tally
from trioagg.pipeline.write import Writer
from trioagg.settings import Buffers

AWAY = [
    "postgresql://127.0.0.1:1/a",
    "mysql://root@127.0.0.1:1/a",
    "redis://127.0.0.1:1/0",
    "kafka://127.0.0.1:1/a?timeout=0.1",
]
ROWS = 500


@pytest.fixture
def untidied() -> Iterator[None]:
    """Nothing is looked through for garbage, as good as in a run."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@define(eq=False)
class Refused(Writer):
    """A writer that counts what each refusal leaves, and waits after none."""

    left: int = 0
    counted: trio.Event = field(factory=trio.Event)

    async def _refused(self, error: SinkError, failures: int) -> None:
        self.left = gc.collect()  # the first one may load what the driver needs
        if failures == 3:
            self.counted.set()
            await trio.sleep_forever()


@pytest.mark.parametrize("url", AWAY)
async def test_a_refusal_leaves_nothing(untidied: None, url: str, nursery: trio.Nursery) -> None:
    """Neither the rows that were made of the batch, nor the connection that was tried (3 s for Kafka's patience)."""
    inlet, outlet = flow("away", 2 * ROWS)
    ledger, buffers = Ledger(counts, cause="a", first_cause="b"), Buffers()
    async with sinks.connect(url) as sink:
        writer = Refused(outlet, sink, ledger, Tally(), buffers, dead=lambda: None, noticed=lambda: None)
        nursery.start_soon(writer.run)
        inlet.put([trade(number) for number in range(ROWS)])
        with trio.fail_after(15):
            await writer.counted.wait()
        assert writer.left < 20
        nursery.cancel_scope.cancel()
