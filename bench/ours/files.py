"""Replays: from a capture on the disk to rows."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.figures import Figures, Load, Watch
from bench.frames import HEAD, natives, pattern, single
from bench.ours import run, settings
from trioagg.pipeline.replay import Choice, replay
from trioagg.transport.capture import Captured, line

SOURCE = "wss://stream.binance.com:9443/stream"


def row(load: Load) -> Figures:
    """Capture → committed row: what ``trioagg replay`` does."""
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "capture.jsonl"
        _record(load, capture)
        watch, chosen = Watch(), settings(load, str(Path(folder) / "replayed.db"))
        outcome = run(lambda: replay([capture], chosen, choice=Choice(), progress=lambda lines: None))
        figures = watch.stop(load.messages)
    assert outcome.tally.stored == outcome.tally.received == load.messages
    return figures


def _record(load: Load, file: Path) -> None:
    frames = pattern(load.shape, natives(load.symbols, load.first))
    began = time.time_ns()
    with file.open("wb") as lines:
        for number, frame in enumerate(single(frames, load.messages)):
            lines.write(line(Captured("binance", began + number, SOURCE, frame[HEAD:])))
