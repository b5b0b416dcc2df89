"""Alerts are told: real posts to a real server, real commands; whatever fails is logged without secrets and counted."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from structlog.typing import EventDict

from trioagg.integrity.alerts import Alert, Change, Rule, Subject
from trioagg.monitor.notices import DISCORD, LINES, Notice, body
from trioagg.pipeline import telling as roads
from trioagg.pipeline.telling import WAITING, Tellers, telling
from trioagg.settings import Alerts, Form
from trioagg.simulator import Answer, Request, http
from trioagg.transport.backoff import Backoff
from trioagg.transport.http import open_http

SECOND = 10**9
RULES = {"lag": Rule(10, 5, 0, 10), "price": Rule(0.02, 0.01, 0, 10, "%"), "disk": Rule(500, 600, 0, 10, "MB")}
LAG = Change("raised", Alert("lag", Subject("binance"), 12.3456, 90))
PRICE = Change("resolved", Alert("price", Subject("kraken", "BTC/USDT"), -0.0051, 40), 60)
SECRET = "T0AB/B0CD/sEcReT99?token=sEcReT77"
Answering = Callable[[Request], Answer]


def notice(*changes: Change) -> Notice:
    """One at 100 s by the clock of the alerts, 1000 s after 1970."""
    return Notice(changes or (LAG,), RULES, "here", 100, 1000 * SECOND)


def well(_: Request) -> Answer:
    return Answer(b"ok")


@asynccontextmanager
async def hooked(
    answer: Answering = well, *, told: list[Request] | None = None, command: Sequence[str] = (), **more: Any
) -> AsyncIterator[tuple[Tellers, list[EventDict]]]:
    """Tellers with a webhook at a server that answers so, and a command; and what they log."""

    def heard(request: Request) -> Answer:
        if told is not None:
            told.append(request)
        return answer(request)

    async def upgrade(target: str, early: bytes) -> None:
        raise NotImplementedError

    async with trio.open_nursery() as nursery:
        client = partial(http.converse, answer=heard, upgrade=upgrade)
        listeners: list[trio.SocketListener] = await nursery.start(partial(trio.serve_tcp, client, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/services/{SECRET}"
        settings = Alerts(webhook=url, command=tuple(command), **{"timeout": 5.0, **more})
        with capture_logs() as logs:
            async with open_http() as client_of, telling(settings, client_of) as tellers:
                yield tellers, logs
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other quickly."""
    monkeypatch.setattr(roads, "AGAIN", Backoff(0.01, 0.02))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("slack", {"text": "trioagg on here:\nraised lag, binance: what comes is 12.3s late"}),
        (
            "discord",
            {
                "content": "trioagg on here:\nraised lag, binance: what comes is 12.3s late",
                "allowed_mentions": {"parse": []},
            },
        ),
        (
            "json",
            {
                "host": "here",
                "sent": 1000 * SECOND,
                "text": "trioagg on here:\nraised lag, binance: what comes is 12.3s late",
                "alerts": [
                    {
                        "state": "raised",
                        "alert": "lag",
                        "exchange": "binance",
                        "symbol": None,
                        "channel": None,
                        "value": 12.3456,
                        "level": 10,
                        "unit": "s",
                        "since": 990 * SECOND,
                    }
                ],
            },
        ),
    ],
)
async def test_a_webhook_is_posted_in_its_form(form: Form, expected: object) -> None:
    """To its whole address, as JSON, at once."""
    told: list[Request] = []
    async with hooked(told=told, webhook_form=form) as (tellers, logs):
        tellers.put(notice())

    (request,) = told
    assert (request.method, request.path, request.query) == (
        "POST",
        f"/services/{SECRET.partition('?')[0]}",
        {"token": "sEcReT77"},
    )
    assert json.loads(request.body) == expected
    assert request.headers["content-type"] == "application/json"
    assert logs == [] and tellers.failed == {"webhook": 0}


def test_what_is_told_is_short_and_harmless() -> None:
    """Markets of one exchange and channel share a line; there are not too many lines; nothing is markup."""
    many = [
        Change("raised", Alert("price", Subject(f"x{n % 30}", f"S<{n}&"), 0.03 + n / 10_000, 0)) for n in range(400)
    ]
    text = notice(*many).text().splitlines()

    assert len(text) == LINES + 2 and text[-1] == "and 10 more"
    assert text[1].startswith("raised price, x0 S<0&, S<30&, ") and " and 4 more: the price is 6.9% from" in text[1]
    assert "&lt;30&amp;" in json.loads(body(notice(*many), "slack"))["text"]
    assert len(json.loads(body(notice(*many), "discord"))["content"]) == DISCORD
    assert len(json.loads(body(notice(*many), "json"))["alerts"]) == 400
    assert str(notice(PRICE).lines()[0]) == ("resolved price, kraken BTC/USDT: well again after 60s")


