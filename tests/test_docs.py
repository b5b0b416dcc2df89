"""README, ARCHITECTURE and the exchanges' pages tell what the code does today."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import attrs
import pytest
import typer.testing
from plain_sql import plain

from trioagg import __version__, exchanges, sinks
from trioagg.cli import app
from trioagg.settings import SECTIONS, Venue
from trioagg.store import Writer

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme_and_explains_itself(command: str) -> None:
    """With an example in its help, and a line for each of its options."""
    assert f"`trioagg {command}" in README
    told = typer.testing.CliRunner().invoke(app, [command, "--help"]).output
    assert f"Example: trioagg {command}" in told


def test_the_readme_names_no_command_that_is_not_there() -> None:
    """Every `trioagg WORD` in it is one."""
    assert set(re.findall(r"`trioagg ([a-z]+)", README)) <= set(COMMANDS)


def test_every_setting_is_in_the_readme() -> None:
    """By its name."""
    for kind in (*SECTIONS.values(), Venue):
        for item in attrs.fields(kind):
            assert f"`{item.name}`" in README, item.name


def test_the_quick_start_is_two_lines() -> None:
    """Each sets up everything; the second is what the continuous integration runs."""
    block = README.partition("## Quick start")[2].partition("```sh\n")[2].partition("```")[0]
    assert [line.rpartition(" ")[2] for line in block.splitlines()] == ["run", "tests"]


def test_the_readme_s_columns_are_the_database_s(tmp_path: Path) -> None:
    """Every table or view that it names, with these columns in this order."""
    Writer.open(tmp_path / "a.db").close()
    told = re.findall(r"^\| `(\w+)` \| `([\w, ]+)` \|$", README, flags=re.MULTILINE)
    assert len(told) >= 6
    with closing(plain(tmp_path / "a.db")) as db:
        for table, columns in told:
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            assert names[: len(columns.split(", "))] == columns.split(", "), table


def test_every_exchange_is_in_the_readme_and_has_a_page() -> None:
    """The table lists its channels; the page's evidence is in its transcript."""
    for name in exchanges.names():
        channels = ", ".join(sorted(exchanges.load(name).channels()))
        assert f"| [{name}](docs/exchanges/{name}.md) | {channels} |" in README
        assert (ROOT / "docs" / "exchanges" / f"{name}.md").is_file()


@pytest.mark.parametrize("name", exchanges.names())
def test_the_pages_of_exchanges_are_built_alike(name: str) -> None:
    """The same headings in the same order, and no promises."""
    page = (ROOT / "docs" / "exchanges" / f"{name}.md").read_text(encoding="utf-8")
    assert re.findall(r"^#+ (.*)", page, flags=re.MULTILINE)[1:] == [
        "Channels",
        "Proof",
        "Repair",
        "Quirks",
        "Coverage",
    ]
    assert "follow later" not in page


def test_every_sink_is_in_the_readme() -> None:
    """By the scheme of its URL."""
    assert all(f"{name}://" in README for name in sinks.names())


def test_the_map_names_every_room() -> None:
    """Folders and files at the top of the package, no more and no fewer."""
    told = set(re.findall(r"`trioagg/(\w+)(?:/|\.py)`", ARCHITECTURE))
    there = {
        path.stem for path in (ROOT / "trioagg").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert told == there - {"__init__", "__main__"}


def test_every_link_leads_somewhere() -> None:
    """Relative links in all papers."""
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_changelog_has_this_version() -> None:
    """Even before it is released."""
    assert __version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
