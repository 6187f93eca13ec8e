"""Repair what is broken in a text and change nothing else: mojibake, line ends, control characters, Unicode form.

Invariant: mojibake is repaired exactly as ftfy does it, line by line; `settle(settle(text)) == settle(text)`; spaces,
tabs and form feeds stay as they are wherever the line is not mojibake.

1. CR LF, CR and the Unicode line and paragraph separators become LF.
2. Where two neighbours, looked up in a table, could be mojibake, ftfy judges what is around them, and then the line.
   The table allows every pair that ftfy's expression (`ftfy.badness.BADNESS_RE`) needs, and is far faster than it.
3. Control characters that mean nothing in a text are removed, lone surrogates and noncharacters with them.
4. Unicode normalisation. What changed goes through all steps again.
"""

import re
import unicodedata
from typing import Literal

import ftfy
import numpy as np
from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad

Form = Literal["NFC", "NFKC"]

# Nothing of ftfy but the repair of mojibake: quotes, ligatures, entities and widths are the author's.
FTFY = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
    explain=False,
)

REACH = 8  # characters
_LINE_END = re.compile("\r\n|[\r\u2028\u2029]")
# C0 but tab, line feed and form feed; DEL; C1; what ftfy's `remove_control_chars` names; noncharacters; surrogates.
_SURROGATES = "\ud800-\udfff"
CONTROLS = "\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\u206a-\u206f\ufdd0-\ufdef\ufeff\ufff9-\ufffc\ufffe\uffff" + _SURROGATES
_CONTROL = re.compile(f"[{CONTROLS}]")
_ASCII_CONTROLS = bytes(code for code in range(128) if _CONTROL.match(chr(code)))


def settle(text: str, form: Form | None, mojibake: bool = True) -> str:
    """The text, repaired until nothing changes any more. `form` is the normal form of Unicode, None for none."""
    while (fixed := _repair_once(text, form, mojibake)) != text:
        text = fixed
    return text


def repair_mojibake(text: str) -> str:
    """The same as `ftfy.fix_text(text, FTFY)`, without reading the lines that it would leave alone."""
    if text.isascii():
        return text
    # With a line feed before it, every character is the second of a pair, and the first pair of a line has its break.
    units = np.frombuffer(("\n" + text).encode("utf-16-le", "surrogatepass"), np.uint16)
    hits = np.flatnonzero(FIRST.take(units[:-1]) & SECOND.take(units[1:]))
    if not hits.size:
        return text
    lines = text.split("\n")
    for number in _bad_lines(units, hits):
        lines[number] = _repair_line(lines[number], last=number == len(lines) - 1)
    return "\n".join(lines)


def _bad_lines(units: np.ndarray, hits: np.ndarray) -> list[int]:
    """The lines that ftfy calls bad, in order. No match of its expression is longer than `REACH`."""
    numbers = np.searchsorted(np.flatnonzero(units[1:] == ord("\n")), hits)
    if len(units) > FTFY.max_decode_length:  # ftfy may cut a line anywhere
        return np.unique(numbers).tolist()
    bad: dict[int, None] = {}
    for hit, number in zip(hits.tolist(), numbers.tolist(), strict=True):
        if number not in bad and _is_bad_around(units, hit):
            bad[number] = None
    return list(bad)


def _is_bad_around(units: np.ndarray, hit: int) -> bool:
    return is_bad_near(units[max(hit - REACH, 0) : hit + REACH + 2].tobytes().decode("utf-16-le", "replace"))


def is_bad_near(near: str) -> bool:
    """Whether ftfy calls a line bad for what stands around a pair, `REACH` characters on both sides."""
    return any(is_bad(line + "\n") for line in near.split("\n"))


def _repair_line(line: str, last: bool) -> str:
    """ftfy sees a line with its line feed; what it makes of a line may have none."""
    return ftfy.fix_text(line, FTFY) if last else ftfy.fix_text(line + "\n", FTFY).removesuffix("\n")


def _repair_once(text: str, form: Form | None, mojibake: bool) -> str:
    if "\r" in text or "\u2028" in text or "\u2029" in text:
        text = _LINE_END.sub("\n", text)
    if mojibake:
        text = repair_mojibake(text)
    if _has_controls(text):
        text = _CONTROL.sub("", text)
    if form and not unicodedata.is_normalized(form, text):
        text = unicodedata.normalize(form, text)
    return text


def _has_controls(text: str) -> bool:
    if text.isascii():
        data = text.encode()
        return len(data.translate(None, _ASCII_CONTROLS)) < len(data)
    return _CONTROL.search(text) is not None


def _pairs() -> list[tuple[str, str]]:
    """Pairs of neighbours (sets of characters, as in an expression), one of which every match of ftfy's has.

    A match of one character (C1) is a pair with anything before it. Names are those of ftfy's categories.
    """
    names = MOJIBAKE_CATEGORIES
    bad, common, currency = names["bad"], names["common"], names["currency"]
    opening, closing = names["start_punctuation"], names["end_punctuation"]
    accented = names["upper_accented"] + names["lower_accented"]
    spaced = bad + names["box"] + closing + currency + names["numeric"] + names["law"]
    marks = spaced + opening + "\xb0\xb4"
    return [
        (r"\x00-\uffff", names["c1"]),
        (accented + marks, marks),
        (spaced, accented + names["kaomoji"]),
        (names["lower_accented"] + names["lower_common"], names["upper_accented"] + bad),
        (names["upper_common"], bad),
        ("ÂÃÎÐØÙ", " œŠšŸž" + common + marks),
        ("ВГРСΒΓΞΟ", names["c1"] + marks),
        ("Œœ", "^A-Za-z"),
        ("\u201a", "Äâó"),
        ("вГβ", "Ђў€"),
    ]


def _table(sets: list[str]) -> np.ndarray:
    """[65536] uint16: bit i of the entry of a UTF-16 unit says whether the unit is in set i."""
    every = "".join(map(chr, range(2**16)))
    table = np.zeros(2**16, np.uint16)
    for number, characters in enumerate(sets):
        members = [match.start() for match in re.finditer(f"[{characters}]", every)]
        table[members] |= np.uint16(1 << number)
    return table


FIRST = _table([first for first, _ in _pairs()])
SECOND = _table([second for _, second in _pairs()])
