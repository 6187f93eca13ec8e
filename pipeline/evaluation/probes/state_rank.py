"""How many dimensions the last states of real tokens use (Meng et al. 2024, MAE-LM, arXiv:2302.02060, section 3.1)."""

import torch

from pipeline.evaluation.figures import Figure, Figures
from pipeline.evaluation.states import effective_rank, entropy_rank
from pipeline.evaluation.subject import Subject

ABOUT = "directions that hidden states use: effective rank, and that of their entropy"
NEEDS = "any encoder"
WINDOWS = 64


def measure(subject: Subject) -> Figures:
    """Of the states of a window's own tokens, special ones left out."""
    windows = subject.texts.windows(WINDOWS, subject.habits.max_tokens)
    states_RW = torch.cat(list(subject.encoder.states([tokens for _, tokens in windows])))
    width = states_RW.shape[1]
    metrics = {
        "effective_rank": Figure(float(effective_rank(states_RW))),
        "entropy_rank": Figure(entropy_rank(states_RW)),
    }
    settings = {**subject.texts.settings, "windows": len(windows), "tokens": len(states_RW), "width": width}
    return Figures(metrics, settings=settings)
