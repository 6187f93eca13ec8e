"""How evenly the vectors of texts fill their space, two scores and the mean cosine (pipeline/evaluation/isotropy.py).

Even vectors do not retrieve better for it: the scores describe, they do not rank.
"""

import torch

from data_prep.errors import InputError
from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.isotropy import iso_score, mean_cosine, partition_isotropy
from pipeline.evaluation.subject import Subject

ABOUT = "how evenly vectors of texts, and states of tokens, fill their space"
NEEDS = "any encoder"
WINDOWS, TOKENS = 512, 4096


def measure(subject: Subject) -> Figures:
    """Of one vector for each window; by group also of the states of their tokens."""
    windows = [tokens for _, tokens in subject.texts.windows(WINDOWS, subject.habits.max_tokens)]
    if len(windows) < 2:
        raise InputError("probe isotropy: it compares texts, and there is one only")
    tokens_RW = torch.cat(list(subject.encoder.states(windows[:64])))[:TOKENS]
    vectors_NW = torch.from_numpy(subject.vectors([subject.tokenizer.decode(text) for text in windows]))
    settings = {**subject.texts.settings, "windows": len(windows), "tokens": len(tokens_RW)}
    return Figures(_scores(vectors_NW), {"of": {"token states": _scores(tokens_RW)}}, settings)


def _scores(vectors: torch.Tensor) -> dict[str, Figure]:
    return {
        "iso_score": Figure(iso_score(vectors)),
        "partition_isotropy": Figure(partition_isotropy(vectors)),
        "mean_cosine": Figure(mean_cosine(vectors)),
    }
