"""How well a masked language model's two conditionals make one joint of two masked neighbours (evaluation/joints.py).

Exact: each place is asked once for every token that the other can hold, so a pair costs two forwards of the vocabulary.
Above LARGEST tokens, the likeliest at either place and the true one are kept, and probabilities are of these.
"""

from collections.abc import Sequence

import torch

from data_prep.errors import InputError
from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.gaps import Gap, gaps_of
from pipeline.evaluation.joints import arnold_gokhale, conditionals, markov_field
from pipeline.evaluation.subject import Subject, needs_gaps

ABOUT = "exact two-token joints by Arnold and Gokhale: pairwise loss, unary loss, faithfulness"
NEEDS = "an encoder with a masked head"
PAIRS, CONTEXT, LARGEST = 12, 32, 2048
Scores = dict[str, dict[str, float]]


def measure(subject: Subject) -> Figures:
    """Of each joint the loss of pairs, of one token given the other, and its conditionals' KL from the model's."""
    needs_gaps(subject, "mlm_joint")
    if subject.habits.fills != "masks":
        raise InputError("probe mlm_joint: this model's decoder writes from left to right and needs no joint")
    gaps = gaps_of(subject, PAIRS, 2, CONTEXT)
    if not gaps:
        raise InputError("probe mlm_joint: no held-out document is long enough to hide words in")
    found = [_scores_of_pair(subject, gap) for gap in gaps]
    joints = {name: _means([scores[name] for scores in found]) for name in found[0]}
    settings = {
        **subject.texts.settings,
        "pairs": len(gaps),
        "candidates": min(LARGEST, subject.tokenizer.vocab_size),
        "exact": subject.tokenizer.vocab_size <= LARGEST,
    }
    values = [scores["arnold-gokhale"]["pair_loss"] for scores in found]
    return Figures(joints["arnold-gokhale"], {"joint": joints}, settings, values)


def _scores_of_pair(subject: Subject, gap: Gap) -> Scores:
    kept_K, (first, second) = _candidates(subject, gap)
    mask = subject.habits.special.mask
    first_AB = _conditional(subject, gap, [(mask, token) for token in kept_K], 0, kept_K)
    second_AB = _conditional(subject, gap, [(token, mask) for token in kept_K], 1, kept_K).T
    both = [_conditional(subject, gap, [(mask, mask)], place, kept_K) for place in (0, 1)]
    joints = {
        "independent": both[0] * both[1].T,
        "mrf": markov_field(first_AB, second_AB),
        "arnold-gokhale": arnold_gokhale(first_AB, second_AB),
    }
    told = {name: _scores(joint_AB, first_AB, second_AB, first, second) for name, joint_AB in joints.items()}
    told["the model's own conditionals"] = {"unary_loss": _unary_loss(first_AB, second_AB, first, second)}
    return told


def _candidates(subject: Subject, gap: Gap) -> tuple[list[int], tuple[int, int]]:
    """The tokens that are told apart, and which of them are hidden here."""
    size = subject.tokenizer.vocab_size
    kept = list(range(size))
    if size > LARGEST:
        mask = subject.habits.special.mask
        sequence, rows = _filled(subject, gap, (mask, mask))
        [logits_2V] = subject.model.row_logits([sequence], [rows])
        likeliest = logits_2V.topk(LARGEST // 2 - 1).indices.flatten().tolist()
        kept = sorted({*likeliest, *gap.hidden})
    return kept, (kept.index(gap.hidden[0]), kept.index(gap.hidden[1]))


def _conditional(
    subject: Subject, gap: Gap, fillings: Sequence[tuple[int, int]], place: int, kept_K: Sequence[int]
) -> torch.Tensor:
    """The probabilities of the kept tokens at `place` (columns: fillings), [K, fillings] float64."""
    asked = [_filled(subject, gap, filling) for filling in fillings]
    logits = subject.model.row_logits([sequence for sequence, _ in asked], [[rows[place]] for _, rows in asked])
    return torch.stack([torch.softmax(own_1V[0, list(kept_K)].double(), -1) for own_1V in logits], 1)


def _filled(subject: Subject, gap: Gap, filling: tuple[int, int]) -> tuple[list[int], list[int]]:
    """The sequence with these two tokens in the gap, and their rows."""
    habits, start = subject.habits, len(subject.habits.head) + len(gap.before)
    return [*habits.head, *gap.before, *filling, *gap.after, *habits.tail], [start, start + 1]


def _scores(
    joint_AB: torch.Tensor, first_AB: torch.Tensor, second_AB: torch.Tensor, first: int, second: int
) -> dict[str, float]:
    own_first_AB, own_second_AB = conditionals(joint_AB)
    divergences = [
        (torch.special.xlogy(said_AB, said_AB) - torch.special.xlogy(said_AB, own_AB)).sum(over).mean()
        for said_AB, own_AB, over in ((first_AB, own_first_AB, 0), (second_AB, own_second_AB, 1))
    ]
    return {
        "pair_loss": -float(joint_AB[first, second].log()),
        "unary_loss": _unary_loss(own_first_AB, own_second_AB, first, second),
        "kl": float(sum(divergences)) / 2,
    }


def _unary_loss(first_AB: torch.Tensor, second_AB: torch.Tensor, first: int, second: int) -> float:
    return -float(first_AB[first, second].log() + second_AB[first, second].log()) / 2


def _means(scores: Sequence[dict[str, float]]) -> dict[str, Figure]:
    return {name: Figure.mean([each[name] for each in scores]) for name in scores[0]}
