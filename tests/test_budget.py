"""When one REST host may be asked next, on a clock of our own."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trioagg.transport.backoff import Backoff
from trioagg.transport.budget import Gate


def gate_of(*, weight: int = 1200, window: float = 60, min_delay: float = 0, base: float = 1, cap: float = 60) -> Gate:
    """A gate without jitter."""
    return Gate(weight=weight, window=window, min_delay=min_delay, backoff=Backoff(base, cap), random=lambda: 0.0)


async def starts(gate: Gate, weights: list[int]) -> list[float]:
    """When requests of these weights, one after another, start."""
    return [await gate.turn(weight) for weight in weights]


async def test_requests_are_spaced_by_the_least_delay(autojump_clock: MockClock) -> None:
    """The first starts at once, each other exactly ``min_delay`` after the one before."""
    assert await starts(gate_of(min_delay=0.05), [1] * 4) == pytest.approx([0, 0.05, 0.1, 0.15], abs=1e-12)


async def test_spacing_counts_from_the_last_start(autojump_clock: MockClock) -> None:
    """A pause that happened anyway is not waited for again."""
    gate = gate_of(min_delay=2)
    await gate.turn()
    await trio.sleep(1.5)
    assert await gate.turn() == 2
    await trio.sleep(10)
    assert await gate.turn() == 12


async def test_a_burst_is_free_until_the_bucket_is_empty(autojump_clock: MockClock) -> None:
    """The capacity goes at once; then weight comes back at weight per window, to the moment."""
    assert await starts(gate_of(weight=10, window=5), [4, 4, 4, 10, 1]) == [0, 0, 1, 6, 6.5]


async def test_the_bucket_is_never_fuller_than_full(autojump_clock: MockClock) -> None:
    """An hour of silence earns one burst, not many."""
    gate = gate_of(weight=10, window=5)
    await trio.sleep(3600)
    assert gate.tokens == 10
    assert await starts(gate, [10, 2]) == [3600, 3601]


async def test_a_request_over_the_capacity_waits_for_the_full_bucket(autojump_clock: MockClock) -> None:
    """It starts, late, rather than never."""
    assert await starts(gate_of(weight=10, window=5), [5, 50, 10]) == [0, 2.5, 7.5]


async def test_thousands_of_requests_leave_no_rounding_behind(autojump_clock: MockClock) -> None:
    """A bucket drained by amounts that binary numbers cannot hold never waits for nothing."""
    gate = gate_of(weight=7, window=0.3)
    await trio.sleep(80_000)
    times = await starts(gate, [3] * 500)
    assert times[-1] - times[0] == pytest.approx((3 * 500 - 7) * 0.3 / 7, abs=1e-4)


async def test_the_exchanges_own_count_takes_weight_away(autojump_clock: MockClock) -> None:
    """What others on this address have spent is not there for us."""
    gate = gate_of(weight=100, window=50)
    await gate.turn(10)
    gate.used(95)
    assert gate.tokens == 5
    assert await gate.turn(9) == 2


@pytest.mark.parametrize("count", [0, 10, -5])
async def test_the_exchanges_own_count_never_gives_weight_back(autojump_clock: MockClock, count: int) -> None:
    """A count lower than ours was taken before our last requests."""
    gate = gate_of(weight=100)
    await gate.turn(40)
    gate.used(count)
    assert gate.tokens == 60


async def test_an_absurd_count_costs_one_window_at_most(autojump_clock: MockClock) -> None:
    """Nobody waits for years because of one header."""
    gate = gate_of(weight=100, window=60)
    gate.used(10**12)
    assert gate.tokens == 0
    assert await gate.turn(100) == 60


async def test_first_come_first_served(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """A light request does not overtake a heavy one that came before it."""
    gate, order = gate_of(weight=10, window=10), []

    async def ask(weight: int) -> None:
        order.append((weight, await gate.turn(weight)))

    await gate.turn(10)
    for weight in (9, 1, 5, 2):
        nursery.start_soon(ask, weight)
        await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(100)
    assert order == [(9, 9), (1, 10), (5, 15), (2, 17)]


@pytest.mark.parametrize(("before", "times_after"), [(0, [3]), (1, [2, 5])], ids=["first in line", "second in line"])
async def test_a_cancelled_waiter_takes_nothing(
    autojump_clock: MockClock, nursery: trio.Nursery, before: int, times_after: list[float]
) -> None:
    """Neither weight nor its place: who comes after it starts as if it had never been."""
    gate, times = gate_of(weight=10, window=10, min_delay=1), []

    async def ask(weight: int) -> None:
        times.append(await gate.turn(weight))

    await gate.turn(10)
    for _ in range(before):
        nursery.start_soon(ask, 2)
        await trio.testing.wait_all_tasks_blocked()
    with trio.move_on_after(1.5):
        await gate.turn(10)
    nursery.start_soon(ask, 3)
    await trio.sleep(100)
    assert times == times_after


async def test_a_waiter_cancelled_at_the_last_moment_takes_nothing(autojump_clock: MockClock) -> None:
    """Even an asker that would have had its turn at once."""
    gate = gate_of(weight=10)
    with trio.CancelScope() as scope:
        scope.cancel()
        await gate.turn(10)
    assert gate.tokens == 10


async def test_failures_in_a_row_close_the_gate_for_longer_each_time(autojump_clock: MockClock) -> None:
    """1, 2, 4 seconds and so on up to the cap, whichever request it was that failed."""
    gate, times = gate_of(cap=5), []
    for _ in range(5):
        times.append(await gate.turn())
        gate.failed()
    assert times == [0, 1, 3, 7, 12]
    assert gate.closed_until == 17


async def test_a_success_makes_the_next_failure_the_first(autojump_clock: MockClock) -> None:
    """The waits start from the base again."""
    gate = gate_of()
    assert [gate.failed(), gate.failed()] == [1, 2]
    gate.succeeded()
    await trio.sleep(2)
    assert gate.failed() == 1


async def test_requests_that_fail_together_count_once(autojump_clock: MockClock) -> None:
    """Ten requests under way when the host fell tell of one failure, not of ten."""
    gate = gate_of()
    started = [await gate.turn() for _ in range(10)]
    await trio.sleep(3)
    assert [gate.failed(moment) for moment in started] == [1] * 10
    assert gate.failed(await gate.turn()) == 2


async def test_silence_that_was_asked_for_is_kept_to_the_second(autojump_clock: MockClock) -> None:
    """Nobody starts before; somebody starts exactly then."""
    gate = gate_of()
    gate.closed_for(3)
    assert gate.silence == 3
    assert await gate.turn() == 3
    assert gate.silence == 0


async def test_nothing_shortens_a_silence(autojump_clock: MockClock) -> None:
    """Neither a shorter one, nor a failure, nor an answer that was under way."""
    gate = gate_of()
    gate.closed_for(30)
    gate.closed_for(1)
    gate.failed()
    gate.succeeded()
    assert await gate.turn() == 30


async def test_a_longer_silence_holds_who_waits_already(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """A waiter looks again before it starts."""
    gate, times = gate_of(), []

    async def ask() -> None:
        times.append(await gate.turn())

    gate.closed_for(2)
    for _ in range(3):
        nursery.start_soon(ask)
    await trio.sleep(1)
    gate.closed_for(10)
    await trio.sleep(100)
    assert times == [11, 11, 11]


async def test_a_closed_host_leaves_another_alone(autojump_clock: MockClock) -> None:
    """Two hosts, two gates, nothing between them."""
    closed, other = gate_of(), gate_of()
    closed.closed_for(100)
    assert await other.turn() == 0


async def test_a_turn_lets_others_run(autojump_clock: MockClock) -> None:
    """Even a turn that is free is a checkpoint."""
    with trio.testing.assert_checkpoints():
        await gate_of().turn()
