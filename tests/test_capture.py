"""Raw captures as files: whole, never overwritten, and read back as they came."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagg.errors import StoreError
from trioagg.transport.capture import HOUR, Captured, Recorder, Torn, line, read


def captured(number: int, *, hour: int = 0, payload: bytes = b"{}") -> Captured:
    """One frame of Binance."""
    return Captured("binance", hour * HOUR + number, "wss://x/stream", payload)


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_any_payload_comes_back_byte_for_byte(payload: bytes) -> None:
    """Text as text, anything else as base64."""
    written = line(captured(1, payload=payload))
    assert written.count(b"\n") == 1 and written.endswith(b"\n")

    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.write(written)
        file.flush()
        assert list(read(Path(file.name))) == [captured(1, payload=payload)]


def test_one_file_per_exchange_and_hour(tmp_path: Path) -> None:
    """A file is complete as soon as the next hour begins; while it grows it says so by its name."""
    recorder = Recorder(tmp_path / "new" / "folder")
    recorder.write([captured(1), captured(2), Captured("kraken", 3, "wss://y", b"[]")])
    recorder.write([captured(4, hour=1)])

    names = sorted(path.name for path in recorder.folder.iterdir())
    assert names == [
        "binance-19700101T00Z.jsonl.gz",
        "binance-19700101T01Z.jsonl.gz.part",
        "kraken-19700101T00Z.jsonl.gz.part",
    ]
    assert list(read(recorder.folder / names[0])) == [captured(1), captured(2)]
    recorder.close()
    assert not list(recorder.folder.glob("*.part"))


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    """A second session of the same hour, and one that left its part behind, each keep their files."""
    (tmp_path / "binance-19700101T00Z-2.jsonl.gz.part").write_bytes(b"left by a crash")
    for number in (1, 2, 3):
        recorder = Recorder(tmp_path)
        recorder.write([captured(number)])
        recorder.close()

    found = {path.name: list(read(path)) for path in tmp_path.glob("*.gz")}
    assert found == {
        "binance-19700101T00Z.jsonl.gz": [captured(1)],
        "binance-19700101T00Z-3.jsonl.gz": [captured(2)],
        "binance-19700101T00Z-4.jsonl.gz": [captured(3)],
    }
    assert (tmp_path / "binance-19700101T00Z-2.jsonl.gz.part").read_bytes() == b"left by a crash"


def test_a_torn_file_gives_what_is_whole(tmp_path: Path) -> None:
    """Rubbish costs its line, a torn end the end; both are named."""
    whole = b"".join(line(captured(number)) for number in range(2000))
    (tmp_path / "torn.gz").write_bytes(gzip.compress(whole)[:-200])
    (tmp_path / "rubbish").write_bytes(b"\n" + line(captured(1)) + b"rubbish\n{}\n" + line(captured(2)))

    *good, torn = read(tmp_path / "torn.gz")
    assert good == [captured(number) for number in range(len(good))] and len(good) > 100
    assert isinstance(torn, Torn) and "torn" in torn.reason
    kinds = [item.where if isinstance(item, Torn) else item.received for item in read(tmp_path / "rubbish")]
    assert kinds == [1, f"{tmp_path}/rubbish:3", f"{tmp_path}/rubbish:4", 2]


@pytest.mark.parametrize("name", ["none", "."])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    """Absent, or a folder."""
    with pytest.raises(StoreError, match=str(tmp_path)):
        list(read(tmp_path / name))


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """Such as a file in its place."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot record"):
        Recorder(tmp_path / "file").write([captured(1)])
