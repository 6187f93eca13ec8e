"""A SentencePiece model of the user's own, made fit for use: special tokens it lacks are appended as control symbols.

Invariant: ids of the model's own pieces do not change, and text never yields a special id.
"""

import struct
from pathlib import Path

from data_prep.errors import InputError
from data_prep.tokenizer.special import SENTINEL_PIECES, SPARE_PIECES, SPECIAL_PIECES
from data_prep.tokenizer.tokenizer import Tokenizer, load_processor, parse_model

_CONTROL = 3  # ModelProto.SentencePiece.Type in sentencepiece_model.proto
_PROBE = "def f(x):\n\treturn  x\n\n  \u00e9\u6f22\U0001f600 <s> \u2581 "


def adopt_model(path: Path) -> bytes:
    """The model at `path` with every special token, as bytes. InputError: no model, or one that cannot be used."""
    try:
        model = path.read_bytes()
    except OSError as error:
        raise InputError(f"data.tokenizer.path: {path}: {error.strerror}") from error
    load_processor(model, path)
    parsed = parse_model(model, path)
    ids = {piece: index for index, piece in enumerate(parsed.pieces)}
    yields_nothing = [a or b for a, b in zip(parsed.is_type("CONTROL"), parsed.is_type("UNKNOWN"), strict=True)]
    for piece in SPECIAL_PIECES:
        if piece in ids and not yields_nothing[ids[piece]]:
            raise InputError(
                f"data.tokenizer.path: {path}: {piece} is an ordinary piece there, so a text could yield it"
            )
    for block in (SENTINEL_PIECES, SPARE_PIECES):
        present = [piece for piece in block if piece in ids]
        if 0 < len(present) < len(block):
            raise InputError(
                f"data.tokenizer.path: {path}: has {len(present)} of {block[0]} .. {block[-1]}; all or none"
            )
    return model + b"".join(_encoded_piece(piece) for piece in SPECIAL_PIECES if piece not in ids)


def loss_note(tokenizer: Tokenizer) -> str | None:
    """What to tell the user of a model that does not give every text back; None for one that does."""
    back = tokenizer.decode(tokenizer.encode(_PROBE))
    if back == _PROBE:
        return None
    return f"data.tokenizer.path: this tokenizer loses text: {_PROBE!r} comes back as {back!r}"


def _encoded_piece(piece: str) -> bytes:
    """One `pieces` entry of a serialized ModelProto; appending it to a model appends the piece (protobuf merges)."""
    text = piece.encode()
    entry = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", 0.0) + b"\x18" + bytes([_CONTROL])
    return b"\x0a" + bytes([len(entry)]) + entry
