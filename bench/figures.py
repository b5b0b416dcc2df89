"""What a case measures, and how."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from statistics import quantiles

from attrs import define, field, frozen


@frozen
class Load:
    """What the load server is asked for.

    Attributes:
        server: its ``host:port``.
        rate: messages a second, each sent alone; 0 for all at once.
    """

    server: str
    symbols: int
    messages: int
    rate: int = 0

    @property
    def base(self) -> str:
        """Its address, without a scheme."""
        return f"{self.server}/{self.symbols}/{self.messages}/{self.rate}"


@frozen
class Figures:
    """One run of one case.

    Attributes:
        seconds: from just before the connection was made to the last message's end.
        cpu: seconds of all threads of the client in that time.
        rss: the client's peak memory, MB.
        p50, p99: milliseconds from a message's receipt to its commit; 0 where nothing is stored.
    """

    messages: int
    seconds: float
    cpu: float
    rss: float
    p50: float = 0.0
    p99: float = 0.0

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
        """The figures up to now; latencies in nanoseconds."""
        seconds, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        cuts = [cut / 1e6 for cut in quantiles(latencies, n=100)] if len(latencies) > 1 else [0.0] * 99
        return Figures(messages, seconds, cpu, _peak(), cuts[49], cuts[98])


def _peak() -> float:
    """The most memory that this process ever had, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
