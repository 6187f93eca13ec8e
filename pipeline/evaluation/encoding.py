"""Texts through an encoder: the states of their tokens, or one vector each.

Invariant: a text is laid out as in training (habits.py). No text sees another, and none is changed or dropped but for
what is longer than the model reads.

Shape suffixes: R rows of a text, W width, N texts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluation.habits import Habits, Pooling
from pipeline.evaluation.model import Ids, Model


@dataclass(frozen=True)
class TextEncoder:
    """A model, and how a text is laid out for it."""

    model: Model
    habits: Habits

    def states(self, texts: Sequence[Ids]) -> Iterator[torch.Tensor]:
        """The last layer's states of each text's own tokens, [R, W] float32; special ones around it are left out."""
        head, tail = len(self.habits.head), len(self.habits.tail)
        for states_RW in self._all_states(texts):
            yield states_RW[head : len(states_RW) - tail]

    def vectors(self, texts: Sequence[Ids], pooling: Pooling | None = None) -> npt.NDArray[np.float32]:
        """A vector for each text [N, W]: the state of its first row ([CLS] where there is one), or the mean of all."""
        first = (pooling or self.habits.pooling) == "first"
        pooled = [states_RW[0] if first else states_RW.mean(0) for states_RW in self._all_states(texts)]
        return torch.stack(pooled).numpy()

    def _all_states(self, texts: Sequence[Ids]) -> Iterator[torch.Tensor]:
        return self.model.states([self.habits.around(text) for text in texts])
