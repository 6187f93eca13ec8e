"""Masked language modelling of pairs: also, are the two segments in their order, or does the second follow the first?

BERT with next sentence prediction (Devlin et al. 2019, section 3.1, task 2), or with sentence order prediction in its
place (Lan et al. 2020, ALBERT, section 3.1; MacBERT, Cui et al. 2020, section 3.2). View: "encoder", in place with
pairs.
"""

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from data_prep.errors import InputError
from pipeline.batch import IGNORED_LABEL, Batch, Views
from pipeline.model.config import ModelConfig
from pipeline.model.initialisation import initialise
from pipeline.model.labels import at_labels, labelled
from pipeline.model.pretrained import EncoderModel
from pipeline.objectives._token_prediction import Config as TokenConfig

if TYPE_CHECKING:
    from pipeline.config import RunConfig

MASKED_LM = "masked_lm"
ASKED_BY = {"order": "sentence_order", "next": "next_sentence"}  # what a kind of pairs can be asked
VIEWS = ("encoder",)
ARCHITECTURES = ("bert",)


class Config(TokenConfig):
    """As masked_lm; and what is asked of a pair, which is the name of the loss term too."""

    asks: Literal["sentence_order", "next_sentence"] = "sentence_order"


def check(config: Config, run: "RunConfig") -> None:
    """InputError unless the corruption makes the pairs that are asked about."""
    wanted = next(kind for kind, asked in ASKED_BY.items() if asked == config.asks)
    pairs = run.corruption.pairs
    if pairs is None or pairs.kind != wanted:
        raise InputError(
            f"corruption.layout.pairs: objective masked_lm_pairs with asks {config.asks} is about two segments, and "
            f"there are {'none' if pairs is None else f'those of kind {pairs.kind}'}: use pairs {{kind: {wanted}}}, or "
            "objective masked_lm"
        )


class PairHead(nn.Module):
    """BERT's pooled classifier: score(tanh(pool(state of [CLS]))) (Devlin et al. 2019, appendix A.1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool = nn.Linear(width, width)
        self.score = nn.Linear(width, 2)

    def forward(self, x_NW: torch.Tensor) -> torch.Tensor:
        """Logits [N, 2]: as the text is, or not."""
        return self.score(torch.tanh(self.pool(x_NW)))


class Objective(nn.Module):
    """Cross entropy of the labels and of the pairs, each summed. `pair` is left out of exports."""

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.model = EncoderModel(model_config, vocab_size, seed)
        self.pair = PairHead(model_config.d_model)
        initialise(self.pair, model_config, seed, prefix="pair.")

    def counts(self, views: Views) -> dict[str, int]:
        """The number of labels and of pairs, by term."""
        view = views["encoder"]
        return {MASKED_LM: view.num_labels, self.config.asks: int(_asked(view).sum())}

    def forward(self, views: Views) -> dict[str, tuple[torch.Tensor, int]]:
        """The losses' sums (float32) and counts, by term."""
        view, counts = views["encoder"], self.counts(views)
        states_TW = self.model.encode(view)
        rows_L, labels_L = labelled(view)
        extra = (self.config.z_loss, self.config.label_smoothing) if self.training else ()
        hidden = self.model.head(states_TW[rows_L], labels_L, *extra)
        asked = self.config.asks
        return {MASKED_LM: (hidden, counts[MASKED_LM]), asked: (self._pairs(states_TW, view), counts[asked])}

    @torch.no_grad()
    def predict(self, views: Views) -> torch.Tensor:
        """[T] of the encoder view: the likeliest token where there is a label."""
        view = views["encoder"]
        states_TW = self.model.encode(view)
        return at_labels(view, self.model.head(states_TW[labelled(view)[0]]).argmax(-1))

    def _pairs(self, states_TW: torch.Tensor, view: Batch) -> torch.Tensor:
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
