"""The byte vocabulary (Xue et al. 2022, ByT5, arXiv:2105.13626) as a SentencePiece model: nothing is learned.

Invariant: the ids of a text are its UTF-8 bytes, each plus `len(SPECIAL_PIECES)`; spaces too, because here alone they
are not written as U+2581.
"""

from sentencepiece import sentencepiece_model_pb2

from data_prep.tokenizer.special import SPECIAL_PIECES, SpecialTokens

BYTE_VOCAB = len(SPECIAL_PIECES) + 256


def byte_model() -> bytes:
    """A serialized ModelProto with the special pieces and the 256 bytes."""
    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    special = SpecialTokens()
    for index, piece in enumerate(SPECIAL_PIECES):
        kind = proto.SentencePiece.UNKNOWN if index == special.unk else proto.SentencePiece.CONTROL
        proto.pieces.add(piece=piece, score=0.0, type=kind)
    for byte in range(256):
        proto.pieces.add(piece=f"<0x{byte:02X}>", score=0.0, type=proto.SentencePiece.BYTE)
    trainer = proto.trainer_spec
    trainer.model_type = trainer.CHAR
    trainer.vocab_size = len(proto.pieces)
    trainer.byte_fallback = True
    trainer.pad_id, trainer.eos_id, trainer.unk_id, trainer.bos_id = special.pad, special.eos, special.unk, special.bos
    normalizer = proto.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = False
    normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = False
    return proto.SerializeToString(deterministic=True)
