"""Waits after failures, and waiting times that others demand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagg.transport.backoff import LONGEST_SILENCE, Attempts, Backoff, retry_after

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:40 GMT"
DATE_SECONDS = 784111777


def no_jitter() -> float:
    """The least that a source of jitter gives."""
    return 0.0


def most_jitter() -> float:
    """The most that a source of jitter gives."""
    return math.nextafter(1, 0)


def test_waits_double_up_to_the_cap() -> None:
    """Without jitter: base, twice that, and so on, then the cap for ever."""
    backoff = Backoff(base=1, cap=60)
    assert [backoff.delay(n, no_jitter) for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_jitter_is_at_most_half_on_top() -> None:
    """Each wait lies between the doubled base and one and a half times that, and never over the cap."""
    backoff = Backoff(base=2, cap=10)
    assert [backoff.delay(n, most_jitter) for n in (1, 2, 3, 4)] == pytest.approx([3, 6, 10, 10])
    assert backoff.delay(1, lambda: 0.5) == 2.5
    assert backoff.delay(4, most_jitter) == 10


@given(base=st.floats(1e-3, 100), cap=st.floats(1e-3, 1e6), failures=st.integers(1, 60))
def test_waits_grow_until_the_cap_whatever_the_jitter(base: float, cap: float, failures: int) -> None:
    """The shortest wait after one more failure is longer than the longest before it, unless both are the cap."""
    backoff = Backoff(base, cap)
    longest, shortest_next = backoff.delay(failures, most_jitter), backoff.delay(failures + 1, no_jitter)
    assert longest < shortest_next or shortest_next == cap


@pytest.mark.parametrize("failures", [1_000, 1_025, 1_000_000])
def test_a_very_long_outage_overflows_nothing(failures: int) -> None:
    """A million failures wait for the cap."""
    assert Backoff(base=1, cap=60).delay(failures) == 60


def test_a_base_over_the_cap_waits_for_the_cap() -> None:
    """The cap counts from the first failure on."""
    assert Backoff(base=100, cap=60).delay(1, most_jitter) == 60


def test_attempts_forget_failures_only_after_a_healthy_while() -> None:
    """A connection that fell again at once is still failing; one that lasted starts the count anew."""
    attempts = Attempts(Backoff(base=1, cap=60), healthy=30, random=no_jitter)
    assert [attempts.failed(lasted) for lasted in (0, 0, 29.9, 30, 0)] == [1, 2, 4, 1, 2]
    assert attempts.failures == 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3), ("0", 0), ("2.5", 2.5), (" 7 ", 7), ("3.", 3), ("007", 7), ("259200", 259200)],
)
def test_seconds_are_taken_as_they_are(value: str, seconds: float) -> None:
    """Whole and decimal seconds mean themselves."""
    assert retry_after(value, "", 0) == seconds


@pytest.mark.parametrize(
    "value",
    ["", "soon", "-1", "-0.5", "nan", "NaN", "inf", "1e3", "0x10", "1_000", "3, 3", "٣", "1723161253937", "9" * 400,
     "Fri, 99 Foo 2026 00:00:00 GMT", "Sun, 06 Nov 99999999999999999999 08:49:37 GMT", "Mon, 01 Jan 9999 00:00:00 GMT"],
)  # fmt: skip
def test_rubbish_is_no_waiting_time(value: str) -> None:
    """What is no plain number of seconds, no date, or so far away that it was meant otherwise, means nothing."""
    assert retry_after(value, DATE, DATE_SECONDS) is None


@pytest.mark.parametrize("value", ["259201", "1000000", "Tue, 06 Dec 1994 08:49:40 GMT"])
def test_nobody_is_silent_for_longer_than_three_days(value: str) -> None:
    """Longer demands are cut."""
    assert retry_after(value, DATE, DATE_SECONDS) == LONGEST_SILENCE == 3 * 24 * 3600


def test_a_date_counts_from_the_answers_own_date() -> None:
    """A clock of ours that is wrong by years changes nothing."""
    assert retry_after(LATER, DATE, now=0) == retry_after(LATER, DATE, now=2e9) == 3


@pytest.mark.parametrize("date", ["", "rubbish"])
def test_a_date_without_the_answers_own_counts_from_our_clock(date: str) -> None:
    """To the fraction of a second."""
    assert retry_after(LATER, date, now=DATE_SECONDS + 0.25) == 2.75


@pytest.mark.parametrize(
    "value", ["Sunday, 06-Nov-94 08:49:40 GMT", "Sun Nov  6 08:49:40 1994", "Sun, 06 Nov 1994 09:49:40 +0100"]
)
def test_every_form_of_an_http_date_is_understood(value: str) -> None:
    """The two outdated forms, and one of another time zone."""
    assert retry_after(value, DATE, 0) == 3


def test_a_date_in_the_past_means_now() -> None:
    """No wait, rather than a negative one."""
    assert retry_after(DATE, LATER, 0) == 0


@given(value=st.text() | st.from_regex(r"[\w ,:+\-.]{0,40}"), date=st.text())
def test_any_header_gives_a_bounded_wait_or_none(value: str, date: str) -> None:
    """No text raises anything or makes anybody wait for more than three days."""
    seconds = retry_after(value, date, 1e9)
    assert seconds is None or 0 <= seconds <= LONGEST_SILENCE
