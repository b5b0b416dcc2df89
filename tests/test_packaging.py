"""The package, its automation and its papers agree with one another."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import trioagg

ROOT = Path(__file__).parent.parent
TREE = ROOT / "trioagg"
INSTALLED = Path(trioagg.__file__).parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TEST_COMMAND = "python3 -m venv .venv && .venv/bin/pip install --quiet nox && .venv/bin/nox -s tests"

from_wheel = pytest.mark.skipif(INSTALLED == TREE, reason="trioagg is not installed: the source tree is imported")


def text(name: str) -> str:
    """A file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def required() -> list[Requirement]:
    """Everything that pyproject.toml asks for: dependencies, extras and groups."""
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    lists = [project["dependencies"], *project.get("optional-dependencies", {}).values(), *groups.values()]
    return [Requirement(line) for lines in lists for line in lines if isinstance(line, str)]


def pins() -> list[Requirement]:
    """What constraints.txt pins."""
    return [Requirement(line) for line in text("constraints.txt").splitlines()]


def foreign_imports() -> set[str]:
    """The libraries that the package imports, standard ones left out."""
    found = set()
    for path in TREE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").split(".")[0])
    return found - set(sys.stdlib_module_names) - {"trioagg"}


def test_what_is_imported_is_required() -> None:
    """Each library that the package imports is a dependency or an extra, and each of those is imported."""
    project = PROJECT["project"]
    lists = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    declared = {canonicalize_name(Requirement(line).name) for lines in lists for line in lines}

    assert {canonicalize_name(name) for name in foreign_imports()} == declared


def test_every_requirement_has_a_lower_bound_and_a_pin_that_meets_it() -> None:
    """Sessions install exactly what was tried."""
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins()}

    for requirement in required():
        assert [bound.operator for bound in requirement.specifier] == [">="], requirement
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_constraints_say_what_the_lock_says() -> None:
    """Both pip and uv install the same versions."""
    locked = {
        (package["name"], package["version"])
        for package in tomllib.loads(text("uv.lock"))["package"]
        if "registry" in package["source"]
    }

    assert {(pin.name, next(iter(pin.specifier)).version) for pin in pins()} == locked


def test_the_supported_pythons_are_said_once() -> None:
    """The classifiers start at requires-python and leave no version out."""
    minors = [int(line.rpartition(".")[2]) for line in PROJECT["project"]["classifiers"] if ":: Python :: 3." in line]

    assert PROJECT["project"]["requires-python"] == f">=3.{minors[0]}"
    assert minors == list(range(minors[0], minors[-1] + 1))


def test_quick_start_is_two_commands() -> None:
    """README starts with one line that runs and one that tests, and CI runs the very same test command."""
    quick = re.search(r"## Quick start\n.*?```sh\n(.*?)```", text("README.md"), re.DOTALL)

    assert quick
    assert quick[1].splitlines() == [TEST_COMMAND.replace("-s tests", "-s run"), TEST_COMMAND]
    assert TEST_COMMAND in text(".ci/run")


def test_hosted_ci_calls_nox() -> None:
    """The hosted CI does what ``nox`` does, and asks what is known against the pinned versions; nothing of its own."""
    steps = re.findall(r"- run: (\S+(?: -m pip)?)", text(".github/workflows/ci.yml"))

    assert steps == ["python -m pip", "nox", "nox"]


def test_the_changelog_knows_the_version() -> None:
    """The newest entry of the changelog is the version of the package."""
    newest = re.search(r"^## .*$", text("CHANGELOG.md"), re.MULTILINE)

    assert newest
    assert trioagg.__version__ in newest[0]


@from_wheel
def test_the_wheel_holds_the_whole_package() -> None:
    """No file of the package is left out of the wheel, and settings.ini travels along."""
    files = {path.relative_to(TREE) for path in TREE.rglob("*") if path.is_file() and path.suffix != ".pyc"}

    assert {name for name in files if not (INSTALLED / name).is_file()} == set()
    assert (INSTALLED / "settings.ini").read_bytes() == (ROOT / "settings.ini").read_bytes()
    assert (INSTALLED / "py.typed").is_file()


@from_wheel
def test_the_installed_command_is_this_version() -> None:
    """The wheel's metadata carry the package's version and its command."""
    (command,) = metadata.distribution("trioagg").entry_points.select(group="console_scripts")

    assert metadata.version("trioagg") == trioagg.__version__
    assert (command.name, command.value) == ("trioagg", "trioagg.cli:main")
