"""What a stranger can try beside the wire of an exchange: certificates, names that are SQL, cells that are formulas."""

from __future__ import annotations

import csv
import io
import os
import ssl
import sys
from decimal import Decimal
from pathlib import Path

import pytest
import trio
from servers import Server
from test_websocket import certificate, presenting
from told_rows import T0, draft

from trioagg import sinks
from trioagg.cli import main
from trioagg.errors import LinkError, SinkError
from trioagg.exchanges import Fetch, load
from trioagg.model import Event, Quarantined, Trade
from trioagg.pipeline.rest import rest_of
from trioagg.settings import Retry, Venue
from trioagg.store import COLUMNS, Writer, database, rows
from trioagg.transport.capture import Captured, Recorder
from trioagg.transport.clock import Stamps
from trioagg.transport.http import open_http
from trioagg.views.table import render

__all__ = ["certificate"]

EVIL = """X'"; DROP TABLE TRADE; --/USDT"""
FORMULA = "=cmd|' /C calc'!A0"


async def greeted(stream: trio.SocketStream, context: ssl.SSLContext) -> None:
    """One client that is offered a certificate, and that says nothing after it, if it is careful."""
    secret = trio.SSLStream(stream, context, server_side=True)
    try:
        await secret.do_handshake()
        assert not await secret.receive_some()
    except trio.BrokenResourceError:
        pass


async def offering(nursery: trio.Nursery, context: ssl.SSLContext) -> int:
    """A server whose certificate nobody vouches for; its port."""

    async def handle(stream: trio.SocketStream) -> None:
        await greeted(stream, context)

    listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, handle, 0)
    port: int = listeners[0].socket.getsockname()[1]
    return port


async def test_rest_refuses_a_certificate_that_nobody_vouches_for(certificate: Path, nursery: trio.Nursery) -> None:
    """The certificates are looked at by default, and a context that does not look is not taken."""
    port = await offering(nursery, presenting(certificate))
    venue = Venue(rest_url=f"https://localhost:{port}")
    async with open_http() as http:
        rest = rest_of(load("binance"), venue, Retry(), http=http, stamps=Stamps())
        with pytest.raises(LinkError, match="TLS certificate not accepted: self-signed certificate"):
            await rest.ask(Fetch("/api/v3/time"), attempts=1)
    careless = ssl.create_default_context()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ValueError, match="must verify"):
        async with open_http(tls=careless):
            raise AssertionError
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("url", ["redis://localhost:{}/0?tls=yes", "kafka://localhost:{}/t?security=ssl&timeout=2"])
async def test_sinks_refuse_it_too(url: str, certificate: Path, nursery: trio.Nursery) -> None:
    """Those that speak TLS by what their URL says."""
    port = await offering(nursery, presenting(certificate))
    async with sinks.connect(url.format(port)) as sink:
        with pytest.raises(SinkError, match=r"(?i)certificate.verify|self.signed|ssl handshake"):
            await sink.write([], draft([]))
    nursery.cancel_scope.cancel()


def events() -> list[Event]:
    """A trade whose market is SQL, and a frame that is a formula."""
    one = Decimal("1.5")
    return [Trade("binance", EVIL, 1, one, one, "buy", T0, T0), Quarantined("binance", T0, EVIL, FORMULA.encode())]


def test_a_name_that_is_sql_ends_as_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stored, chosen and shown as it came."""
    path = tmp_path / "a.db"
    writer = Writer.open(path)
    writer.write(events(), draft(events()))
    writer.close()

    with database(path) as db:
        assert [row["symbol"] for row in rows(db, "trades", symbols=[EVIL], exchanges=["binance"], limit=5)] == [EVIL]
    with pytest.raises(SystemExit) as end:
        main(["export", "trades", "-d", str(path), "-s", EVIL, "--output", str(tmp_path / "a.csv")])
    assert end.value.code == 0


async def test_servers_take_it_as_data_too(server: Server) -> None:
    """Parameters, not text, in every statement."""
    async with sinks.connect(server.url()) as sink:
        written = await sink.write(events(), draft(events()))
    assert (written.stored, written.quarantined) == (1, 1)
    assert server.ask("SELECT symbol FROM trades") == [(EVIL,)]


async def test_servers_take_any_time_and_the_largest_frame(server: Server) -> None:
    """From 1970 to 2255, a number with as many digits as there may be, and 16 MB of what is escaped twice over."""
    numbers = Decimal("9" * 39), Decimal("1e-40")
    times = [0, 1, 4_102_444_800 * 10**9, 8_999_999_999 * 10**9]
    trades = [Trade("binance", "BTC/USDT", n, *numbers, "buy", at, T0 + n) for n, at in enumerate(times)]
    batch: list[Event] = [*trades, Quarantined("binance", T0, "garbled", b"\0'\"\\" * 2**22)]
    async with sinks.connect(server.url()) as sink:
        written = await sink.write(batch, draft(batch))
    assert (written.stored, written.quarantined) == (len(times), 1)
    assert [row[0] for row in server.ask("SELECT timestamp FROM trades ORDER BY timestamp")] == times


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (FORMULA, f"'{FORMULA}"),
        ("+1+cmd|x", "'+1+cmd|x"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("-0.00012", "-0.00012"),
        ("+5", "+5"),
        ("BTC/USDT", "BTC/USDT"),
    ],
)
def test_csv_holds_no_formula(cell: str, shown: str) -> None:
    """A spreadsheet takes it for text; numbers stay numbers."""
    row = dict.fromkeys(COLUMNS["quarantine"], cell)
    _, line = csv.reader(io.StringIO(render([row], "quarantine", "csv")))
    assert set(line) == {shown}


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_terminal_sees_no_control_characters(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an exchange sent."""
    writer = Writer.open(tmp_path / "a.db")
    writer.write([Quarantined("binance", T0, "torn", "\x1b]0;owned\x07 \x9b2J".encode())])
    writer.close()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(SystemExit):
        main(["show", "quarantine", "--format", form, "-d", str(tmp_path / "a.db")])

    told = capsys.readouterr().out
    assert "owned" in told
    assert all(sign.isprintable() or sign == "\n" for sign in told)


@pytest.mark.skipif(os.name == "nt", reason="this system has no such modes")
@pytest.mark.parametrize("made", ["database", "capture", "settings"])
def test_new_files_are_their_owner_s_alone(made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database with its log, captures with their folder, and settings, where sinks are named with passwords."""
    folder = tmp_path / "new"
    if made == "capture":
        recorder = Recorder(folder)
        recorder.write([Captured("binance", T0, "wss://x", b"{}")])
        assert modes(folder) == {0o600}
        recorder.close()
        assert folder.stat().st_mode & 0o777 == 0o700
    else:
        folder.mkdir()
        (make_database if made == "database" else make_settings)(folder)
    assert modes(folder) == {0o600}


def make_database(folder: Path) -> None:
    writer = Writer.open(folder / "a.db")
    writer.write(events())
    assert len(modes(folder)) == 1 < len(list(folder.iterdir()))
    writer.close()


def make_settings(folder: Path) -> None:
    with pytest.raises(SystemExit):
        main(["init", str(folder / "settings.ini")])


def modes(folder: Path) -> set[int]:
    """Who may do what with the files of a folder."""
    return {file.stat().st_mode & 0o777 for file in folder.iterdir()}
