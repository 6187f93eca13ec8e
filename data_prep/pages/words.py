"""How pages write numbers and texts."""

import re
from typing import Any

from markupsafe import Markup

# Control characters, and those that change the direction of all that follows: a text must not rearrange the page.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff\ud800-\udfff]"
)


def shown(value: Any) -> Any:
    """A text with control characters made visible; anything else as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _CONTROLS.sub(lambda match: _named(match[0]), value)


def count(number: int) -> str:
    """`12,345`."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """`1 document`, `12,345 documents`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def short(number: float) -> str:
    """`12.3 k`, `4.0 M`, `1.2 G`; small numbers as they are."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            return f"{number / max(1e3, limit if unit != 'k' else 1e3):.1f} {unit}"
    return f"{number:,}"


def size(num_bytes: int) -> str:
    """`12.3 MB`, in powers of ten."""
    for limit, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if num_bytes >= limit:
            return f"{num_bytes / limit:.1f} {unit}"
    return counted(num_bytes, "byte")


def percent(part: float | None) -> str:
    """`12.3%`; small shares are not rounded to nothing."""
    if not part:
        return "-" if part is None else "0%"
    if 0 < part < 0.0005:
        return "< 0.1%"
    return f"{100 * part:.1f}%"


def ratio(value: float | None) -> str:
    """`1.23`."""
    return "-" if value is None else f"{value:.2f}"


def _named(character: str) -> str:
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"
