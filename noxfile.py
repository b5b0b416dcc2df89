"""Every chore of the project. ``nox`` alone does all that CI does; ``nox --list`` names the rest.

Sessions run against the wheel, built once by ``wheel``, with the versions that ``constraints.txt`` (written from
``uv.lock`` by ``lock``) pins; uv makes the environments where it is found, virtualenv and pip elsewhere.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2026.2"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"  # the tests run on the Pythons that are there
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "lint", "types", "docs"]

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
PINS = Path("constraints.txt")
EXPORT = ["uv", "export", "--quiet", "--all-groups", "--no-emit-project", "--no-hashes", "--no-annotate", "--no-header"]
WHEELS = Path("build")
SIMULATED = Path("simulated.db")
TRIO_RULES = [  # those that ruff lacks
    "ASYNC101",  # a yield inside a nursery or cancel scope
    "ASYNC102",  # an await in a finally without a shield
    "ASYNC103",  # a swallowed Cancelled
    "ASYNC104",  # as above
    "ASYNC112",  # a nursery for one task
    "ASYNC113",  # start_soon where start is meant
    "ASYNC119",  # a yield inside a context manager in an async generator
]
SIDE_BY_SIDE = ["--numprocesses=2", "--dist=loadfile"]
"""All tests: half of their time is waiting for servers and processes. A file's tests share fixtures."""
SCHEMAS = {
    "compose-spec": ["deploy/compose.yaml", "deploy/compose.full.yaml"],
    "github-workflows": [".github/workflows/ci.yml"],
}
"""Whose files we write → those that must be right by its own schema."""

# pyenv's Pythons that no shim leads to
os.environ["PATH"] = os.pathsep.join(
    [os.environ["PATH"], *map(str, sorted(Path("~/.pyenv/versions").expanduser().glob("3.*/bin")))]
)


def install(session: nox.Session, *groups: str, package: bool = False) -> None:
    """Install dependency groups, and the package from its wheel."""
    wheels = [str(wheel) for wheel in WHEELS.glob("*.whl")] if package else []
    session.install("--quiet", "-c", str(PINS), *wheels, *nox.project.dependency_groups(PROJECT, *groups))
    if wheels:  # a reused environment holds an older build of the same version
        session.install("--quiet", "--no-deps", "--force-reinstall", *wheels)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel that the other sessions install."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    install(session, "build")
    session.run("python", "-m", "hatchling", "build", "--target", "wheel", "--directory", str(WHEELS))


@nox.session(python=PYTHONS, requires=["wheel"])
def tests(session: nox.Session) -> None:
    """Run the tests on every supported Python that is found; arguments go to pytest, in one process."""
    install(session, "test", package=True)
    session.run("pytest", *(session.posargs or SIDE_BY_SIDE))


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, lint rules, the files for other programs, and that the pins are what pyproject.toml asks."""
    install(session, "lint")
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")
    for schema, files in SCHEMAS.items():
        session.run("check-jsonschema", "--quiet", "--builtin-schema", f"vendor.{schema}", *files)
    sources = [str(path) for folder in ("trioagg", "tests", "bench") for path in Path(folder).rglob("*.py")]
    session.run("flake8-async", f"--enable={','.join(TRIO_RULES)}", *sources)
    if shutil.which("uv"):
        session.run("uv", "lock", "--check", external=True)
        if session.run(*EXPORT, external=True, silent=True) != PINS.read_text(encoding="utf-8"):
            session.error(f"{PINS} is not what uv.lock says: run nox -s lock")


@nox.session(requires=["wheel"])
def types(session: nox.Session) -> None:
    """Check the types, with two checkers."""
    install(session, "types", package=True)
    session.run("mypy")
    session.run("pyright")


@nox.session(requires=["wheel"])
def docs(session: nox.Session) -> None:
    """Check that README, changelog and settings.ini tell the truth."""
    install(session, "docs", package=True)
    session.run("pytest", "tests/test_docs.py", "tests/test_packaging.py", *session.posargs)


@nox.session
def image(session: nox.Session) -> None:
    """Do what deploy/Dockerfile says, without an engine, and run what comes of it; ``-- ""`` without extras."""
    session.run("python", "tests/image.py", *session.posargs)


@nox.session(requires=["wheel"])
def coverage(session: nox.Session) -> None:
    """Run the tests and show the lines and branches that none of them reaches."""
    install(session, "test", package=True)
    session.run("pytest", "--cov", "--cov-report=term-missing", *session.posargs)


@nox.session(requires=["wheel"])
def run(session: nox.Session) -> None:
    """Collect: 30 s from the built-in exchange, or what the arguments say (``-- --exchange binance``)."""
    install(session, package=True)
    if session.posargs:
        collect(session, *session.posargs)
        return
    for leftover in Path().glob(f"{SIMULATED}*"):
        leftover.unlink()
    collect(session, "--simulated", "--duration", "30", "--database", str(SIMULATED))
    session.run("trioagg", "show", "--database", str(SIMULATED))


def collect(session: nox.Session, *arguments: str) -> None:
    """Run ``trioagg run``, which Ctrl-C gives all the time it needs to store what it has."""
    session.run("trioagg", "run", *arguments, interrupt_timeout=None)


@nox.session(requires=["wheel"])
def show(session: nox.Session) -> None:
    """Show the latest rows; arguments go to ``trioagg show``."""
    install(session, package=True)
    session.run("trioagg", "show", *session.posargs, interrupt_timeout=None)


@nox.session(requires=["wheel"])
def bench(session: nox.Session) -> None:
    """Measure the speed; arguments go to the benchmark."""
    if not Path("bench").is_dir():
        session.skip("there is no bench folder")
    install(session, "bench", package=True)
    session.run("python", "-m", "bench", *session.posargs)


@nox.session(requires=["wheel"])
def soak(session: nox.Session) -> None:
    """Walk the fault matrix for 5 minutes; ``-- --minutes 30 --seed 7`` for a day's faults, and the same way again."""
    if not Path("bench").is_dir():
        session.skip("there is no bench folder")
    install(session, "bench", package=True)
    session.run("python", "-m", "bench.soak", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Ask whether anything is known against the pinned versions; needs the network's vulnerability service."""
    session.install("--quiet", "pip-audit")  # the newest: what it asks changes
    try:
        session.run("pip-audit", "--strict", "--no-deps", "--disable-pip", "--progress-spinner=off", "-r", str(PINS))
    except CommandFailed:
        session.error(
            "something is known against a pinned version, or the service cannot be asked: the lines above say"
        )


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Write uv.lock and constraints.txt anew from pyproject.toml (needs uv; ``-- --upgrade`` takes newer versions)."""
    session.run("uv", "lock", *session.posargs, external=True)
    session.run(*EXPORT, "--output-file", str(PINS), external=True)
