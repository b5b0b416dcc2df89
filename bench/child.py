"""One case in a process of its own: ``python -m bench.child MODULE:FUNCTION LOAD [WORD…]`` prints figures as JSON."""

from __future__ import annotations

import gc
import json
import sys

from bench.figures import Load, tell
from bench.peers import call
from bench.server import pin


def main(target: str, load: str, *words: str) -> None:
    """Measure one case."""
    pin(0)
    case = call(target)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 1000)  # as `trioagg run` does, for all cases alike
    tell(case(Load(**json.loads(load)), *words))


if __name__ == "__main__":
    main(*sys.argv[1:])
