"""What is in ``deploy/`` fits together and fits the program: image, compose files, systemd unit."""

from __future__ import annotations

import http.server
import re
import runpy
import socket
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.testing
import yaml
from image import DOCKERFILE, ROOT, moved, steps, the, words

from trioagg import sinks
from trioagg.cli import app
from trioagg.cli.options import MISUSED
from trioagg.settings import Run, load, place, unknown_variables

DEPLOY = ROOT / "deploy"
PORT = "9464"
IMAGE = list(steps(DOCKERFILE.read_text(encoding="utf-8")))
WRITABLE = {"kafka"}
"""Services whose image writes where its programs are."""
SECONDS = {"s": 1, "m": 60}
EXTRAS = {"postgresql": "postgres"}
"""Schemes whose extra is named otherwise."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def compose(name: str) -> dict[str, Any]:
    """A compose file."""
    told: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return told


ALONE, FULL = compose("compose.yaml")["services"], compose("compose.full.yaml")["services"]
SERVICES = {**FULL, "trioagg": ALONE["trioagg"] | FULL["trioagg"] | {"environment": {}}}
"""All of them; the environment of ours is looked at by itself."""


def unit() -> list[tuple[str, str]]:
    """Every setting of the systemd unit, in order."""
    text = (DEPLOY / "systemd" / "trioagg.service").read_text(encoding="utf-8")
    return re.findall(r"^(\w+)=(.*)$", text, flags=re.MULTILINE)


def options(command: list[str]) -> dict[str, str]:
    """The options of a ``trioagg run`` as the program knows them, with what follows each.

    Raises:
        AssertionError: it knows one of them not.
    """
    known = typer.testing.CliRunner().invoke(app, ["run", "--help"]).output
    assert command[0] == "run"
    given = {word: (*command[n:], "")[1] for n, word in enumerate(command) if word.startswith("--")}
    assert [option for option in given if not re.search(rf"(?<!\w){option}\b", known)] == []
    return given


def variables(told: Mapping[str, Any]) -> dict[str, str]:
    """What a service's environment becomes, with a password of our choice for every variable that must be given."""
    texts = {name: re.sub(r"\$\{\w+:\?[^}]*\}", "s3cret", str(value)) for name, value in told.items()}
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text) for name, text in texts.items()}


def test_the_image_runs_as_nobody_in_particular() -> None:
    """By number, with one folder to write to; it stops by SIGTERM, and says whether it is well."""
    user = the(IMAGE, "USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user) and f"--uid {user.partition(':')[0]}" in str(IMAGE)
    assert the(IMAGE, "VOLUME") == "/data" and the(IMAGE, "STOPSIGNAL") == "SIGTERM"
    assert words(the(IMAGE, "HEALTHCHECK")) == ["python", "/opt/trioagg/healthy.py", PORT]
    assert the(IMAGE, "EXPOSE") == PORT
    assert place(options(words(the(IMAGE, "CMD")))["--serve"]) == ("0.0.0.0", int(PORT))


def test_the_image_is_made_of_what_is_there() -> None:
    """Both stages have a Python that is supported; what is copied exists and is let through, and nothing else is."""
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"}
    copied = {name for word, rest in IMAGE if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]}
    python = next(rest for word, rest in IMAGE if word == "ARG").removeprefix("PYTHON=")

    assert copied == let_through and all((ROOT / name).exists() for name in copied)
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    assert {rest.split(" ")[0] for word, rest in IMAGE if word == "FROM"} == {"python:${PYTHON}-slim"}
    pips = [rest for word, rest in IMAGE if word == "RUN" and " install --" in rest and "pip" in rest]
    assert pips and all("--constraint constraints.txt" in rest for rest in pips)


def test_the_image_s_paths_can_be_moved() -> None:
    """Its own, wherever they stand, and no others."""
    there = Path("/x")
    assert moved('/opt/a/pip "$(echo /dist/*.whl)" /usr/opt a/src', there) == (
        '/x/opt/a/pip "$(echo /x/dist/*.whl)" /usr/opt a/src'
    )


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server on this machine's own address, and its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    with http.server.HTTPServer((socket.gethostbyname(socket.gethostname()), 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_the_health_check_says_what_healthz_says(status: int, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its exit code; a feed that is not live and a server that is not there are both unwell."""
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    ask = runpy.run_path(str(DEPLOY / "healthy.py"))["main"]
    with answering(status) as port:
        assert ask(port) == code
    assert ask(port) == 1


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_kept_small(name: str) -> None:
    """It has a fixed version, no rights, no place to write but its own, no way in but from this machine, short logs."""
    service = SERVICES[name]
    assert service.get("build") or re.search(r":v?\d+\.\d+", service["image"])
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert bool(service.get("read_only")) == (name not in WRITABLE)
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["restart"] == "unless-stopped" and service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert "privileged" not in service and "network_mode" not in service
    assert service.get("build") or service["healthcheck"]["test"][0] == "CMD"


