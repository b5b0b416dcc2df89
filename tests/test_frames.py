"""Frames taken off in bulk: the same messages as without, in order, at a bounded cost."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

import pytest
import trio
import trio.testing
import trio_websocket
from hypothesis import example, given
from hypothesis import strategies as st

from trioagg.errors import LinkError
from trioagg.transport import websocket
from trioagg.transport.clock import Stamps
from trioagg.transport.frames import Frames, FrameStream, Inbox
from trioagg.transport.pace import Pace, nap
from trioagg.transport.splitter import Splitter, split

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FINAL, MASKED = 0x80, 0x80
SMALL, LARGE = 300, 100_000
"""The largest message, in the two worlds of the property test."""

Message = tuple[int, bytes]


def frame(opcode: int, payload: bytes = b"", *, first: int = FINAL, second: int = 0, width: int | None = None) -> bytes:
    """A server's frame; ``first`` and ``second``: bits beside opcode and size; ``width``: bytes for the size."""
    size = len(payload)
    if width is None:
        width = 0 if size < 126 else 2 if size < 65536 else 8
    short = {0: size, 2: 126, 8: 127}[width]
    return bytes([first | opcode, second | short]) + (size.to_bytes(width) if width else b"") + payload


def fragments(opcode: int, payload: bytes, parts: int, between: bytes = b"") -> bytes:
    """A message in so many frames, with other frames between them."""
    step = len(payload) // parts + 1
    pieces = [payload[i : i + step] for i in range(0, step * parts, step)]
    last = len(pieces) - 1
    return between.join(frame(0 if i else opcode, piece, first=FINAL * (i == last)) for i, piece in enumerate(pieces))


def closing(code: int, reason: str = "") -> bytes:
    """A server's close frame."""
    return frame(CLOSE, code.to_bytes(2) + reason.encode())


def answer_to(request: bytes) -> bytes:
    """The server's half of the handshake."""
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
    assert key
    digest = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


class Wire(trio.abc.Stream):
    """A server as its bytes: it answers the handshake and sends the rest, cut as told, and ends."""

    def __init__(self, sends: bytes, cuts: Iterable[int]) -> None:
        self.sent: list[bytes] = []
        self.closed = False
        self._sends = sends
        self._cuts = itertools.cycle(cuts)
        self._asked = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        if not self._asked.is_set():
            self._sends = answer_to(bytes(data)) + self._sends
            self._asked.set()
        else:
            self.sent.append(unmask(bytes(data)))

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await self._asked.wait()
        await trio.lowlevel.checkpoint()
        cut = min(next(self._cuts), max_bytes or len(self._sends))
        chunk, self._sends = self._sends[:cut], self._sends[cut:]
        return chunk

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    @property
    def left(self) -> int:
        """Bytes that nobody has read yet."""
        return len(self._sends)

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


def unmask(data: bytes) -> bytes:
    """The opcode and the payload of a client's short frame."""
    key, payload = data[2:6], data[6:]
    return data[:1] + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


async def plainly(wire: Wire, max_size: int) -> tuple[list[Message], int]:
    """What trio-websocket alone makes of it: the messages and the close code."""
    messages: list[Message] = []
    async with trio.open_nursery() as nursery:
        bare = await trio_websocket.wrap_client_stream(
            nursery,
            wire,  # type: ignore[arg-type]
            "h",
            "/",
            message_queue_size=0,
            max_message_size=max_size,
        )
        with suppress(trio_websocket.ConnectionClosed):
            while True:
                message = await bare.get_message()
                messages.append((TEXT, message.encode()) if isinstance(message, str) else (BINARY, message))
        nursery.cancel_scope.cancel()
    assert bare.closed
    return messages, bare.closed.code


async def through(wire: Wire, max_size: int) -> tuple[list[Message], int]:
    """What our Socket makes of it."""
    messages: list[Message] = []

    async def receive_all() -> None:
        async with websocket.over(wire, "h", "/", stamps=Stamps(), max_size=max_size) as socket:
            while True:
                frames = await socket.receive()
                assert all(type(payload) is bytes for payload in frames.payloads)
                messages.extend((BINARY if frames.binary else TEXT, payload) for payload in frames.payloads)

    with pytest.raises(LinkError, match=r"\(\d{4}") as end:
        await receive_all()
    return messages, int(re.findall(r"\((\d{4})", str(end.value))[0])


