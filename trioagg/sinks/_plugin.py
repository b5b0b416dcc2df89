"""Finds the module that a URL's scheme names, among those of a folder."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from trioagg.errors import SettingsError
from trioagg.settings import redacted


def names(folder: ModuleType) -> list[str]:
    """The schemes that there are: the files of the folder, none of them imported."""
    return sorted(module.name for module in pkgutil.iter_modules(folder.__path__) if not module.name.startswith("_"))


def plugin(folder: ModuleType, url: str) -> ModuleType:
    """The module of a URL's scheme.

    Raises:
        SettingsError: there is none, or its library is not installed.
    """
    scheme = url.partition(":")[0]
    if scheme not in names(folder):
        strange, what = redacted(url).partition(":")[0], folder.__name__.rpartition(".")[2].removesuffix("s")
        raise SettingsError(f"no {what} is named {strange!r}; known: {', '.join(names(folder))}")
    try:
        return importlib.import_module(f"{folder.__name__}.{scheme}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("trioagg"):
            raise
        extra = f"pip install 'trioagg[{scheme}]'"
        raise SettingsError(f"{scheme} needs {error.name}, which is not installed: {extra}") from None
