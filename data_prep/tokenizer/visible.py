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
    shown = "".join(_VISIBLE.get(character, character) for character in piece)
    return shown if shown.isprintable() else shown.encode("unicode_escape").decode()
