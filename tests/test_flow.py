"""The channels between stages: bounded by messages, and safe against cancellation."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioagg.pipeline.flow import HEAVIEST, flow


async def test_batches_come_out_joined_in_order() -> None:
    """One taker gets all that waits in one go, up to its limit."""
    inlet, outlet = flow("test", 100)
    inlet.put([1, 2])
    inlet.put([3])
    inlet.put([4, 5])

    assert await outlet.take(3) == [1, 2, 3]
    assert await outlet.take(3) == [4, 5]


async def test_who_puts_waits_for_room_by_messages(nursery: trio.Nursery) -> None:
    """Two messages in one list fill a flow of two; taking them lets the putter go on."""
    inlet, outlet = flow("test", 2)
    went_on = trio.Event()

    async def put() -> None:
        inlet.put([1, 2])
        await inlet.room()
        went_on.set()

    nursery.start_soon(put)
    await wait_all_tasks_blocked()
    assert not went_on.is_set()

    assert await outlet.take(10) == [1, 2]
    await went_on.wait()


async def test_what_a_cancelled_task_put_is_there() -> None:
    """Cancelling a task that waits for room takes nothing back."""
    inlet, outlet = flow("test", 1)
    with trio.CancelScope() as scope:
        inlet.put([1, 2, 3])
        scope.cancel()
        await inlet.room()
    inlet.close()

    assert await outlet.take(10) == [1, 2, 3]
    with pytest.raises(trio.EndOfChannel):
        await outlet.take(10)


async def test_the_peak_is_told() -> None:
    """A gauge knows what waits and what ever waited."""
    inlet, outlet = flow("test", 10)
    inlet.put([1, 2, 3])
    inlet.put([])
    await outlet.take(10)
    inlet.put([4])

    assert (inlet.gauge.waiting, inlet.gauge.peak) == (1, 3)


async def test_taking_what_waits_does_not_wait() -> None:
    """An empty flow gives an empty batch at once, open or closed."""
    inlet, outlet = flow("test", 10)
    assert outlet.take_waiting() == []
    inlet.close()
    assert outlet.take_waiting() == []


@pytest.mark.parametrize("most", [1, 10])
async def test_heavy_batches_fill_a_flow_by_their_bytes(nursery: trio.Nursery, most: int) -> None:
    """However few they are; once they are taken there is room again, and nothing is weighed that was not put."""
    inlet, outlet = flow("test", 100)
    inlet.put([b"large"], HEAVIEST)
    inlet.put([], HEAVIEST)
    await inlet.room()
    inlet.put([b"light"], 1)
    inlet.put([b"one more"], HEAVIEST)
    assert inlet.gauge.full

    nursery.start_soon(outlet.take, most)
    with trio.fail_after(1):
        await inlet.room()
    outlet.take_waiting()
    assert inlet.gauge.weight == 0
