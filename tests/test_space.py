"""The disk: told before it is full, once, and once more when it is well again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from structlog.testing import capture_logs

from trioagg.pipeline.space import MEGABYTE, Space, free


async def test_a_disk_that_fills_up_is_told_once(tmp_path: Path) -> None:
    """One warning while it lasts, one line when there is room again, and a warning the next time."""
    told: Iterator[int] = iter([600, 400, 300, 600, 700, 100])
    asked: list[Path] = []

    def room(folder: Path) -> int:
        asked.append(folder)
        return next(told) * MEGABYTE

    space = Space(tmp_path / "a.db", 500, room)
    with capture_logs() as logs:
        for _ in range(6):
            await space.look()

    assert asked == [tmp_path] * 6
    assert [(entry["log_level"], entry["free_mb"]) for entry in logs] == [
        ("warning", 400),
        ("info", 600),
        ("warning", 100),
    ]


async def test_a_folder_that_cannot_be_looked_at_ends_nothing(tmp_path: Path) -> None:
    """Whoever took it away hears of it from the writer; and a real one has some room."""
    with capture_logs() as logs:
        await Space(tmp_path / "absent" / "a.db", 500).look()

    assert [entry["log_level"] for entry in logs] == ["debug"]
    assert free(tmp_path) > 0
