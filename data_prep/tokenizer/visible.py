"""Pieces for people to read: white space and bytes are visible."""

import re

from data_prep.tokenizer.segments import WORD_MARK

_VISIBLE = {WORD_MARK: "·", " ": "·", "\n": "⏎", "\t": "⇥", "<0x0A>": "⏎", "<0x09>": "⇥", "<0x20>": "·"}
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


def visible(piece: str) -> str:
    """A piece of the vocabulary with white space and control characters made visible."""
    if piece in _VISIBLE:
        return _VISIBLE[piece]
    if byte := _BYTE_PIECE.fullmatch(piece):
        return f"\\x{byte[1]}"
    return "".join(_VISIBLE.get(character) or _printable(character) for character in piece)


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