def messages(sizes: Sequence[int]) -> st.SearchStrategy[bytes]:
    """One message or control frame, nothing wrong with it."""
    payload = st.sampled_from(sizes).map(lambda size: b"\x81\x03" * (size // 2))
    text = st.one_of(st.sampled_from(sizes).map(lambda size: b"x" * size), st.text(max_size=40).map(str.encode))
    control = st.sampled_from([frame(PING, b"ping"), frame(PONG, b"pong"), frame(PING), b""])
    return st.one_of(
        text.map(lambda it: frame(TEXT, it)),
        payload.map(lambda it: frame(BINARY, it)),
        control,
        st.builds(fragments, st.just(TEXT), text, st.integers(2, 4), control),
        st.builds(fragments, st.just(BINARY), payload, st.integers(2, 4), control),
    )


def endings(limit: int) -> st.SearchStrategy[bytes]:
    """What ends a connection, or is wrong in one way."""
    return st.sampled_from(
        [
            closing(1000),
            closing(1001, "going"),
            closing(4321, "private"),
            closing(1005),
            frame(CLOSE),
            frame(CLOSE, b"\x03"),
            frame(TEXT, "é".encode() * limit),  # too many bytes, just few enough characters
            frame(TEXT, b"x" * (limit + 1)),
            frame(BINARY, b"x" * (limit + 1)),
            fragments(TEXT, b"x" * (limit + 1), 3),
            fragments(TEXT, b"\xff\xfe", 2),
            frame(TEXT, b"abcd" + b"masked", second=MASKED),
            frame(TEXT, b"x", first=FINAL | 0x40),
            frame(TEXT, b"x", first=FINAL | 0x10),
            frame(3, b"x"),
            frame(11, b"x"),
            frame(PING, b"x", first=0),
            frame(PING, b"x" * 126),
            frame(0, b"no message to go on with"),
            frame(TEXT, b"begun", first=0) + frame(TEXT, b"and begun again"),
            frame(BINARY, b"begun", first=0) + frame(BINARY, b"and begun again"),
            frame(TEXT, b"wordy", width=2),
            frame(TEXT, b"wordy" * 100, width=8),
            frame(BINARY, b"wordy" * 100, width=8),
            b"\x81\x7f" + b"\xff" * 8,
        ]
    )


torn = st.sampled_from(
    [frame(TEXT, b"torn" * 50)[:-1], frame(BINARY, b"torn" * 50)[:-1], b"\x81\x7e\x00", b"\x81", b""]
)


def servers(limit: int, sizes: Sequence[int], cuts: st.SearchStrategy[list[int]]) -> st.SearchStrategy[object]:
    """What a server sends, how it is cut, and the largest message that its client takes."""
    some = st.lists(messages(sizes), max_size=8).map(b"".join)
    end = torn | st.builds(bytes.__add__, endings(limit), some)
    return st.tuples(st.just(limit), st.builds(bytes.__add__, some, end), cuts)


small = servers(SMALL, [0, 1, 2, 125, 126, 127, 300], st.lists(st.integers(1, 40) | st.integers(1, 2000), min_size=1))
large = servers(
    LARGE, [0, 126, 65535, 65536, 65537, 100_000], st.lists(st.integers(1, 9), max_size=9).map(lambda c: [*c, 7000])
)


@given(small | large)
@example((SMALL, frame(TEXT, b"a") + fragments(TEXT, b"middle", 3, frame(PING)) + frame(TEXT, b"z"), [65536]))
@example((SMALL, frame(BINARY, b"a") * 9 + frame(TEXT, b"z") + frame(BINARY, b"x" * 301), [65536]))
@example((SMALL, frame(TEXT, b"a") + closing(1001, "going") + frame(TEXT, b"late") + frame(PING), [1]))
def test_any_bytes_cut_anywhere_mean_what_they_mean_to_plain_trio_websocket(
    server: tuple[int, bytes, list[int]],
) -> None:
    """The same messages in the same order, the same end, the same answers to the server."""
    limit, sends, cuts = server
    bare, ours = Wire(sends, cuts), Wire(sends, cuts)
    assert trio.run(through, ours, limit) == trio.run(plainly, bare, limit)
    assert ours.sent == bare.sent
    assert ours.closed


async def drain(stream: trio.abc.Stream, max_bytes: int | None = None) -> list[bytes]:
    """Reads a stream as a WebSocket library would, with the handshake begun."""
    await stream.send_all(b"Sec-WebSocket-Key: key\r\n\r\n")
    pieces = []
    while piece := await stream.receive_some(max_bytes):
        pieces.append(bytes(piece))
    return pieces


async def nothing_made() -> None:
    """A WebSocket that swallows what it is given."""


def stream_over(wire: trio.abc.Stream, now: int = 5000, *, rest: float = 0) -> tuple[FrameStream, Inbox]:
    """A stream at a time that stands, with nothing above it."""
    inbox = Inbox()
    stream = FrameStream(wire, inbox, stamps=Stamps(lambda: now), max_size=SMALL, rest=rest)
    stream.attach(nothing_made)
    return stream, inbox


@pytest.mark.parametrize("max_bytes", [1, 2, 7, None])
async def test_the_library_gets_all_that_is_not_ours_in_the_sizes_that_it_asks_for(max_bytes: int | None) -> None:
    """No more than max_bytes at once, nothing empty before the end, nothing lost or added."""
    others = [frame(PING, b"are you there"), frame(BINARY, b"0123456789"), closing(1000), frame(TEXT, b"late")]
    wire = Wire(frame(TEXT, b"ours").join(others[:3]) + others[3], [11])
    stream, _ = stream_over(wire)
    pieces = await drain(stream, max_bytes)
    assert b"".join(pieces).partition(b"\r\n\r\n")[2] == b"".join(others)
    assert all(0 < len(piece) <= (max_bytes or 1000) for piece in pieces)
    with pytest.raises(ValueError, match="max_bytes"):
        await stream.receive_some(0)


async def test_a_read_comes_up_as_one_batch_with_a_stamp_for_each_frame() -> None:
    """Frames of one read share a list; frame i has stamp ``at + i``, which nothing else has."""
    reads = [frame(TEXT, b"aa") + frame(TEXT, b"bb") + frame(TEXT, b"cc"), frame(TEXT, b"dd")]
    wire = Wire(b"".join(reads), [len(answer_to(b"Sec-WebSocket-Key: key")), *map(len, reads)])
    stream, inbox = stream_over(wire)
    await drain(stream)
    assert await inbox.get() == Frames(5000, [b"aa", b"bb", b"cc"])
    assert await inbox.get() == Frames(5003, [b"dd"])
    with pytest.raises(LinkError, match=r"ended without a good-bye \(1006\)"):
        await inbox.get()


async def test_text_that_is_no_utf8_comes_up_as_it_is() -> None:
    """Judging the payload is the reader's business: one bad message must not cost the connection."""
    stream, inbox = stream_over(Wire(frame(TEXT, b"\xff\xfe") + frame(TEXT, b"good"), [4096]))
    await drain(stream)
    assert (await inbox.get()).payloads == [b"\xff\xfe", b"good"]


async def test_a_slow_consumer_makes_the_reader_wait(nursery: trio.Nursery) -> None:
    """Without a consumer a bounded number of reads is taken; each batch that it takes lets one more in."""
    one = frame(TEXT, b"x" * 100)
    wire = Wire(one * 1000, [len(one)])
    stream, inbox = stream_over(wire)
    nursery.start_soon(drain, stream)
    await trio.testing.wait_all_tasks_blocked()
    waiting = wire.left
    assert waiting > 900 * len(one)
    assert stream.listening_since is None
    await inbox.get()
    await trio.testing.wait_all_tasks_blocked()
    assert wire.left == waiting - len(one)
    nursery.cancel_scope.cancel()


async def test_all_that_came_is_given_before_the_end_is_told(autojump_clock: trio.testing.MockClock) -> None:
    """Also what the reader waits upon for room, or was cancelled upon; what comes after the end is dropped."""
    inbox, put = Inbox(), 0
    with trio.move_on_after(0.01) as scope:
        while True:
            put += 1
            await inbox.put(Frames(put, [b"x"]))
    assert scope.cancelled_caught
    inbox.finish("over")
    inbox.finish("again")
    await inbox.put(Frames(put + 1, [b"late"]))
    assert [(await inbox.get()).at for _ in range(put)] == list(range(1, put + 1))
    with pytest.raises(LinkError, match="over"):
        await inbox.get()


async def test_whoever_waits_hears_of_the_end(nursery: trio.Nursery) -> None:
    """The owner of an empty inbox, and the reader of a full one that nobody empties any more."""
    inbox, full = Inbox(), Inbox()

    async def fill() -> None:
        for at in range(1000):
            await full.put(Frames(at, [b"x"]))

    async def end() -> None:
        await trio.testing.wait_all_tasks_blocked()
        inbox.finish("over")
        full.leave()

    nursery.start_soon(end)
    nursery.start_soon(fill)
    with pytest.raises(LinkError, match="over"):
        await inbox.get()


async def test_nothing_passes_before_the_one_above_is_ready(nursery: trio.Nursery) -> None:
    """Else the message that came with the handshake would have nobody to collect it."""
    inbox = Inbox()
    stream = FrameStream(Wire(frame(BINARY, b"early"), [4096]), inbox, stamps=Stamps(), max_size=SMALL)
    pieces: list[bytes] = []

    async def read() -> None:
        pieces.extend(await drain(stream))

    async def collect() -> bytes | None:
        return b"early" if stream.message_ended else None

    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked()
    assert not stream.message_ended
    stream.attach(collect)
    assert (await inbox.get()).payloads == [b"early"]


async def test_after_the_end_nothing_passes() -> None:
    """What still comes is dropped, rather than piled up in a library that no longer looks at it."""
    stream = FrameStream(Wire(frame(PING, b"x") * 9, [4096]), Inbox(), stamps=Stamps(), max_size=SMALL)

    async def collect() -> None:
        raise LinkError("over")

    stream.attach(collect)
    assert len(await drain(stream)) == 1


def sort(splitter: Splitter, data: bytes, step: int) -> tuple[list[bytes], list[bytes]]:
    """Feeds ``data`` in pieces: the payloads cut off, and what passed."""
    texts: list[bytes] = []
    passed: list[bytes] = []
    for at in range(0, len(data), step):
        splitter.feed(data[at : at + step])
        while not splitter.empty:
            texts += splitter.texts()
            passed.append(splitter.passing())
    return texts, passed


def opened(max_size: int) -> Splitter:
    """A splitter past the handshake."""
    splitter = Splitter(max_size)
    sort(splitter, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 100)
    assert splitter.open
    return splitter


def test_a_huge_frame_in_tiny_pieces_costs_in_proportion_to_its_size() -> None:
    """Eight times the size takes far less than the 64 times that joining at every piece would take."""

    def seconds(size: int) -> float:
        splitter, data = opened(size), frame(TEXT, bytes(size))
        start = time.process_time()
        texts, _ = sort(splitter, data, 512)
        assert texts == [bytes(size)]
        return time.process_time() - start

    few, many = (min(seconds(size) for _ in range(3)) for size in (500_000, 4_000_000))
    assert many < 24 * few


def test_a_frame_over_the_limit_is_not_kept() -> None:
    """It passes piece by piece, for the WebSocket to refuse."""
    data = frame(TEXT, bytes(50_000))
    texts, passed = sort(opened(49_999), data, 1000)
    assert not texts
    assert b"".join(passed) == data
    assert len(passed) == 51


def test_a_refused_handshake_passes_to_the_end() -> None:
    """What looks like frames in the body of a refusal is none."""
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n" + frame(TEXT, b"not me!")
    splitter = Splitter(SMALL)
    texts, passed = sort(splitter, refusal, 10)
    assert (texts, b"".join(passed)) == ([], refusal)
    assert splitter.status == "HTTP/1.1 403 Forbidden"


def test_splitting_starts_and_stops_where_it_is_told() -> None:
    """Only whole plain text frames within the limits are cut off."""
    data = b"??" + frame(TEXT, b"aa") + frame(TEXT, b"bbb") + frame(TEXT, b"c" * 200)
    assert split(data, 2, 200) == ([b"aa", b"bbb", b"c" * 200], len(data))
    assert split(data, 2, 199) == ([b"aa", b"bbb"], 11)
    assert split(data[:-1], 2, 200) == ([b"aa", b"bbb"], 11)
    assert split(data + frame(TEXT, b"d"), 2, 200) == ([b"aa", b"bbb", b"c" * 200], len(data))


@pytest.mark.parametrize("step", [1, 2, 3, 4096])
def test_a_message_of_less_than_two_bytes_passes(step: int) -> None:
    """At once and in its order, wherever the bytes are cut."""
    tiny = frame(TEXT) + frame(TEXT, b"x")
    texts, passed = sort(opened(SMALL), frame(TEXT, b"aa") + tiny + frame(TEXT, b"bb") + tiny, step)
    assert texts == [b"aa", b"bb"]
    assert b"".join(passed) == tiny * 2


def test_stamps_are_unique_while_the_clock_stands_or_steps_back_a_little() -> None:
    """No nanosecond is given twice; a clock put right by a second or more is followed."""
    second = 1_000_000_000
    clock = iter([5 * second, 5 * second, 5 * second - 10, 4 * second + 100, 9 * second, 7 * second])
    stamps = Stamps(lambda: next(clock))
    assert stamps.take(3) == 5 * second
    assert stamps.take() == 5 * second + 3
    assert stamps.take() == 5 * second + 4
    assert stamps.take(200) == 5 * second + 5
    assert stamps.take() == 9 * second
    assert stamps.take() == 7 * second


def test_a_brisk_feed_is_let_gather() -> None:
    """After some reads that brought a frame at once; as long as a rest brings several; never on a quiet feed."""
    pace = Pace()

    def told(*reads: tuple[float, int]) -> list[bool]:
        rests = []
        for seconds, frames in reads:
            pace.waited(seconds)
            pace.brought(frames)
            rests.append(pace.resting)
        return rests

    assert told(*[(0.01, 1)] * 20) == [False] * 20
    assert told(*[(0.0001, 1)] * 5) == [False, False, False, True, False]
    assert told((0.0001, 1), (0, 20), (0, 20), (0, 2), (0.01, 1)) == [True, True, True, False, False]
    assert told(*[(0, 500)] * 5) == [False] * 5


async def test_resting_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Frames that come one by one, at once: all of them come through, in order, and time has passed."""
    one = [frame(TEXT, b"%02d" % n) for n in range(50)]
    wire = Wire(b"".join(one), [len(piece) for piece in one])
    stream, inbox = stream_over(wire, rest=0.002)
    got: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain, stream)
        while len(got) < 50:
            got += (await inbox.get()).payloads
        nursery.cancel_scope.cancel()

    assert got == [b"%02d" % n for n in range(50)]
    assert trio.current_time() > 0


async def test_a_nap_takes_its_time(autojump_clock: trio.testing.MockClock) -> None:
    """Neither less nor more than it was told, and nothing is cancelled by it."""
    await nap(0.002)
    await trio.lowlevel.checkpoint()
    assert trio.current_time() == pytest.approx(0.002)


async def test_a_nap_ends_at_once_where_it_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    """The next checkpoint tells; nothing of it leaks to those outside the scope that was cancelled."""
    with trio.move_on_after(1) as scope:
        await nap(60)
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(1)
    await trio.lowlevel.checkpoint()
