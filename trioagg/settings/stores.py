"""Further stores: a URL by itself, or a section ``[sink:NAME]``.

A section's ``url`` says where the store is, ``password`` goes into it, and every other key is one of the options that
may follow the ``?`` of the URL; which there are is the sink's business.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from attrs import field, frozen

from trioagg.errors import SettingsError
from trioagg.settings.words import redacted

SINK = "sink:"
"""Begins the name of a section."""

KEYS = ("url", "password")
"""Of a section; all other keys are options of the URL."""

NEAR = 0.6
"""How alike a key must be to one of these to be a slip of the pen."""

TAKEN = ("database", "recorder")
"""What metrics call others."""

EXAMPLE = """
; [sink:archive]                               ; a further store with a name for logs and metrics; as many as wanted
; url = postgresql://trioagg@localhost/market  ; where it is, as for --sink; empty: left out
; password =                                   ; better in the environment: TRIOAGG_SINK_ARCHIVE_PASSWORD
; sslmode = require                            ; likewise each option that may follow the ? of its URL
"""
"""What the template says of it."""


@frozen
class Store:
    """Where events may go beside the database.

    Attributes:
        name: what logs, accounts and metrics call it.
        url: with who logs in, and with what.
        where: the flag or section that names it, for errors.
    """

    name: str
    url: str = field(repr=False)
    where: str = "--sink"


def at(url: str, where: str = "--sink") -> Store:
    """A store without a name of its own: it is called by its URL, without secrets."""
    return Store(redacted(url), url, where)


def check(name: str, where: str) -> None:
    """Refuse what cannot be a name.

    Raises:
        SettingsError: it cannot.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or name in TAKEN:
        rule = f"a sink's name is lower-case letters, digits and _, and none of {', '.join(TAKEN)}"
        raise SettingsError(f"{where}: bad name {name!r}: {rule}")


def section(name: str, values: Mapping[str, tuple[str, str]]) -> Store | None:
    """The store of a section; None if its URL is empty.

    Args:
        values: key → (text, where it stands).

    Raises:
        SettingsError: it says not where the store is, or a key is nearly one of ours.
    """
    where = f"[{SINK}{name}]"
    for key, (_, place) in values.items():
        if key not in KEYS and "password" not in key and (near := difflib.get_close_matches(key, KEYS, 1, NEAR)):
            raise SettingsError(f"{place}: unknown setting {key!r} in {where}; did you mean {near[0]}?")
    if "url" not in values:
        raise SettingsError(f"{where}: needs url, such as url = postgresql://host/database")
    told = {key: text.strip() for key, (text, _) in values.items() if text.strip()}
    url, password = told.pop("url", ""), told.pop("password", "")
    whole = _with_password(url, password, where) if password else url
    query = urlencode(told, quote_via=quote)
    return Store(name, f"{whole}{'&' if '?' in url else '?'}{query}" if query else whole, where) if url else None


def _with_password(url: str, password: str, where: str) -> str:
    scheme, _, rest = url.partition("://")
    place = re.match("[^/?]*", rest)
    login, _, hosts = (place[0] if place else "").rpartition("@")
    if ":" in login:
        raise SettingsError(f"{where}: a password in url and another beside it; leave one of them out")
    return f"{scheme}://{login}:{quote(password, safe='')}@{hosts}{rest[place.end() if place else 0 :]}"
