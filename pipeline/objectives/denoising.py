"""Denoising: the encoder reads the corrupted view, the decoder gives back what its labels say (T5, BART, UL2).

What is corrupted, and how, is the `corruption:` section's business; this file only knows views with labels.
Views: "encoder", and "decoder" whose tokens are the labels shifted right.
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from data_prep.section import Section
from pipeline.batch import IGNORED_LABEL, Views
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder

TERM = "denoising"
VIEWS = ("encoder", "decoder")


class Config(Section):
    """Both terms are off by default; the held-out loss is the plain cross entropy whatever they are."""

    z_loss: Annotated[float, Field(ge=0.0)] = 0.0  # factor of logsumexp(logits)**2, which keeps logits near 0
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class Objective(nn.Module):
    """Cross entropy of the decoder's labels, summed; logits are computed only for rows that have one."""

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.model = EncoderDecoder(model_config, vocab_size, seed)

    def counts(self, views: Views) -> dict[str, int]:
        """The number of labels, by term."""
        return {TERM: views["decoder"].num_labels}

    def forward(self, views: Views) -> dict[str, tuple[torch.Tensor, int]]:
        """The loss's sum (float32) and count, by term."""
        states_LW, labels_L = self._label_states(views)
        extra = (self.config.z_loss, self.config.label_smoothing) if self.training else ()
        return {TERM: (self.model.head(states_LW, labels_L, *extra), len(labels_L))}

    @torch.no_grad()
    def predict(self, views: Views) -> torch.Tensor:
        """[T] of the decoder view: the likeliest token where there is a label (given the true ones before it)."""
        logits_LV = self.model.head(self._label_states(views)[0])
        labels_T = _labels(views)
        guesses_L = logits_LV.argmax(-1).to(labels_T.dtype)
        return torch.full_like(labels_T, IGNORED_LABEL).masked_scatter(labels_T != IGNORED_LABEL, guesses_L)

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Trade a second forward of each block for its activations' memory."""
        self.model.set_activation_checkpointing(enabled)

    def _label_states(self, views: Views) -> tuple[torch.Tensor, torch.Tensor]:
        memory_SW = self.model.encode(views["encoder"])
        states_TW = self.model.decode(views["decoder"], memory_SW, views["encoder"])
        labels_T = _labels(views)
        rows_L = torch.nonzero(labels_T != IGNORED_LABEL).squeeze(1)
        return states_TW[rows_L], labels_T[rows_L]


def _labels(views: Views) -> Any:
    labels_T = views["decoder"].labels
    assert labels_T is not None, "the decoder view of a denoising objective has labels"
    return labels_T
