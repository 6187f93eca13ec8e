"""Denoising: the encoder reads the corrupted view, the decoder gives back what its labels say (T5, BART, UL2).

What is corrupted, and how, is the `corruption:` section's business; this file only knows views with labels.
Views: "encoder", and "decoder" whose tokens are the labels shifted right.
"""

from typing import Any

import torch
from torch import nn

from data_prep.section import Section
from pipeline.batch import IGNORED_LABEL, Views
from pipeline.kernels.cross_entropy import cross_entropy_sum
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder

TERM = "denoising"


class Config(Section):
    """`objective: {kind: denoising}` has no settings of its own."""


class Objective(nn.Module):
    """Cross entropy of the decoder's labels, summed; logits are computed only for rows that have one."""

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.model = EncoderDecoder(model_config, vocab_size, seed)

    def counts(self, views: Views) -> dict[str, int]:
        """The number of labels, by term."""
        return {TERM: views["decoder"].num_labels}

    def forward(self, views: Views) -> dict[str, tuple[torch.Tensor, int]]:
        """The loss's sum (float32) and count, by term."""
        logits_LV, labels_L = self._label_logits(views)
        loss = cross_entropy_sum(logits_LV, labels_L)
        return {TERM: (loss, len(labels_L))}

    @torch.no_grad()
    def predict(self, views: Views) -> torch.Tensor:
        """int64 [T] of the decoder view: the likeliest token where there is a label (given the true ones before it)."""
        logits_LV, _ = self._label_logits(views)
        labels_T = _labels(views)
        return torch.full_like(labels_T, IGNORED_LABEL).masked_scatter(labels_T != IGNORED_LABEL, logits_LV.argmax(-1))

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Trade a second forward of each block for its activations' memory."""
        self.model.set_activation_checkpointing(enabled)

    def _label_logits(self, views: Views) -> tuple[torch.Tensor, torch.Tensor]:
        memory_SW = self.model.encode(views["encoder"])
        states_TW = self.model.decode(views["decoder"], memory_SW, views["encoder"])
        labels_T = _labels(views)
        rows_L = torch.nonzero(labels_T != IGNORED_LABEL).squeeze(1)
        return self.model.head(states_TW[rows_L]), labels_T[rows_L]


def _labels(views: Views) -> Any:
    labels_T = views["decoder"].labels
    assert labels_T is not None, "the decoder view of a denoising objective has labels"
    return labels_T
