"""How commands take what is typed: without pydantic, which takes longer to load than typer itself.

Typer asks pydantic about every option, given or not. Most here are flags, texts, lists of texts, or words out of a
list, whose class makes one of a text. What it refuses, and all that is rarer, is left to typer, which has the words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from typer.core import TyperCommand, TyperGroup

Ask = Callable[[Any, Any], Any]
"""Typer's own way from where something was typed, and what, to what the command is given."""


class Command(TyperCommand):
    """One that takes it so."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take what was typed behind its name."""
        _lighten(self.get_params(ctx))
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """All commands, with the options before them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take what was typed."""
        _lighten(self.get_params(ctx))
        return super().parse_args(ctx, args)


def _lighten(parameters: Iterable[Any]) -> None:
    for parameter in parameters:
        parameter.process_value = partial(_taken, parameter, parameter.process_value)


def _taken(parameter: Any, ask: Ask, context: Any, typed: Any) -> Any:
    kind = parameter.type_descriptor.annotation
    if kind is bool:
        return ask(context, typed or False)
    if parameter.required and not typed:
        return ask(context, typed)
    if typed is None or kind == list[str]:
        return typed
    with suppress(ValueError):
        if isinstance(typed, str) and isinstance(kind, type) and issubclass(kind, str):
            return kind(typed)
    return ask(context, typed)
