"""URLs of stores: what of them may be shown."""

from __future__ import annotations

import re

SECRETS = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token|key)[^=&]*=)[^&]*", re.IGNORECASE)


def redacted(url: str) -> str:
    """A URL without who logs in and with what: for logs, errors and accounts."""
    scheme, colon, rest = url.partition(":")
    if not rest.startswith("///"):  # before a host, however badly the password before it is written
        slashes = rest[: len(rest) - len(rest.lstrip("/"))]
        rest = slashes + rest.lstrip("/").rpartition("@")[2]
    return SECRETS.sub(r"\1...", f"{scheme}{colon}{rest}")
