"""``python -m trioagg``: the same as ``trioagg``."""

from __future__ import annotations

from trioagg.cli import main

main()
