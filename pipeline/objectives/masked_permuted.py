"""Masked and permuted language modelling: the hidden tokens are told one after another in a drawn order (MPNet).

Song et al. 2020, section 2.2: a prediction sees the shown tokens, the hidden ones that were told before it, and a mask
at the place of each that is still to come, its own among them: always as many rows as the text is long. View: "encoder"
in the permuted layout.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from data_prep.errors import InputError
from pipeline.batch import Views
from pipeline.model.config import ModelConfig
from pipeline.model.labels import at_labels
from pipeline.model.pretrained import EncoderModel
from pipeline.model.two_streams import two_streams
from pipeline.objectives.denoising import Config as Config

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


class Objective(nn.Module):
    """Cross entropy of the hidden tokens, summed; logits are computed only for the rows that ask for one."""

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.model = EncoderModel(model_config, vocab_size, seed)

    def counts(self, views: Views) -> dict[str, int]:
        """The number of labels, by term."""
        return {TERM: views["encoder"].num_labels}

    def forward(self, views: Views) -> dict[str, tuple[torch.Tensor, int]]:
        """The loss's sum (float32) and count, by term."""
        states_LW, labels_L = self._query_states(views)
        extra = (self.config.z_loss, self.config.label_smoothing) if self.training else ()
        return {TERM: (self.model.head(states_LW, labels_L, *extra), len(labels_L))}

    @torch.no_grad()
    def predict(self, views: Views) -> torch.Tensor:
        """[T] of the encoder view: the likeliest token where there is a label (given the true ones before it)."""
        return at_labels(views["encoder"], self.model.head(self._query_states(views)[0]).argmax(-1))

    def _query_states(self, views: Views) -> tuple[torch.Tensor, torch.Tensor]:
        streams = two_streams(views["encoder"])
        states_TW = self.model.encoder(self.model.embed(streams.view), streams.view, streams.pattern)
        return states_TW[streams.query_rows], streams.labels
