"""A SentencePiece model taken apart, once: what its pieces are is asked of plain lists afterwards.

Asking SentencePiece or the protobuf for one piece after another takes longer than loading the model does.
"""

import functools
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from data_prep.tokenizer.segments import WORD_MARK

_UNKNOWN_TEXT = "\ufffd".encode()


@dataclass(frozen=True)
class Model:
    """`proto` is the parsed ModelProto; the lists have an entry for each id. `types` are those of its pieces."""

    proto: Any
    pieces: list[str]
    types: list[int]
    scores: list[float]

    @classmethod
    @functools.lru_cache(maxsize=1)  # a model of a user's own is looked at before it is loaded
    def parse(cls, model: bytes) -> "Model":
        """Take a serialized model apart; ValueError if it is not one."""
        try:
            proto = sentencepiece_model_pb2.ModelProto.FromString(model)  # type: ignore[attr-defined]
        except DecodeError as error:
            raise ValueError(str(error)) from error
        taken = [(piece.piece, piece.type, piece.score) for piece in proto.pieces]
        return cls(proto, *(list(column) for column in zip(*taken, strict=True)) if taken else ([], [], []))

    def is_type(self, name: str) -> list[bool]:
        """Which ids are of the type of this name (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE)."""
        wanted = self.proto.SentencePiece.Type.Value(name)
        return [found == wanted for found in self.types]

    @functools.cached_property
    def spellings(self) -> list[bytes]:
        """What each id stands for in a text, in UTF-8; nothing for control symbols."""
        spelled = [piece.replace(WORD_MARK, " ").encode() for piece in self.pieces]
        for index, found in enumerate(self.types):
            if found != self.proto.SentencePiece.NORMAL:
                spelled[index] = self._special_spelling(index, spelled[index])
        return spelled

    def _special_spelling(self, index: int, spelled: bytes) -> bytes:
        kinds = self.proto.SentencePiece
        if self.types[index] == kinds.BYTE:
            return bytes([int(self.pieces[index][3:5], 16)])
        return {kinds.CONTROL: b"", kinds.UNKNOWN: _UNKNOWN_TEXT}.get(self.types[index], spelled)
