"""``trioagg chart``: candles of a symbol in the terminal, or as a picture or a page."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from trioagg.errors import SettingsError
from trioagg.store import Readable, Scale, Series, series
from trioagg.views.files import ending, whole

ENDINGS = (".png", ".html")


def chart(db: Readable, symbol: str, scale: Scale, *, exchanges: Sequence[str], output: Path | None) -> None:
    """Draw a symbol, on each exchange that has it, to the terminal or into a file.

    Raises:
        SettingsError: no file can be made so, or the database knows no prices of it.
        StoreError: the database cannot be read.
        OSError: the file cannot be written.
    """
    form = ending(output, ENDINGS) if output else None
    found = series(db, symbol, scale, exchanges)
    if output is None:
        _print(found)
        return
    count = _paint(found, output) if form == ".png" else _write(found, output)
    print(f"{count} candles in {output}")


def _print(found: list[Series]) -> None:
    from trioagg.views.blocks import draw

    width = shutil.get_terminal_size().columns
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print("\n\n".join(draw(one, width, colour=colour) for one in found))


def _write(found: list[Series], output: Path) -> int:
    from trioagg.views.svg import page

    with whole(output) as file:
        file.write(page(found).encode())
    return sum(len(one.bars) for one in found)


def _paint(found: list[Series], output: Path) -> int:
    try:
        from trioagg.views.picture import paint
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise SettingsError("PNG needs matplotlib, which is not installed: pip install 'trioagg[charts]'") from None
    with whole(output) as file:
        paint(found, file)
    return sum(len(one.bars) for one in found)
