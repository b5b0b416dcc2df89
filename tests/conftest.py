"""What every test may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import hypothesis
import pytest
import structlog
from servers import Server, empty, place

ROOT = Path(__file__).parent.parent

hypothesis.settings.register_profile("trioagg", deadline=None, max_examples=50, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("trioagg")


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of real recordings beside the repository; a test that needs one is skipped where they are not."""
    folder = ROOT.parent / "shared" / "captures"
    if not folder.is_dir():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no recordings in {folder}")
    return folder


@pytest.fixture(scope="session")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders without end, none of which is there yet."""
    base = tmp_path_factory.mktemp("runtime")
    return (base / str(number) for number in count())


@pytest.fixture(autouse=True)
def runtime(runtimes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """What this host's processes share, those of a test share among themselves, and with no other test."""
    folder = next(runtimes)
    folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def fresh_logging() -> Iterator[None]:
    """Let no test inherit another's logging."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(autouse=True)
def fresh_signals() -> Iterator[None]:
    """Let go the signals that a run held back: what a later test starts would be deaf."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    held = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, held)


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], Server]]:
    """A place on each real server that is asked for, made once: making tables takes MariaDB more than a second."""
    made: dict[str, Server] = {}
    with ExitStack() as stack:

        def on(scheme: str) -> Server:
            if scheme not in made:
                made[scheme] = stack.enter_context(place(scheme))
            return made[scheme]

        yield on


@pytest.fixture(params=["postgresql", "mysql"])
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Iterator[Server]:
    """A store without rows on a real PostgreSQL, and on a real MariaDB; skipped where there is none, but not in CI."""
    found = servers(request.param)
    yield found
    empty(found)


@pytest.fixture(params=["postgresql", "mysql"])
def fresh(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A place of its own without tables, on each of the two."""
    with place(request.param) as made:
        yield made
