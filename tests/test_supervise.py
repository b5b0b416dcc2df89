"""Feeds that fail begin again, with growing waits, and bugs stay where they are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import structlog
import trio
from structlog.testing import capture_logs

from trioagg.errors import LinkError, RateLimited, Retired
from trioagg.pipeline.supervise import supervise
from trioagg.transport.backoff import Attempts, Backoff


def attempts() -> Attempts:
    """Waits of 1, 2, 4, … 60 s, without jitter."""
    return Attempts(Backoff(1, 60), random=lambda: 0.0)


def no_hint() -> dict[str, str]:
    """Nothing to add."""
    return {}


async def starts(live: Callable[[], Awaitable[None] | None], seconds: float) -> list[float]:
    """When each life of a feed begins within so many seconds."""
    began: list[float] = []
    zero = trio.current_time()

    async def life() -> None:
        began.append(trio.current_time() - zero)
        if (going := live()) is not None:
            await going

    with trio.move_on_after(seconds):
        await supervise(life, attempts(), hint=no_hint)
    return began


async def test_waits_double_up_to_the_cap(autojump_clock: trio.testing.MockClock) -> None:
    """1, 2, 4, 8, 16, 32, 60, 60 seconds between lives that fail at once."""

    def fail() -> None:
        raise LinkError("closed")

    began = await starts(fail, 200)

    assert [round(b - a, 6) for a, b in pairwise(began)] == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_healthy_life_forgets_the_failures_and_a_short_one_does_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """After an hour of health the wait is 1 s again; after 59 s of life it goes on growing."""
    lives = iter([0, 0, 59, 3600, 0])

    async def live() -> None:
        await trio.sleep(next(lives))
        raise LinkError("closed")

    began = await starts(live, 3600 + 59 + 16)

    waits = [b - a for a, b in pairwise(began)]
    assert [round(wait - life, 6) for wait, life in zip(waits, [0, 0, 59, 3600], strict=False)] == [1, 2, 4, 1]


async def test_a_bug_is_logged_with_its_traceback_and_fenced(autojump_clock: trio.testing.MockClock) -> None:
    """A ZeroDivisionError in one feed restarts it; the one beside it never notices."""
    lived: list[float] = []

    async def healthy() -> None:
        await trio.sleep(10)
        lived.append(trio.current_time())

    def bug() -> None:
        _ = 1 / 0

    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(healthy)
            began = await starts(bug, 5)

    assert len(began) == 3
    assert len(lived) == 1
    assert isinstance(next(entry for entry in logs if entry["log_level"] == "error")["exc_info"], ZeroDivisionError)


async def test_a_refusal_with_a_time_is_honoured(autojump_clock: trio.testing.MockClock) -> None:
    """An exchange that says when to come back is not asked before."""

    def refuse() -> None:
        raise RateLimited("too many connections", 30)

    assert await starts(refuse, 31) == [0, 30]


async def test_an_announced_end_is_followed_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """Unless the connection lasted so briefly that it would go round and round."""
    lives = iter([100.0, 100.0, 1.0, 0.0])

    async def live() -> None:
        await trio.sleep(next(lives, 1000.0))
        raise Retired("the exchange announced its shutdown")

    assert await starts(live, 300) == [0, 100, 200, 202, 204]


async def test_the_hint_is_told_once(autojump_clock: trio.testing.MockClock) -> None:
    """The first failure's line carries it, the others do not."""
    hints = [{"offline": "try this"}]

    async def fail() -> None:
        raise LinkError("no route")

    with capture_logs() as logs, trio.move_on_after(10):
        await supervise(fail, attempts(), hint=lambda: hints.pop() if hints else {})

    assert [entry.get("offline") for entry in logs[:2]] == ["try this", None]
    assert logs[0]["reason"] == "no route"


async def test_cancelling_passes(autojump_clock: trio.testing.MockClock) -> None:
    """A supervised feed ends with its scope, in mid-life as in a wait."""
    with trio.move_on_after(5) as scope:
        await supervise(trio.sleep_forever, attempts(), hint=no_hint)
    assert scope.cancelled_caught


@pytest.fixture(autouse=True)
def _plain_structlog() -> None:
    structlog.reset_defaults()
