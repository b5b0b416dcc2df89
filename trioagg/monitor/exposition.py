"""The text format of Prometheus, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from attrs import frozen

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], float]
"""Labels, and the value that they have; what stands under the empty name is put behind the family's name."""
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@frozen
class Family:
    """All samples of one name.

    Attributes:
        says: what it counts, in one line.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    says: str
    samples: Sequence[Sample]


def exposition(families: Iterable[Family]) -> str:
    """What a scraper reads."""
    return "".join(line for family in families for line in _lines(family))


def histogram(name: str, says: str, buckets: Mapping[float, int], *, count: int, total: float) -> Family:
    """A histogram without labels.

    Args:
        buckets: upper bound → how many are not above it.
        total: the sum of all of them.
    """
    samples: list[Sample] = [({"": "_bucket", "le": f"{bound:g}"}, reached) for bound, reached in buckets.items()]
    ends: list[Sample] = [({"": "_bucket", "le": "+Inf"}, count), ({"": "_sum"}, total), ({"": "_count"}, count)]
    return Family(name, "histogram", says, samples + ends)


def _lines(family: Family) -> Iterable[str]:
    yield f"# HELP {family.name} {family.says}\n# TYPE {family.name} {family.kind}\n"
    for labels, value in family.samples:
        told = ",".join(f'{name}="{text.translate(ESCAPES)}"' for name, text in labels.items() if name)
        yield f"{family.name}{labels.get('', '')}{'{' + told + '}' if told else ''} {value!r}\n"
