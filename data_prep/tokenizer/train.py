"""Train the tokenizer: a sample of the corpus in, the same model bytes out, on any machine.

Invariant: the model depends on the texts (in their order) and the config alone; the number of threads SentencePiece
sums floats over is fixed.

1. Text goes in as encoding segments, with newlines and indentation: no normalisation, no prefix, no white space lost.
2. Special tokens are control symbols with fixed ids, followed by 256 byte pieces.
3. A unigram model's scores are rounded to multiples of 1/256: sums over an encoding segment are then exact in
   float32, in any order, so that other implementations find the same pieces.
4. A corpus that does not support `vocab_size` pieces gives a smaller vocabulary (`TrainedModel.vocab_size`). A char
   model holds the most frequent characters, the others become bytes; a byte model has 427 ids and learns nothing.

Kudo 2018 (arXiv:1804.10959) for unigram; Sennrich et al. 2016 (arXiv:1508.07909) for bpe.
"""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from data_prep.config import TokenizerConfig
from data_prep.errors import InputError, SpanwrightError
from data_prep.tokenizer.byte_model import BYTE_VOCAB, byte_model
from data_prep.tokenizer.exact import SCORE_STEPS
from data_prep.tokenizer.segments import WORD_MARK, segments
from data_prep.tokenizer.special import SENTINEL_PIECES, SPARE_PIECES, SpecialTokens

THREADS = 8  # part of the result: the order of float sums
LONGEST_SENTENCE_BYTES = 2**20  # SentencePiece drops longer ones
LONGEST_SENTENCE_CHARS = LONGEST_SENTENCE_BYTES // 4  # a single word (DNA, base64) may be longer: it is cut
ERRORS_ONLY = 2  # SentencePiece's log level


@dataclass(frozen=True)
class TrainedModel:
    """The bytes of a SentencePiece model and its real size."""

    model: bytes
    vocab_size: int


def train_model(texts: Iterable[str], config: TokenizerConfig) -> TrainedModel:
    """Train on `texts`, in order. InputError: nothing to learn from, or `vocab_size` cannot hold the characters."""
    if config.kind == "byte":
        return TrainedModel(byte_model(), BYTE_VOCAB)
    special = SpecialTokens()
    writer = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_training_segments(texts),
            model_writer=writer,
            model_type=config.kind,
            vocab_size=config.vocab_size,
            hard_vocab_limit=False,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            byte_fallback=True,
            required_chars=WORD_MARK,  # the space, also where the corpus has none: its bytes would mean U+2581
            max_sentence_length=LONGEST_SENTENCE_BYTES,
            pad_id=special.pad,
            pad_piece="<pad>",
            eos_id=special.eos,
            unk_id=special.unk,
            bos_id=special.bos,
            control_symbols=["<mask>", "<cls>", "<sep>", *SENTINEL_PIECES, *SPARE_PIECES],
            num_threads=THREADS,
            minloglevel=ERRORS_ONLY,
        )
    except RuntimeError as error:
        raise _explained(str(error), config) from error
    model = _with_exact_scores(writer.getvalue()) if config.kind == "unigram" else writer.getvalue()
    return TrainedModel(model, sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size())


def _with_exact_scores(model: bytes) -> bytes:
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)  # type: ignore[attr-defined]
    for piece in proto.pieces:
        if piece.type == piece.NORMAL:
            piece.score = round(piece.score * SCORE_STEPS) / SCORE_STEPS
    return proto.SerializeToString(deterministic=True)


def _training_segments(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for segment in segments(text):
            for start in range(0, len(segment), LONGEST_SENTENCE_CHARS):
                sentence = segment[start : start + LONGEST_SENTENCE_CHARS]
                # SentencePiece drops sentences that are empty after their final newlines are gone.
                if sentence.strip("\r\n"):
                    yield sentence


def _explained(message: str, config: TokenizerConfig) -> SpanwrightError:
    needed = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if needed:
        return InputError(
            f"data.tokenizer.vocab_size={config.vocab_size} cannot hold the corpus's characters; "
            f"give at least {needed[1]} (better a few thousand)"
        )
    if "sentences_.empty()" in message:
        return InputError("the corpus has no text to train a tokenizer on; check data.paths")
    return SpanwrightError(f"SentencePiece could not be trained: {message}")
