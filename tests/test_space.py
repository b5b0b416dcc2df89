"""The disk: how much of it is free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from structlog.testing import capture_logs

from trioagg.pipeline.space import MEGABYTE, Space, disk


async def test_what_is_free_is_known(tmp_path: Path) -> None:
    """In megabytes, where the database is, by the last look."""
    told: Iterator[int] = iter([600, 400])
    asked: list[Path] = []

    def room(folder: Path) -> int:
        asked.append(folder)
        return next(told) * MEGABYTE

    space = Space(tmp_path / "a.db", room)
    assert space.free is None
    for expected in (600, 400):
        await space.look()
        assert space.free == expected

    assert asked == [tmp_path] * 2


async def test_a_folder_that_cannot_be_looked_at_ends_nothing(tmp_path: Path) -> None:
    """Whoever took it away hears of it from the writer; and a real one has some room."""
    space = Space(tmp_path / "absent" / "a.db", free=7)
    with capture_logs() as logs:
        await space.look()

    assert [entry["log_level"] for entry in logs] == ["debug"] and space.free is None
    assert disk(tmp_path) > 0
