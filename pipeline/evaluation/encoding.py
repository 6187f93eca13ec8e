"""Texts through a trained encoder: the states of their tokens, or one vector each.

Invariant: a text is laid out as in training: between [CLS] and [SEP] where the recipe puts these, alone where it does
not. No text sees another, and none is changed or dropped but for what is longer than `max_tokens`.

Shape suffixes: T rows, W width, N texts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import Batch
from pipeline.checkpoint.weights import load_weights, newest_checkpoint
from pipeline.config import RunConfig
from pipeline.evaluation.habits import Pooling
from pipeline.evaluation.model import flat_batch
from pipeline.evaluation.subject import objective_with
from pipeline.model.pretrained import EncoderModel
from pipeline.objectives import build_objective

Tokens = npt.NDArray[np.integer]
_TEXTS_AT_ONCE = 32


def load_objective(config: RunConfig, vocab_size: int) -> nn.Module:
    """The objective of a run, its `model` and all, with the weights of its newest valid checkpoint.

    In float32 on the CPU, ready to be asked. InputError when nothing has been trained.
    """
    return objective_with(config, vocab_size, load_weights(newest_checkpoint(config.checkpoints)))


@dataclass(frozen=True)
class TextEncoder:
    """A model, and how a text is laid out for it."""

    model: EncoderModel
    special: SpecialTokens
    has_ends: bool
    max_tokens: int
    """Tokens of a text beyond these are left out; [CLS] and [SEP] do not count."""

    @classmethod
    def of_run(cls, config: RunConfig, special: SpecialTokens, vocab_size: int, trained: bool = True) -> "TextEncoder":
        """The encoder of a run, trained or with its first weights; texts are as long as its longest sequences."""
        has_ends = getattr(config.corruption.layout, "ends", False)
        longest = config.stream.window // config.stream.spans_per_piece
        if trained:
            objective: Any = load_objective(config, vocab_size)
        else:
            objective = build_objective(config.objective, config.model, vocab_size, config.run.seed).eval()
        return cls(objective.model, special, has_ends, longest)

    def batch(self, texts: Sequence[Tokens]) -> Batch:
        """The texts one after another, as torch tensors."""
        head, tail = ([self.special.cls], [self.special.sep]) if self.has_ends else ([], [])
        return flat_batch([np.concatenate([head, text[: self.max_tokens], tail]).astype(np.int32) for text in texts])

    @torch.no_grad()
    def states(self, texts: Sequence[Tokens]) -> Iterator[torch.Tensor]:
        """The last layer's states of each text's own tokens, [tokens, W] float32, without those of [CLS] and [SEP]."""
        ends = int(self.has_ends)
        for states_TW in self._sequences(texts):
            yield states_TW[ends : len(states_TW) - ends]

    @torch.no_grad()
    def vectors(self, texts: Sequence[Tokens], pooling: Pooling) -> npt.NDArray[np.float32]:
        """A vector for each text [N, W]: the state of its first row ([CLS] where there is one), or the mean of all."""
        pooled = [rows[0] if pooling == "first" else rows.mean(0) for rows in self._sequences(texts)]
        return torch.stack(pooled).numpy()

    def _sequences(self, texts: Sequence[Tokens]) -> Iterator[torch.Tensor]:
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            batch = self.batch(texts[first : first + _TEXTS_AT_ONCE])
            states_TW = self.model.encode(batch).float()
            for n in range(batch.num_sequences):
                yield states_TW[batch.sequence(n)]
