"""URLs of stores: what of them may be shown."""

from __future__ import annotations

import re

ESCAPED = "with the signs @ / : , of a password as %40 %2F %3A %2C"
"""The end of a message about a URL that cannot be read."""
PLAIN = re.compile(r"(//)?([\w.,-]*|\[[\da-fA-F:.]+\])(:\d*)?(/(?!/)[^?]*)?(\?.*)?")
"""What follows a scheme, without who logs in."""
SECRETS = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token|key)[^=&]*=)[^&]*", re.IGNORECASE)


def redacted(url: str) -> str:
    """A URL without who logs in and with what: for logs, errors and accounts.

    Whatever looks like no host and path, may be a piece of a password with signs in it that belong escaped.
    """
    scheme, colon, rest = url.partition(":")
    if not colon:
        return url.rpartition("@")[2]
    if rest.startswith("///"):  # a path
        return SECRETS.sub(r"\1...", url)
    place = "//" * rest.startswith("//") + rest.rpartition("@")[2].removeprefix("//")
    return SECRETS.sub(r"\1...", f"{scheme}:{place if PLAIN.fullmatch(place) else '//...'}")
