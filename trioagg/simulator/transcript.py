"""Transcripts: one exchange's conversation as text, for tests, fuzzing and people.

A transcript is package data, ``scripts/NAME.txt``. Empty lines and lines that begin with ``#`` are comments. The first
line that is neither says what is collected::

    feed symbols=BTC/USDT,ETH/USDT channels=trades,ticker interval=5

Then follow, in the order of the conversation:

====== ==========================================================
``~``  the path that the adapter connects to
``>``  a frame that it sends
``>>`` the path of a request; with `` @ SECONDS``, a repeated one
``<``  a frame that comes in
``<<`` the body that answers the request before it
``=``  what the frame or body above means: an event or an action
``!``  why the frame or body above is refused
====== ==========================================================

The i-th incoming line arrives at ``i`` seconds after the epoch, so a transcript is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from attrs import define, field

from trioagg.errors import SettingsError
from trioagg.exchanges import Output
from trioagg.model import Instrument, Quarantined

MARKS = ("~", ">>", ">", "<<", "<", "=", "!")


@define
class Step:
    """One line of a conversation, with what it means.

    Attributes:
        mark: see the module's docstring.
        text: the rest of the line.
        line: its number in the file.
        meaning: the lines below it that say what an incoming line means.
        refusal: why it is refused; None where it is understood.
    """

    mark: str
    text: str
    line: int
    meaning: list[str] = field(factory=list)
    refusal: str | None = None


@define
class Transcript:
    """A conversation.

    Attributes:
        feed: the words of the feed line.
        steps: in order; meanings and refusals lie within the step that they belong to.
    """

    feed: dict[str, str]
    steps: list[Step]

    def incoming(self) -> Iterator[Step]:
        """What the exchange says."""
        return (step for step in self.steps if step.mark in ("<", "<<"))


def load(name: str) -> Transcript:
    """The transcript of an exchange.

    Raises:
        SettingsError: there is none, or a line of it cannot be read.
    """
    script = files("trioagg.simulator").joinpath("scripts", f"{name}.txt")
    if not script.is_file():
        raise SettingsError(f"there is no transcript of {name!r}")
    return parse(script.read_text(encoding="utf-8"))


def parse(text: str) -> Transcript:
    """Read a transcript.

    Raises:
        SettingsError: naming the line that cannot be read.
    """
    feed: dict[str, str] = {}
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), 1):
        mark, _, rest = line.partition(" ")
        if mark == "feed":
            feed = dict(word.split("=", 1) for word in rest.split())
        elif mark == "=" and steps:
            steps[-1].meaning.append(rest)
        elif mark == "!" and steps:
            steps[-1].refusal = rest
        elif mark in MARKS:
            steps.append(Step(mark, rest, number))
        elif mark and not mark.startswith("#"):
            raise SettingsError(f"transcript line {number}: unknown mark {mark!r}")
    return Transcript(feed, steps)


def describe(item: Output | Instrument) -> str:
    """An event or action as a transcript writes it: its kind, then every field that is there."""
    if isinstance(item, Quarantined):
        return f"quarantined {item.reason}"
    fields = {name: getattr(item, name) for name in type(item).__match_args__ if name not in ("exchange", "received")}
    words = [f"{name}={_word(value)}" for name, value in fields.items() if value is not None]
    return " ".join([type(item).__name__.lower(), *words])


def _word(value: object) -> str:
    """A value; the levels of a book as ``price:amount``, best first."""
    if isinstance(value, tuple):
        return ",".join(f"{price}:{amount}" for price, amount in value)
    return str(value)
