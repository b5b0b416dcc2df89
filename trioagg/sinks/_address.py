"""Addresses of sinks: ``scheme://user:password@host:port,host:port/path?option=value``.

The text of an error never holds what may be secret: of an address it tells scheme, hosts and path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
from attrs import frozen

from trioagg.errors import SettingsError
from trioagg.settings import nearest, number, redacted

T = TypeVar("T", bound=attrs.AttrsInstance)

PORT = number(int, least=1, most=65535)
ESCAPED = "with the signs @ / : , of a password as %40 %2F %3A %2C"
"""The end of a message about a URL that cannot be read."""


@frozen
class Address:
    """What a URL says beside its options.

    Attributes:
        hosts: ``host:port`` each.
        user, password: None where the URL and the environment tell none.
        path: without the slash at its beginning.
        shown: the URL as it may be told.
    """

    hosts: Sequence[str]
    user: str | None = attrs.field(repr=False)
    password: str | None = attrs.field(repr=False)
    path: str
    shown: str


def option(parse: Callable[[str], Any], default: Any) -> Any:
    """An option of a URL's query: how its text is read, and its default."""
    return attrs.field(default=default, metadata={"parse": parse})


def switch(text: str) -> bool:
    """``yes`` or ``no``."""
    if text.lower() not in ("yes", "no"):
        raise ValueError("must be yes or no")
    return text.lower() == "yes"


def address(url: str, example: str, port: int, environment: Mapping[str, str]) -> Address:
    """Take a URL apart; ``NAME_USERNAME`` and ``NAME_PASSWORD`` of the environment stand in for what it leaves out.

    Args:
        example: a good URL, for the error.
        port: where none is told.

    Raises:
        SettingsError: it names no host, or a bad port.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _bad(url, f"must look like {example}") from None
    login, _, places = parts.netloc.rpartition("@")
    user, colon, password = login.partition(":")
    hosts = [_host(place.strip(), url, example, port) for place in places.split(",")]
    name = parts.scheme.upper()
    return Address(
        hosts,
        unquote(user) or environment.get(f"{name}_USERNAME"),
        unquote(password) if colon else environment.get(f"{name}_PASSWORD"),
        unquote(parts.path.removeprefix("/")),
        f"{parts.scheme}://{places}{parts.path}",
    )


def options(kind: type[T], url: str) -> T:
    """The options of a URL's query; those that it leaves out have their defaults.

    Raises:
        SettingsError: an option is unknown, told twice, or has a bad value.
    """
    known = {field.name: field.metadata["parse"] for field in attrs.fields(kind)}
    given: dict[str, Any] = {}
    for name, text in parse_qsl(_query(url), keep_blank_values=True):
        if name not in known:
            raise _bad(url, f"unknown option {name!r}; {nearest(name, known)}")
        if name in given:
            raise _bad(url, f"option {name!r} is told twice")
        try:
            given[name] = known[name](text)
        except ValueError as error:
            raise _bad(url, f"option {name}: bad value {text!r}: {error}") from None
    return kind(**given)


def _query(url: str) -> str:
    return url.rpartition("@")[2].partition("?")[2]


def _host(place: str, url: str, example: str, port: int) -> str:
    host, colon, told = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if not colon:
        host, told = place, str(port)
    try:
        PORT(told)
    except ValueError as error:
        raise _bad(url, f"port {error}") from None
    if not host:
        raise _bad(url, f"must look like {example}")
    return f"{host}:{told}"


def _bad(url: str, reason: str) -> SettingsError:
    return SettingsError(f"bad value {redacted(url)!r}: {reason}")
