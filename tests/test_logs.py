"""The log: nothing in it that a terminal would obey, nothing of the libraries' secrets, and an end to repetition."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator

import pytest
import structlog

from trioagg import logs
from trioagg.logs import LINES, MINUTE, Flood
from trioagg.signs import visible

NASTY = "\x1b[31m\x9b2J\x07\u202e\r\nnext"
LIBRARIES = ["httpx", "httpcore", "urllib3", "trio-websocket", "hpack", "redis", "psycopg", "whatever.comes"]


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Levels and handlers as they were."""
    root, ours = logging.getLogger(), logging.getLogger("trioagg")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])


@pytest.mark.parametrize("style", ["console", "json"])
def test_nothing_that_a_terminal_would_obey(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In no event, value, library's line or traceback; each line is one line."""
    logs.configure(style=style)
    logs.log.error(f"event {NASTY}", reason=NASTY, many=[NASTY])
    logging.getLogger("library").warning("foreign %s", NASTY)
    logs.log.error("bug", exc_info=ValueError(NASTY))

    told = capsys.readouterr().err
    assert all(sign.isprintable() or sign == "\n" for sign in told)
    assert "\\u001b[31m\\u009b2J\\u0007" in told
    assert style == "console" or all(json.loads(line) for line in told.splitlines())


def test_what_is_visible_stays() -> None:
    """Letters of all scripts; JSON means the same when it is made visible; line ends on request."""
    text = json.dumps({"a": NASTY + "é中\U000e0001"}, ensure_ascii=False)

    assert visible("é 中 🙂") == "é 中 🙂"
    assert visible("a\nb\t", lines=True) == "a\nb\\u0009"
    assert visible(text).isprintable()
    assert json.loads(visible(text)) == json.loads(text)


@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_are_heard_from_warning_on(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At DEBUG too: they log requests with what is secret in them."""
    logs.configure(level="DEBUG")
    logging.getLogger(name).info("GET https://host/?signature=hunter2")
    logging.getLogger(name).warning("heard")
    structlog.get_logger("trioagg.pipeline.run").debug("ours")

    told = capsys.readouterr().err
    assert "hunter2" not in told
    assert "heard" in told and "ours" in told


def test_what_is_told_too_often_is_left_out() -> None:
    """Of one kind and exchange; the last one says so, and the others go on."""
    flood = Flood()
    told = [flood(None, "error", {"event": "refused", "exchange": "evil"}) for _ in range(LINES)]

    assert "left_out" in told[-1] and "left_out" not in told[-2]
    with pytest.raises(structlog.DropEvent):
        flood(None, "error", {"event": "refused", "exchange": "evil"})
    assert flood(None, "error", {"event": "refused", "exchange": "honest"}) == {
        "event": "refused",
        "exchange": "honest",
    }


def test_it_is_told_again_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that nobody sets."""
    flood = Flood()
    for _ in range(LINES):
        flood(None, "error", {"event": "refused"})
    later = time.monotonic() + MINUTE + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert flood(None, "error", {"event": "refused"}) == {"event": "refused"}
