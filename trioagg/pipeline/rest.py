"""One exchange's REST, as its feeds use it: requests within its budget, answers stamped and addressed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import structlog
from attrs import evolve, frozen

from trioagg.errors import LinkError, RateLimited, WireError
from trioagg.exchanges import GARBLED, Action, Exchange, Fetch, reason
from trioagg.model import Consulted, Event, Instrument
from trioagg.pipeline.intake import Intake
from trioagg.settings import Retry, Venue
from trioagg.transport.backoff import Backoff
from trioagg.transport.budget import Gate
from trioagg.transport.capture import Captured
from trioagg.transport.clock import Stamps
from trioagg.transport.common import common
from trioagg.transport.http import Http, Policy

log = structlog.get_logger(__name__)


@frozen
class Rest:
    """Asks one exchange; ``base`` is the user's address, in place of the exchange's own, or empty for that."""

    adapter: type[Exchange]
    base: str
    _http: Http
    _gate: Gate
    _policy: Policy
    _stamps: Stamps

    async def ask(self, fetch: Fetch, *, attempts: int | None = None) -> Captured:
        """Send a request when the exchange's limits allow it, and wait for the answer.

        Args:
            attempts: tries, if not as many as the settings say.

        Raises:
            LinkError: it failed as often as the settings allow.
        """
        base = self.base or fetch.host or self.adapter.rest_url
        url = base + fetch.path
        policy = evolve(self._policy, attempts=attempts) if attempts else self._policy
        answer = await self._http.fetch(
            url, gate=self._gate, weight=fetch.weight, body=fetch.body, policy=policy, on_retry=_tell
        )
        host = urlsplit(base)
        source = (
            f"{host.scheme}://{host.netloc}{fetch.path}"  # without a user's prefix, so that a replay knows the path
        )
        return Captured(self.adapter.name, self._stamps.take(), source, answer.body)

    async def converse(self, adapter: Exchange, fetch: Fetch, intake: Intake) -> list[Action]:
        """Ask, and give the answer to the adapter through the intake.

        Returns:
            What the adapter wants done.

        Raises:
            LinkError: there was no answer, or it was a demand for silence, which is kept.
        """
        answer = await self.ask(fetch)
        try:
            return intake.answer(adapter, fetch, answer)[1]
        except RateLimited as limited:
            self.silent_for(limited.retry_after)
            raise

    async def consult(self, adapter: Exchange, fetch: Fetch, intake: Intake) -> Sequence[Event]:
        """Ask for trades that are missing as ``converse`` does, of an adapter that wants nothing done.

        The ledgers are told that what follows came out of its turn.

        Returns:
            The events in the answer.

        Raises:
            LinkError: there was no answer, or it was a demand for silence, which is kept.
        """
        answer = await self.ask(fetch)
        intake.note([Consulted(self.adapter.name, answer.received)])
        try:
            return intake.answer(adapter, fetch, answer)[0]
        except RateLimited as limited:
            self.silent_for(limited.retry_after)
            raise

    def silent_for(self, seconds: float) -> None:
        """Ask nothing for so long, since the exchange said so in an answer."""
        self._gate.closed_for(seconds)


async def instruments(rest: Rest, *, note: Callable[[Captured], None]) -> list[Instrument]:
    """Every instrument of an exchange, by its lists.

    Args:
        note: told each answer as it came.

    Raises:
        LinkError: a list cannot be had now; RateLimited closes the gate.
        WireError: an answer is no list.
    """
    listed: list[Instrument] = []
    for fetch in rest.adapter.listing():
        answer = await rest.ask(fetch, attempts=1)
        note(answer)
        try:
            listed += rest.adapter.instruments(fetch, answer.payload)
        except RateLimited as limited:
            rest.silent_for(limited.retry_after)
            raise
        except GARBLED as error:
            raise WireError(f"{fetch.path}: {reason(error)}") from None
    return listed


def _tell(error: LinkError, wait: float) -> None:
    log.warning("request failed; trying again", reason=str(error), wait=f"{wait:.1f} s")


def rest_of(adapter: type[Exchange], venue: Venue, retry: Retry, *, http: Http, stamps: Stamps) -> Rest:
    """The REST of an exchange under the user's settings, within the budget of all processes of this host."""
    limits = adapter.limits
    gate = Gate(
        weight=limits.weight,
        window=limits.window,
        min_delay=venue.min_delay,
        backoff=Backoff(retry.base_delay, retry.max_delay),
        common=common(adapter.name, venue.rest_url or adapter.rest_url),
    )
    policy = Policy(
        attempts=retry.attempts,
        retry_after_header=venue.retry_after_header,
        used_header=limits.used_header,
        cooldown=limits.cooldown,
    )
    return Rest(adapter, venue.rest_url or "", http, gate, policy, stamps)
