"""What the fast encoder must know of a model, and whether it can give SentencePiece's ids for certain.

Invariant: `exact_pieces` returns pieces only for a model whose encoding follows from them by the rules of
`encoder.cpp`; for any other model it returns why not, and SentencePiece encodes.

Such a model is unigram or char, has the 256 byte pieces, leaves the text as it is (no normalisation, no white space
added or removed), has no user-defined symbols (SentencePiece prefers them to any score) and, if it is unigram, scores
that are multiples of 1/256 and not above 0. Sums of those are exact in float32 up to 2**24 steps; a segment may come
near: `cost_limit` leaves room for the paths that are not the best one.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from data_prep.tokenizer.model import Model
from data_prep.tokenizer.segments import WORD_MARK

SCORE_STEPS = 256  # per nat: what a model trained here has its scores rounded to
UNKNOWN_PENALTY = 10  # SentencePiece's kUnkPenalty, nats below the lowest score
_EXACT_STEPS = 2**24  # float32 holds every integer up to here


@dataclass(frozen=True)
class ExactPieces:
    """The pieces that match text, spelt as text is; costs are scores in steps of 1/256, sign changed."""

    spellings: tuple[bytes, ...]
    ids: np.ndarray  # int32 [pieces]
    costs: np.ndarray  # int32 [pieces]
    byte_ids: np.ndarray  # int32 [256]
    unknown_cost: int
    cost_limit: int


def exact_pieces(model: Model) -> ExactPieces | str:
    """What the encoder needs of a model, or in a few words why SentencePiece must encode."""
    normal = list(itertools.compress(range(len(model.pieces)), model.is_type("NORMAL")))
    reason = _reason_against(model, normal)
    if reason:
        return reason
    of_chars = model.proto.trainer_spec.model_type == model.proto.trainer_spec.CHAR
    matching = [index for index in normal if len(model.pieces[index]) == 1] if of_chars else normal
    scores = np.array([0.0 if of_chars else model.scores[index] for index in matching], dtype=np.float64)
    costs = -scores * SCORE_STEPS
    if not (np.all(costs >= 0) and np.all(costs == np.floor(costs)) and np.all(costs < _EXACT_STEPS)):
        return "scores are not multiples of 1/256"
    unknown_cost = int(costs.max(initial=0)) + UNKNOWN_PENALTY * SCORE_STEPS
    longest = max((len(model.pieces[index]) for index in matching), default=1)
    cost_limit = _EXACT_STEPS - longest * unknown_cost  # a place inside a piece of the best path costs that much more
    if cost_limit <= 0:
        return "scores are too low"
    spelled = model.spellings if model.proto.normalizer_spec.escape_whitespaces else list(map(str.encode, model.pieces))
    return ExactPieces(
        spellings=tuple(spelled[index] for index in matching),
        ids=np.array(matching, dtype=np.int32),
        costs=costs.astype(np.int32),
        byte_ids=_byte_ids(model),
        unknown_cost=unknown_cost,
        cost_limit=cost_limit,
    )


def _reason_against(model: Model, normal: list[int]) -> str | None:
    trainer, normalizer = model.proto.trainer_spec, model.proto.normalizer_spec
    matching = {model.pieces[index] for index in normal}
    other_space = " " if normalizer.escape_whitespaces else WORD_MARK
    reasons = {
        "neither unigram nor char": trainer.model_type not in (trainer.UNIGRAM, trainer.CHAR),
        "no byte pieces": not trainer.byte_fallback,
        "it normalises text": bool(normalizer.precompiled_charsmap or normalizer.normalization_rule_tsv),
        "it adds or removes white space": normalizer.add_dummy_prefix or normalizer.remove_extra_whitespaces,
        "white space as suffix": trainer.treat_whitespace_as_suffix,
        "user-defined symbols": any(model.is_type("USER_DEFINED")),
        "spaces written in two ways": any(other_space in piece for piece in matching),
        "no piece for the space": normalizer.escape_whitespaces and WORD_MARK not in matching,  # U+2581's bytes instead
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def _byte_ids(model: Model) -> np.ndarray:
    ids = np.empty(256, dtype=np.int32)
    for index in itertools.compress(range(len(model.pieces)), model.is_type("BYTE")):
        ids[int(model.pieces[index][3:5], 16)] = index
    return ids
