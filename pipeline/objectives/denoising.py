"""Denoising: the encoder reads the corrupted view, the decoder gives back what its labels say (T5, BART, UL2).

What is corrupted, and how, is the `corruption:` section's business; this file only knows views with labels.
Views: "encoder", and "decoder" whose tokens are the labels shifted right.
"""

import torch

from pipeline.batch import Views
from pipeline.model.config import ModelConfig
from pipeline.model.encoder_decoder import EncoderDecoder
from pipeline.model.labels import labelled
from pipeline.objectives._token_prediction import Config as Config
from pipeline.objectives._token_prediction import TokenPrediction

TERM = "denoising"
VIEWS = ("encoder", "decoder")
ARCHITECTURES = ("t5", "bart")


class Objective(TokenPrediction):
    """Cross entropy of the decoder's labels, summed; logits are computed only for rows that have one."""

    term = TERM
    labelled_view = "decoder"
    model: EncoderDecoder

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__(config)
        self.model = EncoderDecoder(model_config, vocab_size, seed)

    def label_states(self, views: Views) -> tuple[torch.Tensor, torch.Tensor]:
        """The states [L, W] of the rows that have a label, and the labels [L]."""
        memory_SW = self.model.encode(views["encoder"])
        states_TW = self.model.decode(views["decoder"], memory_SW, views["encoder"])
        rows_L, labels_L = labelled(views["decoder"])
        return states_TW[rows_L], labels_L
