"""Token detection: some tokens were replaced by others; the encoder tells of every row whether its token was.

RTS draws the others uniformly, C-RTS from tokens alike (Di Liello et al. 2022, section 3): no generator, no vocabulary
to score. View: "encoder" in place, the original tokens as labels where one was drawn; a draw that gives the original
back replaced nothing, as in ELECTRA (Clark et al. 2020, section 2).
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from data_prep.errors import InputError
from data_prep.section import Section
from pipeline.batch import IGNORED_LABEL, Batch, Views
from pipeline.model.config import ModelConfig
from pipeline.model.pretrained import EncoderModel

if TYPE_CHECKING:
    from pipeline.config import RunConfig

TERM = "token_detection"
VIEWS = ("encoder",)
ARCHITECTURES = ("electra",)


class Config(Section):
    """Nothing to choose: what is replaced, and by what, is the corruption's business."""


def check(config: Config, run: "RunConfig") -> None:
    """InputError when masks would give away what was replaced."""
    if getattr(run.corruption.replace, "mask", 0.0) > 0.0:
        raise InputError(
            "corruption.replace.mask: objective token_detection asks what was replaced, and a mask says so: use "
            "mask 0 with random or similar tokens"
        )


class Objective(nn.Module):
    """Binary cross entropy of every row that belongs to a sequence, summed."""

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.model = EncoderModel(model_config, vocab_size, seed)

    def counts(self, views: Views) -> dict[str, int]:
        """The number of rows, by term."""
        return {TERM: views["encoder"].num_rows}

    def forward(self, views: Views) -> dict[str, tuple[torch.Tensor, int]]:
        """The loss's sum (float32) and count, by term."""
        view = views["encoder"]
        return {TERM: (detection_sum(self.model, view, replaced_rows(view)), view.num_rows)}

    @torch.no_grad()
    def predict(self, views: Views) -> torch.Tensor:
        """[T] of the encoder view: its token where the model takes it for replaced, else IGNORED_LABEL."""
        view = views["encoder"]
        taken_T = self.model.head(self.model.encode(view)) > 0
        return torch.where(taken_T, view.tokens, IGNORED_LABEL)


def replaced_rows(view: Batch) -> torch.Tensor:
    """Which rows hold another token than their label, bool [T]."""
    assert view.labels is not None, "this view has labels"
    return (view.labels != IGNORED_LABEL) & (view.labels != view.tokens)


def detection_sum(model: EncoderModel, view: Batch, replaced_T: torch.Tensor) -> torch.Tensor:
    """The sum of the binary cross entropy of the rows of all sequences (the tail has none)."""
    return model.head(model.encode(view)[: view.num_rows], replaced_T[: view.num_rows])
