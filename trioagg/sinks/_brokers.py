"""Kafka's brokers: where they are, and how to be let in, for whoever writes to them or reads from them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import structlog
from attrs import frozen

from trioagg.errors import SettingsError
from trioagg.settings import one_of
from trioagg.sinks._address import Address, address, option

log = structlog.get_logger(__name__)

EXAMPLE = "kafka://broker:9092,broker:9092/prefix"

SECURITY = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError("there is no such file")
    return text


@frozen
class Access:
    """What the query may say of it."""

    security: str = option(one_of(SECURITY), "plaintext")
    mechanism: str = option(one_of(MECHANISMS), "PLAIN")
    ca: str = option(_file, "")


class Murmur:
    """Hears what librdkafka says, which is a flood while a broker is away."""

    def log(self, level: int, form: str, *parts: object) -> None:
        """Tell it at debug, whatever it thinks of it."""
        log.debug("librdkafka", said=form % parts if parts else form, level=level)


def brokers(url: str, access: Access) -> Address:
    """Where a URL leads; its path is the prefix of the topics.

    Raises:
        SettingsError: something in it is wrong.
    """
    place = address(url, EXAMPLE, 9092, os.environ)
    if not re.fullmatch(r"[\w.-]{1,200}", place.path, re.ASCII):
        reason = "the prefix must be letters, digits, '.', '_' and '-'"
        raise SettingsError(f"bad value {place.shown!r}: must look like {EXAMPLE}; {reason}")
    if bool(place.user) != access.security.startswith("sasl"):
        reason = "security=sasl_ssl or sasl_plaintext goes with a name and password, and they with it"
        raise SettingsError(f"bad value {place.shown!r}: {reason}")
    return place


def client(place: Address, access: Access) -> dict[str, Any]:
    """Settings of librdkafka for any client."""
    login = {"sasl.mechanism": access.mechanism, "sasl.username": place.user, "sasl.password": place.password}
    return {
        "bootstrap.servers": ",".join(place.hosts),
        "client.id": "trioagg",
        "security.protocol": access.security,
        **(login if access.security.startswith("sasl") else {}),
        **({"ssl.ca.location": access.ca} if access.ca else {}),
    }
