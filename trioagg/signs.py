"""Signs that a terminal might obey: what an exchange sends is shown without them."""

from __future__ import annotations

import json


class Escapes(dict[int, str]):
    """What stands for each sign that a terminal might obey, as JSON spells it; for ``str.translate``."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        return sign if sign.isprintable() else json.dumps(sign)[1:-1] if code > 0xFFFF else f"\\u{code:04x}"


SIGNS = Escapes()
LINE_ENDS = Escapes({10: "\n"})


def visible(text: str, *, lines: bool = False) -> str:
    """A text with nothing in it that a terminal would obey.

    Args:
        lines: whether it may have line ends.
    """
    return text if text.isprintable() else text.translate(LINE_ENDS if lines else SIGNS)