async def test_a_webhook_that_fails_is_tried_again() -> None:
    """A few times, and no more is told than that it came through."""
    told: list[Request] = []
    async with hooked(lambda _: Answer(b"", 200 if len(told) == 3 else 500), told=told) as (tellers, logs):
        tellers.put(notice())

    assert len(told) == 3 and logs == []


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (500, 3)])
async def test_an_undeliverable_notice_is_logged_without_secrets(status: int, tries: int) -> None:
    """Though the server repeats the whole address in its answer; the next notice is told."""
    told: list[Request] = []

    def refusing(request: Request) -> Answer:
        echo = f"cannot {request.method} {request.path}?token={request.query['token']}".encode()
        return Answer(echo, status if len(told) <= tries else 200)

    async with hooked(refusing, told=told, timeout=30.0) as (tellers, logs):
        tellers.put(notice())
        tellers.put(notice(PRICE))

    (entry,) = logs
    assert entry["event"] == "an alert could not be told" and f"answered {status}: cannot POST" in entry["reason"]
    assert entry["to"].startswith("http://127.0.0.1:") and entry["to"].endswith("/...")
    assert not any(part in str(entry) for part in ("sEcReT99", "sEcReT77", "T0AB", "B0CD"))
    assert tellers.failed == {"webhook": 1} and len(told) == tries + 1


async def test_a_server_that_never_answers_holds_up_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """A notice has its time; what comes while too many wait is given up at once; a stop waits a short time only."""

    async def hang(_: Notice) -> None:
        await trio.sleep_forever()

    tellers = Tellers()
    with capture_logs() as logs, pytest.MonkeyPatch.context() as patch:
        patch.setattr(roads, "roads_of", lambda alerts, http: [roads.Road("webhook", "there", hang, 60)])
        async with open_http() as client, telling(Alerts(), client) as tellers:
            tellers.put(notice())
            await trio.sleep(61)
            for _ in range(WAITING + 10):
                tellers.put(notice())
            began = trio.current_time()

    assert trio.current_time() - began == roads.FAREWELL
    reasons = [entry["reason"] for entry in logs]
    assert reasons == ["not done in 60 s", *["too many wait"] * 9, *["the run is over"] * (WAITING + 1)]
    assert tellers.failed == {"webhook": WAITING + 11}


async def test_a_command_is_run(tmp_path: Path) -> None:
    """Its arguments are what the settings say, whatever a shell would make of them; the notice is its input."""
    told = tmp_path / "told"
    script = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + sys.stdin.read()); print('not for anybody')"
    async with hooked(command=(sys.executable, "-c", script, str(told), "$(id); ")) as (tellers, logs):
        tellers.put(notice())

    words, _, given = told.read_text().partition("{")
    assert words == "$(id); " and json.loads("{" + given) == json.loads(body(notice(), "json"))
    assert logs == [] and tellers.failed == {"webhook": 0, "command": 0}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ([sys.executable, "-c", "raise SystemExit(3)"], "exit status 3"),
        (["/nowhere/to/be/found"], "No such file or directory"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], "not done in 0.5 s"),
    ],
)
async def test_a_command_that_fails_is_told(command: Sequence[str], reason: str) -> None:
    """By its name and why; the webhook is told all the same."""
    told: list[Request] = []
    async with hooked(told=told, command=command, timeout=0.5) as (tellers, logs):
        tellers.put(notice())

    assert [(entry["road"], entry["to"], entry["reason"]) for entry in logs] == [("command", command[0], reason)]
    assert tellers.failed == {"webhook": 0, "command": 1} and len(told) == 1


async def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """Neither it nor what it started outlives its time."""
    told = tmp_path / "pids"
    script = f"trap '' TERM; sleep 60 & echo $$ $! > {told}; wait; sleep 60"
    async with hooked(command=("sh", "-c", script), timeout=1.0) as (tellers, _):
        tellers.put(notice())

    leader, child = map(int, told.read_text().split())
    with pytest.raises(ProcessLookupError):
        os.kill(leader, signal.SIG_DFL)
    while lives(child):  # noqa: ASYNC110  (the system ends it)
        await trio.sleep(0.01)


def lives(process: int) -> bool:
    """Whether a process is there, and not only waits to be buried."""
    state = Path(f"/proc/{process}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"
