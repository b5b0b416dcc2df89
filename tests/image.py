"""The container image without a container engine: ``python tests/image.py`` does in a folder what its Dockerfile says.

The wheel is built and installed as there, the command is started as there (against the built-in exchange), asked by
the image's own health check, and stopped. Steps that make users are told and left out; so is what only an engine can
do: the base image, the read-only root, the rights that are taken away.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
OURS = re.compile(r"(?<![\w./$}-])/(?=(?:src|build|dist|opt|data)\b)")
"""The root of the paths that are the image's own."""
PATIENCE = 60.0
"""Seconds until the run must be well, ..."""
GRACE = 30.0
"""... and to stop."""

AFTERWARDS = {"ARG", "ENV", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
"""What plays its part when the image is run."""

Step = tuple[str, str]
"""An instruction and what follows it."""


def steps(text: str) -> Iterator[Step]:
    """The instructions of a Dockerfile."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        yield word, rest.strip()


def the(found: Sequence[Step], word: str) -> str:
    """What follows the only instruction of a kind."""
    (rest,) = [rest for name, rest in found if name == word]
    return rest


def words(rest: str) -> list[str]:
    """The list that stands at the end of CMD, ENTRYPOINT or HEALTHCHECK."""
    told: list[str] = json.loads(rest[rest.index("[") :])
    return told


def build(found: Sequence[Step], root: Path, extras: str) -> None:
    """Do each step below a folder, as far as it can be done there."""
    place, environment = root, {**os.environ, "EXTRAS": extras}
    for word, rest in found:
        if word == "WORKDIR":
            place = root / rest.strip("/")
            place.mkdir(parents=True, exist_ok=True)
        elif word == "COPY" and not rest.startswith("--from"):
            _copy(rest.split(), place, root)
        elif word == "RUN" and "useradd" not in rest:
            _say(word, rest)
            subprocess.run(["sh", "-ec", moved(rest, root)], cwd=place, env=environment, check=True)
        elif word not in AFTERWARDS:
            _say(f"not done: {word}", rest)


def moved(text: str, root: Path) -> str:
    """With the image's own paths below a folder."""
    return OURS.sub(f"{root}/", text)


def _copy(names: Sequence[str], place: Path, root: Path) -> None:
    *sources, target = names
    there = root / target.strip("/") if target.startswith("/") else place / target
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, there)


def play(found: Sequence[Step], root: Path) -> None:
    """Run the image's command until its health check is content, then stop it as an engine does."""
    path = f"{root}/opt/trioagg/bin{os.pathsep}{os.environ['PATH']}"
    start = partial(
        subprocess.Popen, cwd=root / "data", env={**os.environ, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    command = [*words(the(found, "ENTRYPOINT")), *words(the(found, "CMD")), "--simulated"]
    check = [moved(word, root) for word in words(the(found, "HEALTHCHECK"))]
    before = _files(root / "opt")
    assert start([command[0], "--version"]).wait() == 0
    with start(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            _until_well(partial(start, check))
            process.send_signal(getattr(signal, the(found, "STOPSIGNAL")))
            last = json.loads(process.communicate(timeout=GRACE)[1].splitlines()[-1])
        finally:
            process.kill()
    _say("ended with", f"{process.returncode}: {last}")
    assert process.returncode == 0 and last["received"] == last["stored"] > 0
    assert _files(root / "opt") == before, "it writes where the image is read-only"
    assert start(check).wait() == 1


def _until_well(check: Callable[[], subprocess.Popen[str]]) -> None:
    end = time.monotonic() + PATIENCE
    while check().wait():
        assert time.monotonic() < end, "it was never well"
        time.sleep(0.5)


def _files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def _say(what: str, more: str) -> None:
    sys.stdout.write(f"--- {what} {more}\n")
    sys.stdout.flush()


def main(extras: str = "[kafka,postgres,redis]") -> None:
    """Build and play, in a folder that is gone afterwards."""
    found = list(steps(DOCKERFILE.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory(prefix="trioagg-image-") as folder:
        build(found, Path(folder), extras)
        play(found, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