def test_volumes_and_files_that_services_use_are_there() -> None:
    """Each named volume is declared and used; each mounted file exists and cannot be written."""
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service["volumes"]]
    declared = {*compose("compose.yaml")["volumes"], *compose("compose.full.yaml")["volumes"]}

    assert {source for source, *_ in mounts if source[0] != "."} == declared
    for source, _, *mode in (mount for mount in mounts if mount[0][0] == "."):
        assert (DEPLOY / source).exists() and mode == ["ro"]


def test_no_password_is_in_a_file() -> None:
    """Each must be given, under a name that the example has without a value; what holds them stays out of the tree."""
    text = (DEPLOY / "compose.full.yaml").read_text(encoding="utf-8")
    wanted = set(re.findall(r"\$\{(\w+):\?", text))
    example = re.findall(r"^(\w+)=(.*)$", (DEPLOY / "env.example").read_text("utf-8"), flags=re.MULTILINE)

    assert wanted == {name for name, _ in example} and not any(value for _, value in example)
    assert all("${" in line for line in text.splitlines() if re.search(r"PASSWORD\w*:", line))
    assert ".env" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_our_service_is_set_up_as_the_program_understands() -> None:
    """Every variable is a setting, every sink is there and has its driver in the image; a stop has time to drain."""
    alone, more = variables(ALONE["trioagg"]["environment"]), variables(FULL["trioagg"]["environment"])
    told = load(file=None, environment={**alone, **more})
    run = told.run
    settings = {name for name in (*alone, *more) if name.startswith("TRIOAGG_")}

    assert settings == {*alone, *more} and unknown_variables({**alone, **more}, told) == []
    assert run.database.startswith("/data/") and "data:/data" in ALONE["trioagg"]["volumes"]
    urls = [urlsplit(url) for url in run.sinks]
    assert {url.scheme for url in urls} <= set(sinks.names()) and {url.hostname for url in urls} <= FULL.keys()
    extras = FULL["trioagg"]["build"]["args"]["EXTRAS"].strip("[]").split(",")
    assert (
        {EXTRAS.get(url.scheme, url.scheme) for url in urls} == set(extras) <= PROJECT["optional-dependencies"].keys()
    )
    told = ALONE["trioagg"]["stop_grace_period"]
    assert int(told[:-1]) * SECONDS[told[-1]] >= 2 * Run().drain_timeout


def test_prometheus_reaches_our_service_by_its_name() -> None:
    """The server answers to the name that it was given: the host's, the target's, at one port."""
    service = ALONE["trioagg"]
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]

    assert options(service["command"])["--serve"] == f"{service['hostname']}:{PORT}"
    assert service["hostname"] == "trioagg" and service["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    assert job["static_configs"] == [{"targets": [f"trioagg:{PORT}"]}]


def test_the_unit_gives_a_stop_its_time_and_bad_settings_no_second_try() -> None:
    """What it starts is a command of ours; its data is where it may write."""
    told = dict(unit())
    command = told["ExecStart"].split()
    given = options(command[1:])

    assert command[0].endswith("/bin/trioagg") and place(given["--serve"]) == ("127.0.0.1", int(PORT))
    assert told["KillSignal"] == "SIGTERM" and int(told["TimeoutStopSec"]) >= 2 * Run().drain_timeout
    assert told["Restart"] == "on-failure" and told["RestartPreventExitStatus"] == str(MISUSED)
    assert told["WorkingDirectory"] == f"/var/lib/{told['StateDirectory']}"


def test_the_unit_may_do_little() -> None:
    """No rights, no new ones, a system that it cannot write, and the network alone."""
    told = unit()
    assert {name for name, value in told if value == "yes"} >= {
        *("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "PrivateUsers", "ProtectHome", "ProtectClock"),
        *("ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups"),
        *("RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "MemoryDenyWriteExecute"),
    }
    found = dict(told)
    assert found["User"] != "root" and found["ProtectSystem"] == "strict" and found["CapabilityBoundingSet"] == ""
    assert found["RestrictAddressFamilies"].split() == ["AF_INET", "AF_INET6", "AF_UNIX"]
    assert [value for name, value in told if name == "SystemCallFilter"] == [
        "@system-service",
        "~@privileged @resources",
    ]
    assert {"MemoryMax", "TasksMax"} <= found.keys()
