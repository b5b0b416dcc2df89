"""The doctor: what would keep a run from going well is found, told in a line each, with its cure."""

from __future__ import annotations

import json
import os
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve

from trioagg.cli import main
from trioagg.pipeline import doctor
from trioagg.pipeline.doctor import EXTRAS, examine
from trioagg.settings import Run, Settings, Venue
from trioagg.store import Writer
from trioagg.transport.clock import Stamps
from trioagg.views.findings import Finding

ROOT = Path(__file__).parent.parent
HOUR = 3600 * 10**9


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory of its own."""
    monkeypatch.chdir(tmp_path)


def told(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, Any]]]:
    """Exit code, and what it found."""
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--format", "json", *words])
    assert isinstance(end.value.code, int)
    return end.value.code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def modes(folder: Path) -> set[int]:
    """Who may read the files of a folder."""
    return {file.stat().st_mode & 0o777 for file in folder.iterdir()}


async def found(about: str, what: str, **run: Any) -> Finding:
    """One of its findings, with the built-in exchange."""
    settings = Settings(run=evolve(Run(), **run))
    findings = await examine(settings, {}, offline=True)
    return next(finding for finding in findings if (finding.about, finding.what) == (about, what))


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Exchanges with and without a token, an empty disk, nothing left behind; exit 0."""
    code, findings = told("--simulated", "-e", "binance", "-e", "kucoin", "-e", "coinbase", capsys=capsys)

    assert code == 0
    assert {finding["state"] for finding in findings} == {"well", "told"}
    whom = {(finding["about"], finding["what"]) for finding in findings if finding["state"] == "well"}
    assert whom >= {(name, what) for name in ("binance", "kucoin") for what in ("REST and clock", "WebSocket")}
    assert list(Path().iterdir()) == []


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, the cure below it, and how many are wrong."""
    Path("a.db").write_text("no database", encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--simulated", "-d", "a.db"])

    lines = capsys.readouterr().out.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("database"))
    assert end.value.code == 1
    assert "wrong" in lines[place]
    assert lines[place + 1] == "    move it away, or name another one with --database"
    assert lines[-1].startswith("1 of ")


def test_settings_are_told_with_their_place_and_without_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flag, environment and file; a sink whose URL cannot be is wrong."""
    Path("settings.ini").write_text("[run]\ninterval = 7\n[retry]\nattempts = 2\n", encoding="utf-8")
    monkeypatch.setenv("TRIOAGG_RUN_SINKS", "mysql://me:hunter2@127.0.0.1:1/x?password=hunter3,nats://u:hunter4@x/y")
    monkeypatch.setenv("TRIOAGG_EXCHANGE_KRAKEN_REST_URL", "http://me:hunter5@127.0.0.1:1")
    code, findings = told("--simulated", "-e", "binance", capsys=capsys)

    said = {finding["what"]: finding["found"] for finding in findings if finding["about"] == "settings"}
    assert code == 1
    assert said["run interval"] == "7 (by settings.ini [run] interval)"
    assert said["retry attempts"] == "2 (by settings.ini [retry] attempts)"
    assert said["run exchanges"] == "binance (by --exchange)"
    assert said["run sinks"].endswith("(by TRIOAGG_RUN_SINKS)")
    assert "hunter" not in json.dumps(findings)
    assert {finding["state"] for finding in findings if finding["about"] == "sink"} == {"wrong"}


async def test_an_exchange_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its REST nor its WebSocket; the cure names what to look at."""
    nowhere = Venue(rest_url="http://127.0.0.1:1", ws_url="ws://127.0.0.1:1")
    settings = Settings(run=evolve(Run(), exchanges=("kraken",)), venues={"kraken": nowhere})
    findings = [finding for finding in await examine(settings, {}, offline=False) if finding.about == "kraken"]

    assert [finding.state for finding in findings] == ["wrong", "wrong"]
    assert all("[exchange:kraken]" in finding.cure for finding in findings)


async def test_whoever_never_answers_has_an_end(monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery) -> None:
    """It is told like any other trouble."""
    monkeypatch.setattr(doctor, "TIMEOUT", 0.2)
    monkeypatch.setattr(doctor, "PATIENCE", 1.0)

    async def hold(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    [listener] = await nursery.start(partial(trio.serve_tcp, hold, 0, host="127.0.0.1"))
    place = f"127.0.0.1:{listener.socket.getsockname()[1]}"
    venue = Venue(rest_url=f"http://{place}", ws_url=f"ws://{place}")
    settings = Settings(run=evolve(Run(), sinks=(f"redis://{place}/0?timeout=1",)), venues={"binance": venue})
    with trio.fail_after(20):
        findings = await examine(settings, {}, offline=False)
    nursery.cancel_scope.cancel()

    assert {finding.state for finding in findings if finding.about in {"binance", "sink"}} == {"wrong"}


async def test_a_clock_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """By more than the setting says, and than the measurement may be wrong."""
    real = Stamps().take
    monkeypatch.setattr(doctor, "Stamps", lambda: Stamps(lambda: real() + HOUR))
    wrong = await found("binance", "REST and clock")

    assert (wrong.state, wrong.cure) == ("wrong", "set this machine's clock, and keep it by NTP")
    assert "-3600." in wrong.found or "-3599." in wrong.found


@pytest.mark.skipif(os.name == "nt", reason="this system has no such modes")
async def test_a_database_that_others_may_read(tmp_path: Path) -> None:
    """A new one is its owner's alone, and so are the files beside it."""
    path = tmp_path / "a.db"
    writer = Writer.open(path)
    assert modes(tmp_path) == {0o600}
    writer.close()
    assert (await found("database", str(path), database=str(path))).state == "well"

    path.chmod(0o644)
    seen = await found("database", str(path), database=str(path))
    assert (seen.state, seen.cure) == ("wrong", f"chmod 600 {path}*")


async def test_a_disk_that_is_not_fit(tmp_path: Path) -> None:
    """No folder, or no room."""
    lost = str(tmp_path / "nowhere" / "a.db")
    assert (await found("disk", "room", database=lost)).cure == "make that folder"
    assert (await found("disk", "durable writes", database=lost)).state == "wrong"
    assert (await found("disk", "room", min_free_disk=1e12)).cure.startswith("make room")


def test_every_extra_is_known() -> None:
    """With what it brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought = {name: lines[0].split(">")[0].split("[")[0] for name, lines in project["optional-dependencies"].items()}

    assert {name: module.replace("_", "-") for name, (module, _) in EXTRAS.items()} == brought
