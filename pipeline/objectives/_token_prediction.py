"""What objectives share that ask one question, "which token stood here?": the counts, the loss and the best guesses."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from data_prep.section import Section
from pipeline.batch import Views
from pipeline.model.labels import at_labels
from pipeline.model.pretrained import EncoderModel


class Config(Section):
    """Both terms are off by default; the held-out loss is the plain cross entropy whatever they are."""

    z_loss: Annotated[float, Field(ge=0.0)] = 0.0  # factor of logsumexp(logits)**2, which keeps logits near 0
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


class TokenPrediction(nn.Module):
    """Cross entropy of the labels of one view, summed; logits are computed only for rows that have one.

    An objective names the loss `term` and the `labelled_view`, makes `model`, and says in `label_states` which states
    the head is asked about.
    """

    term: ClassVar[str]
    labelled_view: ClassVar[str]
    model: EncoderModel

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def label_states(self, views: Views) -> tuple[torch.Tensor, torch.Tensor]:
        """The states [L, W] of the rows that have a label, and the labels [L]."""
        raise NotImplementedError

    def counts(self, views: Views) -> dict[str, int]:
        """The number of labels, by term."""
        return {self.term: views[self.labelled_view].num_labels}

    def forward(self, views: Views) -> dict[str, tuple[torch.Tensor, int]]:
        """The loss's sum (float32) and count, by term."""
        states_LW, labels_L = self.label_states(views)
        extra = (self.config.z_loss, self.config.label_smoothing) if self.training else ()
        return {self.term: (self.model.head(states_LW, labels_L, *extra), len(labels_L))}

    @torch.no_grad()
    def predict(self, views: Views) -> torch.Tensor:
        """[T] of the labelled view: the likeliest token where there is a label (given the true ones before it)."""
        return at_labels(views[self.labelled_view], self.model.head(self.label_states(views)[0]).argmax(-1))
