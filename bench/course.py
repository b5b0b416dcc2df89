"""Whether a process needs more the older it gets. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import fields

from bench.collector import Figures

LEAST = 1200
"""Figures without which nothing can be told: before the third sixth, a large frame must fill the database's cache."""
RISE = 1.05
"""What is still flat: memory is never given back to the last byte."""


def ages(course: Sequence[Figures]) -> Mapping[str, tuple[int, int]]:
    """What it needed when it was warm, in the third sixth of its life, and in the last one, by name."""
    part = max(len(course) // 6, 1)
    young, old = course[2 * part : 3 * part] or course, course[-part:]
    return {item.name: (_least(young, item.name), _least(old, item.name)) for item in fields(Figures)}


def risen(course: Sequence[Figures]) -> list[str]:
    """What it needed more of when it was old, a line each; nothing of a life that is too short to tell."""
    known = ages(course).items() if len(course) >= LEAST else ()
    return [f"{name} rose from {young:,.0f} to {old:,.0f}" for name, (young, old) in known if old > RISE * young]


def _least(part: Sequence[Figures], name: str) -> int:
    """What it falls back to: what is held for good is there at all times, the copies of a frame of 10 MB are not."""
    needs: list[int] = [getattr(figures, name) for figures in part]
    return min(needs)
