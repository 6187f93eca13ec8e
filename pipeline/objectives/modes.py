"""One stack that reads as an encoder, as a decoder, or as both, told by who may see whom (UniLM, UniXcoder).

The view "encoder" holds sequences of rows of token type 0, which see each other, and after them rows of type 1, which
see those and the rows before them. Text alone is read both ways; targets alone are written from left to right; text
and targets are an encoder-decoder. A mixture makes them, with mode tokens (pipeline/corruption/mixture.py).

Terms: "masked_lm" for labels at rows of type 0, "generation" for those at rows of type 1.
Guo et al. 2022, section 3.2; Dong et al. 2019 (UniLM), section 2.3.
"""

import torch
from torch import nn

from pipeline.batch import IGNORED_LABEL, Batch, Views
from pipeline.kernels.attention import IntervalPattern
from pipeline.model.config import ModelConfig
from pipeline.model.labels import at_labels, labelled
from pipeline.model.pretrained import EncoderModel
from pipeline.objectives._token_prediction import Config as Config

TERMS = ("masked_lm", "generation")  # by token type
VIEWS = ("encoder",)
ARCHITECTURES = ("bert",)


class Objective(nn.Module):
    """Cross entropy of the labels, summed by token type; logits are computed only for rows that have one."""

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.model = EncoderModel(model_config, vocab_size, seed)

    def counts(self, views: Views) -> dict[str, int]:
        """The number of labels, by term."""
        view = views["encoder"]
        types, has_label = _types(view), view.labels != IGNORED_LABEL
        return {term: int((has_label & (types == kind)).sum()) for kind, term in enumerate(TERMS)}

    def forward(self, views: Views) -> dict[str, tuple[torch.Tensor, int]]:
        """The loss's sum (float32) and count, by term."""
        states_TW, view = self._states(views), views["encoder"]
        rows_L, labels_L = labelled(view)
        types_L = _types(view)[rows_L]
        extra = (self.config.z_loss, self.config.label_smoothing) if self.training else ()
        terms = {}
        for kind, term in enumerate(TERMS):
            own = types_L == kind
            terms[term] = (self.model.head(states_TW[rows_L[own]], labels_L[own], *extra), int(own.sum()))
        return terms

    @torch.no_grad()
    def predict(self, views: Views) -> torch.Tensor:
        """[T] of the view: the likeliest token where there is a label (given the true ones that its row sees)."""
        view = views["encoder"]
        return at_labels(view, self.model.head(self._states(views)[labelled(view)[0]]).argmax(-1))

    def _states(self, views: Views) -> torch.Tensor:
        view = views["encoder"]
        return self.model.encoder(self.model.embed(view), view, sight_by_type(view))


def sight_by_type(view: Batch) -> IntervalPattern:
    """Rows of type 0 are their sequence's prefix, seen by all its rows; the others are seen from themselves on."""
    before = nn.functional.pad(torch.cumsum(_types(view) == 0, dim=0), (1, 0))
    prefixes = before[view.cu_seqlens.long()].diff()
    return IntervalPattern.prefix(view.cu_seqlens, len(view.tokens), prefixes)


def _types(view: Batch) -> torch.Tensor:
    return torch.zeros_like(view.tokens) if view.token_types is None else view.token_types
