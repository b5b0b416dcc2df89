"""Clocks: what is known of an exchange's clock is kept, and told when it matters."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import cast

import trio
from attrs import define, field

from trioagg.errors import LinkError
from trioagg.exchanges import Feed, Fetch, load
from trioagg.model import ClockCheck, Record, Trade
from trioagg.pipeline.clocks import EVERY, SETTLE, Clock
from trioagg.pipeline.flow import Outlet, flow
from trioagg.pipeline.intake import Intake
from trioagg.pipeline.rest import Rest
from trioagg.pipeline.tally import Tally
from trioagg.transport.capture import Captured
from trioagg.transport.clock import Stamps

SECOND = 1_000_000_000
MS = 1_000_000
NOON = 1_772_452_800 * SECOND


def now() -> int:
    """Our clock: it began at noon."""
    return NOON + round(trio.current_time() * SECOND)


@define(eq=False)
class FakeRest:
    """An exchange whose clock is off by so many seconds, and whose answers take a while."""

    offs: list[float | Exception]
    seconds: float = 0.2
    asked: list[str] = field(factory=list)

    async def ask(self, fetch: Fetch, *, attempts: int) -> Captured:
        """Its time, when the request was half-way."""
        self.asked.append(fetch.path)
        off = self.offs.pop(0)
        if isinstance(off, Exception):
            raise off
        await trio.sleep(self.seconds / 2)
        body = json.dumps({"serverTime": (now() + round(off * SECOND)) // MS}).encode()
        await trio.sleep(self.seconds / 2)
        return Captured("binance", now(), "", body)


def clock(rest: FakeRest, adapter: str = "binance") -> tuple[Clock, Intake, Outlet[Record]]:
    inlet, outlet = flow("test", 100)
    intake = Intake(Tally(), [inlet])
    return Clock(load(adapter), cast(Rest, rest), intake, Stamps(now)), intake, outlet


def noted(outlet: Outlet[Record]) -> list[ClockCheck]:
    return [record for record in outlet.take_waiting() if isinstance(record, ClockCheck)]


async def test_an_offset_is_known_to_half_a_round_trip(autojump_clock: trio.testing.MockClock) -> None:
    """The exchange's clock less ours; half of the time that the answer took may be wrong either way."""
    watch, _, outlet = clock(FakeRest([0.5]))

    await watch.check()

    (check,) = noted(outlet)
    assert check.offset is not None and abs(check.offset - SECOND // 2) <= MS
    assert check.uncertainty == 100 * MS and check.lag is None


async def test_a_clock_is_checked_again_and_again(autojump_clock: trio.testing.MockClock) -> None:
    """Once a minute, and each check is noted, which way the clock may be wrong."""
    watch, _, outlet = clock(FakeRest([1.05, 1.5, -0.2, -3.0]))
    with trio.move_on_after(SETTLE + 3.5 * EVERY):
        await watch.run()

    assert [round((check.offset or 0) / SECOND, 2) for check in noted(outlet)] == [1.05, 1.5, -0.2, -3]


async def test_the_stamps_of_trades_tell_too(autojump_clock: trio.testing.MockClock) -> None:
    """The least lag since the last check, less than zero where our clock is behind; also where REST does not answer."""
    watch, intake, outlet = clock(FakeRest([LinkError("down"), LinkError("down")]))
    one = Decimal(1)
    adapter = load("binance")(Feed())
    for lag in (50, -1300, 20):
        trade = Trade("binance", "BTC/USDT", 1, one, one, "buy", NOON, NOON + lag * MS)
        intake._put([trade], adapter, NOON)

    await watch.check()
    await watch.check()

    assert [(check.offset, check.lag) for check in noted(outlet)] == [(None, -1300 * MS)]
