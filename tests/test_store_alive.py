"""Of connections without an end, those of a living process are not taken for killed, whoever starts beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from far_end import ask
from servers import Server
from test_sinks_ledger import counted, life
from test_sinks_servers import store

from trioagg import host
from trioagg.sinks.sqlite import url_of
from trioagg.store.alive import Lives, alive

SESSIONS = "SELECT opened, closed, reason FROM sessions ORDER BY opened"
CAUSES = "SELECT cause FROM gaps ORDER BY first_missing"
RUN = """
import sys, trio
sys.path.insert(0, sys.argv[1])
from test_sinks_ledger import counted, life
from test_sinks_servers import begun
from trioagg import sinks

async def main():
    async with sinks.connect(sys.argv[2]) as sink:
        await begun(sink).write(life(1), *counted(1, 2))
        print("stored", flush=True)
        sys.stdin.read()

trio.run(main)
"""


@contextmanager
def another(url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has a connection open and stored two trades, until it is killed."""
    words = [sys.executable, "-c", RUN, str(Path(__file__).parent), url]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "stored\n"
            yield process
        finally:
            process.kill()


async def beside_and_after(url: str) -> None:
    """A run beside a living one, and one after that was killed; each ends well."""
    with another(url) as process:
        await store(url, [life(10), *counted(5), life(10, 13)])
        process.kill()
        process.wait()
        await store(url, [life(20), *counted(8), life(20, 23)])


def told(sessions: Sequence[Any], causes: Sequence[Any]) -> None:
    """The first is killed since it was, and the cause of what is missing since then alone."""
    assert [tuple(session) for session in sessions] == [(1, None, "killed"), (10, 13, "it broke"), (20, 23, "it broke")]
    assert [cause for (cause,) in causes] == ["not running", "killed"]


async def test_a_run_beside_a_living_one_in_a_file(tmp_path: Path) -> None:
    """It marks nothing; the run after the kill does."""
    await beside_and_after(url_of(tmp_path / "a.db"))
    told(ask(tmp_path / "a.db", SESSIONS), ask(tmp_path / "a.db", CAUSES))


async def test_a_run_beside_a_living_one_on_a_server(server: Server) -> None:
    """It is the same there."""
    await beside_and_after(server.url())
    told(server.ask(SESSIONS), server.ask(CAUSES))


def test_a_life_ends_with_its_store_or_by_itself() -> None:
    """And nobody else's ends with it."""
    first, second = Lives(), Lives()
    for opened in (1, 2):
        first.begin(opened)
    second.begin(3)
    first.end(1)
    assert [alive(opened) for opened in (1, 2, 3, 4)] == [False, True, True, False]
    first.close()
    assert [alive(opened) for opened in (1, 2, 3, 4)] == [False, False, True, False]
    second.close()


def test_without_a_folder_nobody_lives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As where a folder of that name is not ours alone: nothing fails, and nothing is believed."""
    (tmp_path / "trioagg").mkdir(mode=0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(PermissionError, match="not this user's alone"):
        host.folder()
    lives = Lives()
    lives.begin(7)
    assert not alive(7)
    lives.close()
