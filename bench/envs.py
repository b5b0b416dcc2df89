"""Environments for peers, each with its own library: made once under ``.bench``, anew when its pins change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from bench.server import ROOT

FOLDER = ROOT / ".bench"
COMMON = ("attrs==26.1.0",)  # what `bench.figures` needs
INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1")
PATIENCE = 600.0  # seconds for one step


class LeftOut(Exception):
    """A peer cannot run here; why, in a line."""


def python_for(name: str, peer: ModuleType) -> str:
    """The interpreter of a peer's environment, which is made if need be.

    Raises:
        LeftOut: there is no such Python, or the requirements cannot be installed.
    """
    if not peer.PINS:
        return sys.executable
    folder, base = FOLDER / name, _base(peer.PYTHON)
    done, wanted = folder / "pins.txt", "\n".join((base, *peer.PINS, *COMMON))
    python = folder / "bin" / "python"
    if not (done.is_file() and done.read_text(encoding="utf-8") == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        _do(base, "-m", "venv", str(folder))
        _do(str(python), *INSTALL, *peer.PINS, *COMMON)
        done.write_text(wanted, encoding="utf-8")
    return str(python)


def _base(version: str) -> str:
    """A Python of a version, pyenv's too, whose shims may lead nowhere; ours if none is asked for."""
    if not version:
        return sys.executable
    there = [*map(str, Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin"))]
    path = os.pathsep.join([*sorted(there), os.environ["PATH"]])
    if found := shutil.which(f"python{version}", path=path):
        return found
    raise LeftOut(f"there is no Python {version}")


def _do(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)  # noqa: S603  (our own words)
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()]
        told = [line for line in lines if line.startswith("ERROR")] or lines or [f"{command[1:3]} failed"]
        raise LeftOut(told[-1]) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LeftOut(str(error)) from None
