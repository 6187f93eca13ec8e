"""Columns of one number per document: its language, and the pair it belongs to.

Both numbers are functions of the document alone, so datasets can be cut and merged without a table.
"""

import hashlib

from data_prep.errors import InputError
from data_prep.sources.document import Document

_LETTERS = 26
_PAIR_BITS = 63


def lang_number(lang: str | None) -> int:
    """A language code as a number: ISO 639 letters as digits to base 27 (a = 1), 0 for none. `de` is 4 * 27 + 5 = 113.

    Of a longer tag (`zh-Hant`, `pt_BR`) the language counts. InputError for what is no code of two or three letters.
    """
    if not lang:
        return 0
    code = lang.replace("_", "-").partition("-")[0].lower()
    if not (2 <= len(code) <= 3 and code.isascii() and code.isalpha()):
        raise InputError(f"{lang!r} is not a language code of two or three letters (ISO 639), as `de` or `gsw`")
    number = 0
    for letter in code:
        number = number * (_LETTERS + 1) + ord(letter) - ord("a") + 1
    return number


def lang_code(number: int) -> str | None:
    """The language code of a number; None for 0."""
    letters = ""
    while number:
        number, digit = divmod(number, _LETTERS + 1)
        letters = chr(ord("a") + digit - 1) + letters
    return letters or None


def pair_number(document: Document) -> int:
    """The first 63 bits of the SHA-256 of the document's pair key, 0 for none: equal for documents that are aligned."""
    if document.pair is None:
        return 0
    digest = hashlib.sha256(document.pair.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _PAIR_BITS)
