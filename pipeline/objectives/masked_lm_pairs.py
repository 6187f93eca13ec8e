"""Masked language modelling of pairs: also, are the two segments in their order?

MacBERT (Cui et al. 2020, section 3.2), BERT with sentence order prediction in the place of the next sentence (Lan et
al. 2020, ALBERT, section 3.1). View: "encoder", in place with pairs.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from data_prep.errors import InputError
from pipeline.batch import IGNORED_LABEL, Batch, Views
from pipeline.model.config import ModelConfig
from pipeline.model.initialisation import initialise
from pipeline.model.labels import at_labels, labelled
from pipeline.model.pretrained import EncoderModel
from pipeline.objectives._token_prediction import Config as Config

if TYPE_CHECKING:
    from pipeline.config import RunConfig

MASKED_LM, ORDER = "masked_lm", "sentence_order"
VIEWS = ("encoder",)
ARCHITECTURES = ("bert",)


def check(config: Config, run: "RunConfig") -> None:
    """InputError unless the corruption makes pairs."""
    if getattr(run.corruption.layout, "pairs", None) is None:
        raise InputError(
            "corruption.layout.pairs: objective masked_lm_pairs asks for the order of two segments: use pairs {kind: "
            "order}, or objective masked_lm"
        )


class PairHead(nn.Module):
    """BERT's pooled classifier: score(tanh(pool(state of [CLS]))) (Devlin et al. 2019, appendix A.1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool = nn.Linear(width, width)
        self.score = nn.Linear(width, 2)

    def forward(self, x_NW: torch.Tensor) -> torch.Tensor:
        """Logits [N, 2]: in order, swapped."""
        return self.score(torch.tanh(self.pool(x_NW)))


class Objective(nn.Module):
    """Cross entropy of the labels and of the pairs' order, each summed. `pair` is left out of exports."""

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.model = EncoderModel(model_config, vocab_size, seed)
        self.pair = PairHead(model_config.d_model)
        initialise(self.pair, model_config, seed, prefix="pair.")

    def counts(self, views: Views) -> dict[str, int]:
        """The number of labels and of pairs, by term."""
        view = views["encoder"]
        return {MASKED_LM: view.num_labels, ORDER: int(_asked(view).sum())}

    def forward(self, views: Views) -> dict[str, tuple[torch.Tensor, int]]:
        """The losses' sums (float32) and counts, by term."""
        view, counts = views["encoder"], self.counts(views)
        states_TW = self.model.encode(view)
        rows_L, labels_L = labelled(view)
        extra = (self.config.z_loss, self.config.label_smoothing) if self.training else ()
        hidden = self.model.head(states_TW[rows_L], labels_L, *extra)
        return {MASKED_LM: (hidden, counts[MASKED_LM]), ORDER: (self._order(states_TW, view), counts[ORDER])}

    @torch.no_grad()
    def predict(self, views: Views) -> torch.Tensor:
        """[T] of the encoder view: the likeliest token where there is a label."""
        view = views["encoder"]
        states_TW = self.model.encode(view)
        return at_labels(view, self.model.head(states_TW[labelled(view)[0]]).argmax(-1))

    def _order(self, states_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """The sum of the cross entropy of each sequence that is a pair, read from its [CLS]."""
        asked_N = _asked(view)
        assert view.pair_labels is not None, "just asked"
        logits_N2 = self.pair(states_TW[view.cu_seqlens[:-1][asked_N].to(torch.int64)])
        logits_N2 = logits_N2.to(torch.promote_types(logits_N2.dtype, torch.float32))
        return nn.functional.cross_entropy(logits_N2, view.pair_labels[asked_N].to(torch.int64), reduction="sum")


def _asked(view: Batch) -> torch.Tensor:
    """Which sequences are pairs, bool [N]."""
    assert view.pair_labels is not None, "the config was checked"
    return torch.as_tensor(view.pair_labels != IGNORED_LABEL)
