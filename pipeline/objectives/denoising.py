"""Denoising: the encoder reads the corrupted view, the decoder gives back what its labels say (T5, BART, UL2).

What is corrupted, and how, is the `corruption:` section's business; this file only knows views with labels.
Views: "encoder", and "decoder" whose tokens are the labels shifted right.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from data_prep.section import Section
from pipeline.batch import Views
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder
from pipeline.model.labels import at_labels, labelled

TERM = "denoising"
VIEWS = ("encoder", "decoder")
ARCHITECTURES = ("t5", "bart")


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
        return at_labels(views["decoder"], self.model.head(self._label_states(views)[0]).argmax(-1))

    def _label_states(self, views: Views) -> tuple[torch.Tensor, torch.Tensor]:
        memory_SW = self.model.encode(views["encoder"])
        states_TW = self.model.decode(views["decoder"], memory_SW, views["encoder"])
        rows_L, labels_L = labelled(views["decoder"])
        return states_TW[rows_L], labels_L
