"""What a case is asked for, what it measures, and how. Every peer's environment reads this file."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import asdict, define, evolve, field, frozen

START = 10
"""One latency in so many, the first ones, does not count."""


@frozen
class Load:
    """What the load server is asked for.

    Attributes:
        server: its ``host:port``.
        first: the number of the first symbol.
        rate: messages a second, each sent alone; 0 for all at once.
        shape: what the messages are, see ``bench.frames``.
        scheme: ``ws``, or ``wss`` where the server is the one with TLS.
    """

    server: str
    symbols: int
    messages: int
    rate: int = 0
    shape: str = "trade"
    first: int = 0
    scheme: str = "ws"

    @property
    def place(self) -> str:
        """The server's and the request's, without a scheme."""
        return f"{self.server}/{self.shape}/{self.first}/{self.symbols}/{self.messages}/{self.rate}"

    @property
    def ws(self) -> str:
        """Where its WebSocket is."""
        return f"{self.scheme}://{self.place}"

    @property
    def rest(self) -> str:
        """Where its REST is."""
        return f"{self.scheme.replace('ws', 'http')}://{self.place}"

    @property
    def tick(self) -> int:
        """Nanoseconds in one unit of the messages' times."""
        return 1_000 if self.rate else 1_000_000

    def share(self, parts: int) -> list[Load]:
        """As many loads with a part of the symbols and messages each."""
        symbols, messages = self.symbols // parts, self.messages // parts
        return [evolve(self, symbols=symbols, messages=messages, first=n * symbols) for n in range(parts)]


@frozen
class Figures:
    """One run of one case.

    Attributes:
        seconds: from just before the connection was made (peers: from the first message) to the last message's end.
        cpu: seconds of all threads of the client in that time.
        rss: the client's peak memory, MB.
        p50, p99, p999: of the latencies, milliseconds from a message's sending to the event's end; 0 at full speed.
    """

    messages: int
    seconds: float
    cpu: float
    rss: float
    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def micros(self) -> float:
        """CPU microseconds per message."""
        return self.cpu / self.messages * 1e6


@define
class Watch:
    """Runs from when it is made."""

    _wall: float = field(factory=time.perf_counter, init=False)
    _cpu: float = field(factory=time.process_time, init=False)

    def stop(self, messages: int, latencies: Sequence[int] = ()) -> Figures:
        """The figures up to now; latencies in nanoseconds, of which the first part waited for our start."""
        seconds, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        late = sorted(latencies[len(latencies) // START :])
        cuts = [late[int(len(late) * part)] / 1e6 if late else 0.0 for part in (0.5, 0.99, 0.999)]
        return Figures(messages, seconds, cpu, peak(), *cuts)


def peak() -> float:
    """The most memory that this process ever had, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def resident() -> float:
    """The memory that this process has now, MB; where the system does not tell it, the most that it ever had."""
    try:
        told = Path("/proc/self/statm").read_text(encoding="ascii")
        return int(told.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return peak()


def tell(found: Figures | Mapping[str, float]) -> None:
    """Print what a case measured."""
    sys.stdout.write(json.dumps(asdict(found) if isinstance(found, Figures) else found))
