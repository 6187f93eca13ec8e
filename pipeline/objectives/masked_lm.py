"""Masked language modelling: the encoder reads the corrupted text and tells the tokens that stood at its labels.

BERT (Devlin et al. 2019, section 3.1, task 1) and all that differ from it in what is selected and what is put there:
whole words, n-grams, important words; masks, similar words, random tokens. View: "encoder" with labels.
"""

import torch
from torch import nn

from pipeline.batch import Views
from pipeline.model.config import ModelConfig
from pipeline.model.labels import at_labels, labelled
from pipeline.model.pretrained import EncoderModel
from pipeline.objectives.denoising import Config as Config

TERM = "masked_lm"
VIEWS = ("encoder",)
ARCHITECTURES = ("bert", "mpnet", "modernbert")


class Objective(nn.Module):
    """Cross entropy of the encoder's labels, summed; logits are computed only for rows that have one."""

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.model = EncoderModel(model_config, vocab_size, seed)

    def counts(self, views: Views) -> dict[str, int]:
        """The number of labels, by term."""
        return {TERM: views["encoder"].num_labels}

    def forward(self, views: Views) -> dict[str, tuple[torch.Tensor, int]]:
        """The loss's sum (float32) and count, by term."""
        states_LW, labels_L = self._label_states(views)
        extra = (self.config.z_loss, self.config.label_smoothing) if self.training else ()
        return {TERM: (self.model.head(states_LW, labels_L, *extra), len(labels_L))}

    @torch.no_grad()
    def predict(self, views: Views) -> torch.Tensor:
        """[T] of the encoder view: the likeliest token where there is a label."""
        return at_labels(views["encoder"], self.model.head(self._label_states(views)[0]).argmax(-1))

    def _label_states(self, views: Views) -> tuple[torch.Tensor, torch.Tensor]:
        states_TW = self.model.encode(views["encoder"])
        rows_L, labels_L = labelled(views["encoder"])
        return states_TW[rows_L], labels_L
