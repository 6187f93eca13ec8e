"""Masked language modelling: the encoder reads the corrupted text and tells the tokens that stood at its labels.

BERT (Devlin et al. 2019, section 3.1, task 1) and all that differ from it in what is selected and what is put there:
whole words, n-grams, important words; masks, similar words, random tokens. View: "encoder" with labels.
"""

import torch

from pipeline.batch import Views
from pipeline.model.config import ModelConfig
from pipeline.model.labels import labelled
from pipeline.model.pretrained import EncoderModel
from pipeline.objectives._token_prediction import Config as Config
from pipeline.objectives._token_prediction import TokenPrediction

TERM = "masked_lm"
VIEWS = ("encoder",)
ARCHITECTURES = ("bert", "mpnet", "modernbert")


class Objective(TokenPrediction):
    """Cross entropy of the encoder's labels, summed; logits are computed only for rows that have one."""

    term = TERM
    labelled_view = "encoder"

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__(config)
        self.model = EncoderModel(model_config, vocab_size, seed)

    def label_states(self, views: Views) -> tuple[torch.Tensor, torch.Tensor]:
        """The states [L, W] of the rows that have a label, and the labels [L]."""
        states_TW = self.model.encode(views["encoder"])
        rows_L, labels_L = labelled(views["encoder"])
        return states_TW[rows_L], labels_L
