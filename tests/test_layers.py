"""Imports point one way, and each foreign library has its one room."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import trioagg
from trioagg import store

HOUSE = Path(trioagg.__file__).parent
MODULES = {
    ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(HOUSE.rglob("*.py"))
}
LAYERS = [
    {"signs"},
    {"errors", "model", "logs", "host"},
    {"exchanges", "integrity"},
    {"settings"},
    {"transport", "store"},
    {"sinks", "views", "monitor", "simulator"},
    {"sources"},
    {"pipeline"},
    {"cli"},
    {"", "__main__"},
]
"""A room may import from those above it here, not from its neighbours on the same line."""

PURE = {"errors", "model", "exchanges", "integrity", "settings"}
ROOMS = {
    "httpx": {"transport.http"},
    "trio_websocket": {"transport.websocket", "simulator"},
    "h11": {"transport", "simulator", "monitor"},
    "wsproto": {"transport", "simulator"},
    "socket": {"transport", "simulator"},
    "ssl": {"transport"},
    "apsw": {"store"},
    "psycopg": {"sinks.postgresql"},
    "pymysql": {"sinks.mysql"},
    "pandas": {"views", "store"},
    "pyarrow": {"store.arrow", "sinks._partition", "sinks.parquet", "views.parquet"},
    "redis": {"sinks.redis"},
    "confluent_kafka": {"sinks.kafka", "sources.kafka"},
    "fcntl": {"host", "pipeline.held", "sinks._journal"},
    "matplotlib": {"views.picture"},
    "asyncio": set(),
    "threading": {"pipeline.signals"},
    "unittest": set(),
}
"""Library → the only places that import it."""
NOT_IN_ADAPTERS = {"time", "random", "secrets", "logging", "structlog", "os", "pathlib"}
HEAVY = {
    *("pandas", "numpy", "pyarrow", "redis", "confluent_kafka", "psycopg", "pymysql"),
    *("matplotlib", "httpx", "trio_websocket"),
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that a syntax tree imports, in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, "relative imports hide what they import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


def imports(name: str) -> set[str]:
    """What a module of ours imports."""
    return set(imported(ast.parse(MODULES[name].read_text(encoding="utf-8"))))


def inner(name: str) -> str:
    """``trioagg.store.read`` → ``store.read``."""
    return name.removeprefix("trioagg").removeprefix(".")


def room(name: str) -> str:
    """``trioagg.store.read`` → ``store``."""
    return inner(name).partition(".")[0]


def layer(name: str) -> int:
    """How far from the foundation a module is."""
    found = [height for height, rooms in enumerate(LAYERS) if room(name) in rooms]
    assert found, f"{name}: give it a place in LAYERS"
    return found[0]


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name: str) -> None:
    """A module imports its own room and lower layers only."""
    ours = {other for other in imports(name) if other.startswith("trioagg.") and room(other) != room(name)}

    assert not {other for other in ours if layer(other) >= layer(name)}


@pytest.mark.parametrize("name", MODULES)
def test_libraries_stay_in_their_rooms(name: str) -> None:
    """Only the rooms named above know the network, the database and the tables."""
    place = inner(name)
    for library in {other.split(".")[0] for other in imports(name)} & ROOMS.keys():
        assert any(f"{place}.".startswith(f"{home}.") for home in ROOMS[library]), f"{name} imports {library}"


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) in PURE])
def test_pure_rooms_never_wait(name: str) -> None:
    """What only calculates never imports Trio."""
    assert "trio" not in {other.split(".")[0] for other in imports(name)}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("trioagg.exchanges.")])
def test_an_adapter_is_alone(name: str) -> None:
    """An adapter knows no clock, no chance, no log and no other adapter."""
    others = {other for other in imports(name) if other.startswith("trioagg.exchanges.")}

    assert not imports(name) & NOT_IN_ADAPTERS
    assert all(inner(other).startswith("exchanges._") for other in others)


def test_no_module_imports_itself_in_a_circle() -> None:
    """The graph of imports has no cycle."""
    TopologicalSorter({name: (imports(name) & MODULES.keys()) - {name, "trioagg"} for name in MODULES}).prepare()


def test_the_command_line_starts_light(tmp_path: Path) -> None:
    """Importing the command line loads neither pandas nor a network library."""
    script = f"import sys, trioagg.cli; print(*{HEAVY!r} & sys.modules.keys())"

    environment = {**os.environ, "PYTHONPATH": str(HOUSE.parent)}
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)

    assert loaded.stdout.split() == []


def test_the_store_offers_all_that_it_names() -> None:
    """Also what is imported only when it is asked for."""
    assert all(getattr(store, name) is not None for name in store.__all__)
    with pytest.raises(AttributeError, match="Wrter"):
        _ = store.Wrter  # type: ignore[attr-defined]
