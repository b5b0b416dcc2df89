"""The recorder: complete files at the end, and nothing left unwritten without a word."""

from __future__ import annotations

from pathlib import Path

import trio

from trioagg.pipeline.flow import flow
from trioagg.pipeline.record import record
from trioagg.transport.capture import Captured, read


def frames(count: int) -> list[Captured]:
    """Frames of one hour."""
    return [Captured("binance", number, "wss://x", b"{}") for number in range(count)]


async def test_what_is_in_the_flow_is_written(tmp_path: Path) -> None:
    """And the file is complete when the flow has ended."""
    inlet, outlet = flow("recorder", 10)
    failures: list[str] = []
    inlet.put(frames(25_000))
    inlet.close()
    await record(outlet, tmp_path, failures)

    assert list(read(tmp_path / "binance-19700101T00Z.jsonl.gz")) == frames(25_000) and failures == []


async def test_a_stop_that_leaves_lines_behind_says_so(tmp_path: Path) -> None:
    """A recorder that is cancelled counts what it did not write."""
    inlet, outlet = flow("recorder", 10)
    failures: list[str] = []
    inlet.put(frames(3))
    with trio.CancelScope() as scope:
        scope.cancel()
        await record(outlet, tmp_path, failures)

    assert failures == [f"3 lines were not written to {tmp_path}"]


async def test_a_folder_that_fails_ends_the_recording_alone(tmp_path: Path) -> None:
    """Its flow is kept empty, so that it holds up nobody, and the reason is told once."""
    (tmp_path / "file").write_text("x")
    inlet, outlet = flow("recorder", 10)
    failures: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(record, outlet, tmp_path / "file", failures)
        for _ in range(5):
            inlet.put(frames(20))
            with trio.fail_after(5):
                await inlet.room()
        inlet.close()

    assert len(failures) == 1 and "cannot record" in failures[0]
