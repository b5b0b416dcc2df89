"""The shape of the code: small bodies, documented names, narrow excepts, bounded channels."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

import trioagg

HOUSE = Path(trioagg.__file__).parent
SOURCES = {
    str(path.relative_to(HOUSE)): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(HOUSE.rglob("*.py"))
}
LONGEST_BODY, MEDIAN_BODY, LONGEST_FILE = 60, 5, 400
FENCES = {"pipeline/supervise.py"}
"""Where a bug of one feed is kept from the others: the only files that may catch every exception."""

GAUGED = {"pipeline/flow.py"}
"""Where a channel of batches is bounded by the messages in it, which Trio cannot count."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Every node of some kinds, with where it is."""
    for name, tree in sorted(SOURCES.items()):
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                yield f"{name}:{getattr(node, 'lineno', 0)}", node


def bodies() -> dict[str, int]:
    """Where each function is → the lines of its body, without its docstring."""
    sizes = {}
    for where, node in nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, Function)
        first = node.body[1:] if ast.get_docstring(node) else node.body
        sizes[f"{where} {node.name}"] = (node.end_lineno or 0) - first[0].lineno + 1 if first else 0
    return sizes


def test_functions_are_small() -> None:
    """A body fits on a screen; most are a handful of lines."""
    sizes = bodies()

    assert {where: size for where, size in sizes.items() if size > LONGEST_BODY} == {}
    assert statistics.median(sizes.values()) <= MEDIAN_BODY


def test_files_are_short() -> None:
    """No file is a pile."""
    lengths = {name: (HOUSE / name).read_text(encoding="utf-8").count("\n") for name in SOURCES}

    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


@pytest.mark.parametrize("name", SOURCES)
def test_public_names_are_documented(name: str) -> None:
    """Each module, and each public class and function in it, says what it is for."""
    public = [
        node
        for node in SOURCES[name].body
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
    ]

    assert ast.get_docstring(SOURCES[name])
    assert [node.name for node in public if not ast.get_docstring(node)] == []


def test_nothing_catches_everything() -> None:
    """A broad except that does not raise again hides bugs: only the fence around a feed has one."""
    broad = {where for where, node in nodes(ast.ExceptHandler) if isinstance(node, ast.ExceptHandler) and hides(node)}

    assert {where for where in broad if where.split(":")[0] not in FENCES} == set()


def test_channels_have_a_named_bound() -> None:
    """A channel's size is a name that tells what it is, never a bare number, never infinite."""
    sizes = {where: node.args for where, node in nodes(ast.Call) if isinstance(node, ast.Call) and opens_channel(node)}

    bare = {where for where, args in sizes.items() if not args or isinstance(args[0], ast.Constant)}
    endless = {where for where, args in sizes.items() for part in args if "inf" in ast.unparse(part).split(".")}
    assert {where for where in bare | endless if where.split(":")[0] not in GAUGED} == set()


def test_adapters_are_never_reset() -> None:
    """A reconnect is a new adapter, so none has a way back to its beginning."""
    resets = [
        where
        for where, node in nodes(ast.FunctionDef)
        if where.startswith("exchanges/")
        and isinstance(node, ast.FunctionDef)
        and node.name.strip("_").startswith(("reset", "clear", "reconnect"))
    ]

    assert resets == []


def hides(handler: ast.ExceptHandler) -> bool:
    """Whether a handler takes every exception and does not end by raising it again."""
    caught = ast.walk(handler.type) if handler.type else [ast.Name("BaseException")]
    broad = any(isinstance(part, ast.Name) and part.id in {"Exception", "BaseException"} for part in caught)
    last = handler.body[-1]
    return broad and not (isinstance(last, ast.Raise) and last.exc is None)


def opens_channel(call: ast.Call) -> bool:
    """Whether a call is ``open_memory_channel(…)`` or ``open_memory_channel[…](…)``."""
    function = call.func.value if isinstance(call.func, ast.Subscript) else call.func
    return ast.unparse(function).endswith("open_memory_channel")
