"""The error tree. A class is here only where a caller does something different about it.

TrioaggError
 ├─ SettingsError      the user asked for what cannot be: one line, exit 2
 ├─ StoreError         a database cannot be opened, read or written at all: one line, exit 1
 ├─ SinkError          a batch could not be made durable now: offer the same batch again
 ├─ WireError          the exchange said something impossible: quarantine the frame, keep the feed
 └─ LinkError          the link to an exchange failed: back off, connect again
     ├─ Retired        it announced that it will close this connection: connect again at once
     ├─ RateLimited    it asked us to wait: do not ask before ``retry_after`` seconds have passed
     └─ Rejected       it answered this one request with "no": asking again changes nothing

Anything else is a bug: logged with its traceback, fenced to the feed that it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import clear_frames


class TrioaggError(Exception):
    """Base of every error that trioagg raises on purpose; its text is one line for a person."""


class SettingsError(TrioaggError):
    """A setting, flag, exchange, symbol or channel that cannot be; names it and the nearest good one."""


class StoreError(TrioaggError):
    """A database that cannot be used: absent, not ours, from a newer trioagg, locked, or read-only."""


class SinkError(TrioaggError):
    """A batch that was not written, as a whole, for a reason that may pass."""


class WireError(TrioaggError):
    """A frame or body that does not mean anything; carries the reason only, the caller has the bytes."""


class LinkError(TrioaggError):
    """A connection or request that failed for a reason that may pass."""


class Retired(LinkError):
    """The exchange announced the end of a connection that was well."""


class RateLimited(LinkError):
    """The exchange refused for asking too often.

    Args:
        reason: what it said.
        retry_after: seconds to stay silent, from now.
    """

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Rejected(LinkError):
    """The exchange understood one request and refused it (4xx that is no rate limit).

    Args:
        reason: what it said.
        status: the HTTP status.
        body: the answer's body, for the adapter to look into.
    """

    def __init__(self, reason: str, status: int, body: bytes) -> None:
        super().__init__(reason)
        self.status = status
        self.body = body


def first(error: BaseException) -> BaseException:
    """The error itself, or the first one in a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def spent(error: BaseException | None) -> None:
    """Take from an error, once it is known, what it came from: the frames and all that they hold, and other errors.

    One that crossed a thread is in a cycle with them, and so are many a driver's. Of what is tried again and again,
    each failure would stay in memory, with all that was made for it, until the garbage is looked through.
    """
    while error:
        clear_frames(error.__traceback__)
        origin = error.__cause__ or error.__context__
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = origin


@contextmanager
def bare() -> Iterator[None]:
    """Takes the nurseries' wrappings off one of our errors; anything else stays as it is."""
    try:
        yield
    except BaseExceptionGroup as group:
        error = first(group)
        if isinstance(error, TrioaggError):
            raise error from None
        raise


@contextmanager
def named(where: str) -> Iterator[None]:
    """Puts the flag, section or variable where a bad setting stands before the error that tells of it."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from None
