"""``trioagg doctor``: what was looked at, how it is, and what helps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from attrs import asdict, frozen

from trioagg.views.table import aligned


@frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        about: ``disk``, ``settings``, or an exchange or sink.
        what: of it.
        state: ``told`` where nothing can be wrong with it.
        found: how it is.
        cure: what helps, where it is wrong.
    """

    about: str
    what: str
    state: Literal["well", "wrong", "told"]
    found: str
    cure: str = ""


def show_findings(findings: Sequence[Finding], form: str) -> bool:
    """Print them: as JSON one object a line, else one line each, with the cure on a line below.

    Returns:
        Whether anything is wrong.
    """
    wrong = [finding for finding in findings if finding.state == "wrong"]
    if form == "json":
        print("\n".join(json.dumps(asdict(finding)) for finding in findings))
        return bool(wrong)
    lines = [(finding.about, finding.what, finding.state, finding.found) for finding in findings]
    for finding, line in zip(findings, aligned(lines, left=4).splitlines(), strict=True):
        print(line)
        if finding.cure:
            print(f"    {finding.cure}")
    print(f"{len(wrong)} of {len(findings)} wrong" if wrong else "all well")
    return bool(wrong)
