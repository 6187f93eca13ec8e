"""A tokenizer folder in use: text -> ids -> the same text.

Invariant: for a model trained here `decode(encode(text)) == text` for every Unicode text, and no text yields a special
id.

1. `segments` cuts the text (fixed places).
2. A literal U+2581 is cut out and written as its three bytes: SentencePiece uses that character for the space and
   could not tell them apart afterwards.
3. SentencePiece encodes what is left; characters outside the vocabulary become byte pieces.
4. Decoding joins the bytes of the pieces; special tokens have none.
For models that `exact.py` accepts, `encoder.cpp` does 1 to 3 faster; the ids are the same.
"""

import functools
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import sentencepiece

from data_prep.errors import InputError
from data_prep.tokenizer.encoder import Encoder, native_library
from data_prep.tokenizer.exact import ExactPieces, exact_pieces
from data_prep.tokenizer.model import Model
from data_prep.tokenizer.offsets import mapped_starts, starts_by_length
from data_prep.tokenizer.segments import WORD_MARK, segments
from data_prep.tokenizer.special import SpecialTokens

MODEL_NAME = "spiece.model"


class Tokenizer:
    """A SentencePiece model with its special tokens. Picklable: another process loads it again from its folder."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        path = self.folder / MODEL_NAME
        try:
            model = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot read the tokenizer: {error.strerror}; prepare the data again") from error
        self.digest = hashlib.sha256(model).hexdigest()
        self._serialized, self._model = model, parse_model(model, path)
        self.vocab_size = len(self._model.pieces)
        self.special = SpecialTokens.of_pieces(self._model.pieces)

    @classmethod
    def load(cls, folder: Path | str) -> "Tokenizer":
        """The tokenizer in `folder` (which holds `spiece.model`); InputError if it is missing or broken."""
        return cls(folder)

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[Path]]:
        return Tokenizer, (self.folder,)

    def encode(self, text: str) -> np.ndarray:
        """Ids of `text`, int32 [n], without any special token; InputError for a text with lone surrogates."""
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"not a Unicode text: lone surrogate at character {error.start}") from error
        return self.encode_utf8(data)

    def encode_utf8(self, data: bytes) -> np.ndarray:
        """`encode` for a text in UTF-8, which is not checked."""
        fast = self._fast
        return fast.encode(data, self.encode_slowly) if isinstance(fast, Encoder) else self.encode_slowly(data.decode())

    def encode_texts(self, texts: Sequence[bytes]) -> list[np.ndarray]:
        """`encode_utf8` for each of several texts."""
        fast = self._fast
        if isinstance(fast, Encoder):
            return fast.encode_texts(texts, self.encode_slowly)
        return [self.encode_slowly(data.decode()) for data in texts]

    def encode_slowly(self, text: str) -> np.ndarray:
        """What `encode` gives for a Unicode text, by SentencePiece alone: the specification of `encode`."""
        parts = [self._encode_part(part) for part in _parts(text)]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)

    @property
    def why_slow(self) -> str | None:
        """Why SentencePiece encodes, in a few words; None where the fast encoder does."""
        return self._fast if isinstance(self._fast, str) else None

    @property
    def why_inexact(self) -> str | None:
        """Why SentencePiece encodes on any machine; None for a model that the fast encoder takes."""
        return self._exact if isinstance(self._exact, str) else None

    @property
    def may_yield_unknown(self) -> bool:
        """Whether there are texts with characters that become the unknown token: not where every byte has a piece."""
        return not self._model.proto.trainer_spec.byte_fallback

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; special tokens give nothing, bytes that are no UTF-8 give U+FFFD."""
        table = self._piece_bytes
        return b"".join([table[index] for index in np.asarray(ids, dtype=np.int64).tolist()]).decode(errors="replace")

    def token_starts(self, text: str, token_ids: np.ndarray) -> np.ndarray:
        """Where each of `token_ids`, the encoding of `text`, begins: index of a character, int32 [tokens].

        The bytes of one character all begin at it. A special token begins where the next token does. With a model that
        is not lossless a piece begins at the first character it stands for. InputError: not the encoding of `text`.
        """
        token_ids = np.asarray(token_ids)
        starts = starts_by_length(text, self.piece_num_bytes[token_ids])
        if starts is None:
            ids, starts = mapped_starts(self._processor, _parts(text), self._word_mark_ids)
            if not np.array_equal(ids, token_ids):
                raise InputError(f"{self.folder}: these {len(token_ids)} token ids are not what this tokenizer gives")
        return starts

    def token_starts_of_texts(self, texts: Sequence[str], token_ids: Sequence[np.ndarray]) -> np.ndarray:
        """`token_starts` of several texts as if they stood one after another: int64 [tokens of all]."""
        lengths = self.piece_num_bytes[np.concatenate(token_ids)]
        bounds = np.cumsum([len(ids) for ids in token_ids])
        text_ends = np.cumsum([len(text) if text.isascii() else len(text.encode()) for text in texts])
        if np.array_equal(np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))[bounds], text_ends):
            starts = starts_by_length("".join(texts), lengths)
            assert starts is not None
            return starts.astype(np.int64)
        begins = list(itertools.accumulate(map(len, texts[:-1]), initial=0))
        several = zip(begins, texts, token_ids, strict=True)
        return np.concatenate([begin + self.token_starts(text, ids) for begin, text, ids in several], dtype=np.int64)

    def id_to_piece(self, index: int) -> str:
        """The piece as the model spells it: U+2581 for a space, `<0x0A>` for a byte, `<extra_id_0>`."""
        return self._model.pieces[index]

    def is_byte(self, index: int) -> bool:
        """Whether `index` stands for one raw byte."""
        return self._model.types[index] == self._model.proto.SentencePiece.BYTE

    def _encode_part(self, part: str) -> np.ndarray:
        if part == WORD_MARK:
            return self._word_mark_ids
        return self._processor.encode(part, return_type="numpy")

    def _byte_ids(self, data: bytes) -> np.ndarray:
        """Byte pieces of `data`; in a foreign model without them, what it makes of the character."""
        ids = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in data]
        if all(map(self.is_byte, ids)):
            return np.array(ids, dtype=np.int32)
        return self._processor.encode(data.decode(), return_type="numpy")

    @functools.cached_property
    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        """SentencePiece itself: not needed where the fast encoder does its work."""
        return load_processor(self._serialized, self.folder / MODEL_NAME)

    @functools.cached_property
    def _exact(self) -> ExactPieces | str:
        return exact_pieces(self._model)

    @functools.cached_property
    def _fast(self) -> Encoder | str:
        if isinstance(self._exact, str):
            return self._exact
        library = native_library()
        return Encoder(self._exact, library) if library else "no C++ compiler"

    @functools.cached_property
    def _word_mark_ids(self) -> np.ndarray:
        return self._byte_ids(WORD_MARK.encode())

    @functools.cached_property
    def _piece_bytes(self) -> Sequence[bytes]:
        return self._model.spellings

    @functools.cached_property
    def piece_num_bytes(self) -> np.ndarray:
        """How many bytes of a text each id stands for, where the model leaves texts as they are: int32 [vocabulary]."""
        return np.array([len(piece) for piece in self._piece_bytes], dtype=np.int32)


def load_processor(model: bytes, path: Path) -> sentencepiece.SentencePieceProcessor:
    """SentencePiece with the model in `model`; InputError naming `path` if it is not one."""
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: not a SentencePiece model") from error


def parse_model(model: bytes, path: Path) -> Model:
    """The model in `model` taken apart; InputError naming `path` if it is not one."""
    try:
        return Model.parse(model)
    except ValueError as error:
        raise InputError(f"{path}: not a SentencePiece model") from error


def _parts(text: str) -> Iterator[str]:
    for segment in segments(text):
        if WORD_MARK not in segment:
            yield segment
            continue
        for number, part in enumerate(segment.split(WORD_MARK)):
            if number:
                yield WORD_MARK
            if part:
                yield part
