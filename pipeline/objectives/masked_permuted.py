"""Masked and permuted language modelling: the hidden tokens are told one after another in a drawn order (MPNet).

Song et al. 2020, section 2.2: a prediction sees the shown tokens, the hidden ones that were told before it, and a mask
at the place of each that is still to come, its own among them: always as many rows as the text is long. View: "encoder"
in the permuted layout.
"""

from typing import TYPE_CHECKING

import torch

from data_prep.errors import InputError
from pipeline.batch import Views
from pipeline.model.config import ModelConfig
from pipeline.model.pretrained import EncoderModel
from pipeline.model.two_streams import two_streams
from pipeline.objectives._token_prediction import Config as Config
from pipeline.objectives._token_prediction import TokenPrediction

if TYPE_CHECKING:
    from pipeline.config import RunConfig

TERM = "masked_permuted"
VIEWS = ("encoder",)
ARCHITECTURES = ("mpnet", "bert")


def check(config: Config, run: "RunConfig") -> None:
    """InputError unless the hidden tokens come last, and every row keeps its place."""
    if run.corruption.layout.kind != "permuted":
        raise InputError(
            f"corruption.layout: objective masked_permuted reads the text in the order of its predictions, which "
            f"layout {run.corruption.layout.kind} does not give: use layout permuted with select permutation_tail"
        )
    if run.model.randomized_positions:
        raise InputError(
            "model.randomized_positions: objective masked_permuted has rows that share a place, and drawn positions "
            "would part them: leave it out"
        )


class Objective(TokenPrediction):
    """Cross entropy of the hidden tokens, summed; logits are computed only for the rows that ask for one."""

    term = TERM
    labelled_view = "encoder"

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__(config)
        self.model = EncoderModel(model_config, vocab_size, seed)

    def label_states(self, views: Views) -> tuple[torch.Tensor, torch.Tensor]:
        """The states [L, W] of the rows that have a label, and the labels [L]."""
        streams = two_streams(views["encoder"])
        states_TW = self.model.encoder(self.model.embed(streams.view), streams.view, streams.pattern)
        return states_TW[streams.query_rows], streams.labels
