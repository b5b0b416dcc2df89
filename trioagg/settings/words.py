"""How the texts of settings and flags are read; each function raises ValueError with what a good text must be."""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

Parse = Callable[[str], Any]

HOST = r"(?:[\w.-]*|\[[\da-fA-F:.]+\])(?::\d*)?"
PLACE = re.compile(rf"(//)?{HOST}(,{HOST})*(/(?!/)[^?]*)?(\?.*)?")
"""What follows a scheme, without who logs in."""
LOGIN = re.compile(r":.*@", re.DOTALL)
"""Who logs in with a password."""
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SECRETS = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token|key)[^=&]*=)[^&]*", re.IGNORECASE)


def nearest(word: str, good: Iterable[str]) -> str:
    """The end of a message about an unknown word: what may have been meant, else what there is."""
    known = list(good)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known[:20])}{', …' if len(known) > 20 else ''}"


def one_of(good: Iterable[str]) -> Parse:
    """A word out of a list, whatever its case."""
    words = {word.lower(): word for word in good}

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(nearest(text.lower(), words.values()))
        return words[text.lower()]

    return parse


def nearest_symbol(symbol: str, there: Iterable[str]) -> str:
    """The end of a message about a symbol that an exchange lacks: those of the same asset that are nearest to it."""
    known = sorted(there)
    base = symbol.partition("/")[0]
    same_base = [item for item in known if item.startswith(base + "/")]
    close = difflib.get_close_matches(symbol, same_base or known, n=3, cutoff=0.3) or same_base[:3] or known[:3]
    return f"did you mean {' or '.join(close)}?"


def many(parse: Parse) -> Parse:
    """A list, separated by commas, without repetitions and not empty."""

    def parse_all(text: str) -> tuple[Any, ...]:
        words = [word.strip() for word in text.split(",") if word.strip()]
        if not words:
            raise ValueError("must name at least one")
        return tuple(dict.fromkeys(_each(parse, word) for word in words))

    return parse_all


class BadWord(ValueError):
    """One bad word of a list; ``word`` is it."""

    def __init__(self, word: str, reason: str) -> None:
        super().__init__(reason)
        self.word = word


def _each(parse: Parse, word: str) -> Any:
    try:
        return parse(word)
    except ValueError as error:
        raise BadWord(redacted(word) if "//" in word else word, str(error)) from None


def addresses(text: str) -> tuple[str, ...]:
    """URLs, separated by commas; a comma within one does not end it, since a URL begins with a scheme."""
    found = dict.fromkeys(re.split(r"[\s,]*,\s*(?=\w+://)", text.strip(" ,")))
    return tuple(_each(word, one) for one in found if one)


def redacted(url: str) -> str:
    """A sink's URL as it may be told to anybody: without who logs in, and with what.

    Whatever looks like no host and path, may be a piece of a password with signs in it that belong escaped.
    """
    scheme, colon, rest = url.partition(":")
    if not colon:
        return url.rpartition("@")[2]
    if rest.startswith("///") and not LOGIN.search(rest):
        return SECRETS.sub(r"\1...", url)
    place = "//" * rest.startswith("//") + rest.rpartition("@")[2].removeprefix("//")
    return SECRETS.sub(r"\1...", f"{scheme}:{place if PLACE.fullmatch(place) else '//...'}")


def number(kind: type[int | float], *, least: float, most: float = math.inf) -> Parse:
    """A finite number within bounds."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(f"must be a {'whole ' if kind is int else ''}number") from None
        if not (least <= value <= most) or math.isinf(value):
            bounds = f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
            raise ValueError(f"must be {bounds}")
        return value

    return parse


def length(text: str) -> int:
    """How long a candle is: 10s, 1m, 4h, 1d; nanoseconds."""
    told = re.fullmatch(r"([1-9]\d{0,4})([smhd])", text, re.ASCII)
    if not told:
        raise ValueError("must look like 10s, 1m, 4h or 1d")
    return int(told[1]) * SECONDS[told[2]] * 10**9


def instant(text: str) -> int:
    """A date or a time of ISO 8601, UTC unless it says otherwise, to the nanosecond: nanoseconds since 1970."""
    whole, point, rest = text.replace(",", ".").partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        told = datetime.fromisoformat(whole + rest[len(digits) :])
    except ValueError:
        raise ValueError("must look like 2026-01-31, 2026-01-31T12:00 or 2026-01-31T12:00:00.5+01:00") from None
    if point and not (whole.count(":") == 2 and 0 < len(digits) <= 9):
        raise ValueError("must have 1 to 9 digits behind the point of its seconds")
    since = (told if told.tzinfo else told.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    nanos = since // timedelta(microseconds=1) * 1000 + int(digits.ljust(9, "0"))
    if not -(2**63) <= nanos < 2**63:
        raise ValueError("must lie between the years 1678 and 2262")
    return nanos


def symbol(text: str) -> str:
    """A unified symbol: BTC/USDT, BTC/USDT:USDT."""
    pair, _, settle = text.upper().partition(":")
    base, slash, quote = pair.partition("/")
    broken = not (base and slash and quote) or (":" in text and not settle) or "/" in quote + settle
    if broken or " " in text or not text.isprintable():
        raise ValueError("must look like BTC/USDT, or BTC/USDT:USDT for a perpetual")
    return text.upper()


def url(*schemes: str) -> Parse:
    """An address with one of the schemes and a host; a trailing slash is dropped."""

    def parse(text: str) -> str:
        if not _is_address(text, schemes):
            raise ValueError(f"must look like {schemes[0]}://host:port")
        return text.rstrip("/")

    return parse


def _is_address(text: str, schemes: Sequence[str]) -> bool:
    try:
        parts = urlsplit(text)
        there = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return there and not parts.query and not parts.fragment


def hook(text: str) -> str:
    """The address of a webhook, or none; whatever is wrong with it, what follows its host is not told."""
    if text and not (_is_address(text.partition("?")[0], ("https", "http")) and text.isprintable() and " " not in text):
        raise BadWord(veiled(text), "must look like https://host/path")
    return text


def veiled(url: str) -> str:
    """A webhook's address as it may be told to anybody: who knows its path or its query may post."""
    return redacted("/".join([*url.split("/")[:3], "..."]).partition("?")[0]) if "//" in url else "..."


def argv(text: str) -> tuple[str, ...]:
    """A program and its arguments, quoted as a shell would read them."""
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return tuple(shlex.split(text))


def place(text: str) -> tuple[str, int]:
    """Where to listen: HOST:PORT, or a port alone for this machine only; port 0 is any free one."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not (port.isascii() and port.isdecimal() and int(port) <= 65535) or (":" in host and not bracketed):
        raise ValueError("must look like HOST:PORT, [::1]:PORT or PORT, with a port from 0 to 65535")
    return host.strip("[]") or "127.0.0.1", int(port)


def word(text: str) -> str:
    """Any text but none."""
    if not text:
        raise ValueError("must not be empty")
    if not text.isprintable():
        raise ValueError("must not hold control characters")
    return text
