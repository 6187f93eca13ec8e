"""What a probe is asked about: a model, how it expects texts, and the texts; for a run also the run itself.

Subject.of_run(config, ...)      a run's checkpoint, through our own kernels
Subject.of_export(folder, ...)   an exported folder, through the library it was made for (exported.py)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from data_prep.errors import InputError, SpanwrightError
from data_prep.tokenizer import Tokenizer
from pipeline.config import RunConfig
from pipeline.evaluation.habits import Habits, Pooling
from pipeline.evaluation.model import Ids, Model, TrainedModel
from pipeline.evaluation.texts import Texts
from pipeline.objectives import build_objective
from pipeline.training.assembly import Data

FloatArray = npt.NDArray[np.float32]
Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class RunParts:
    """Of a run: what its own held-out loss is made of."""

    config: RunConfig
    data: Data
    weights: Weights
    world_size: int
    """Ranks that trained it: how its sums were added up."""
    threads: int | None


@dataclass(frozen=True)
class Options:
    """What the user adds: a file of query-document pairs, and sentence-transformers folders to stand beside."""

    pairs: Path | None = None
    beside: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Subject:
    """What probes ask."""

    model: Model
    habits: Habits
    tokenizer: Tokenizer
    texts: Texts
    options: Options = field(default_factory=Options)
    run: RunParts | None = None
    sentences: Callable[[Sequence[str]], FloatArray] | None = None
    """The vectors [N, W] of texts, where a library makes them in its own way."""

    @classmethod
    def of_run(cls, run: RunParts, texts: Texts, options: Options) -> "Subject":
        """The model that `run` trains, with these weights."""
        tokenizer = run.data.tokenizer
        objective: Any = objective_with(run.config, tokenizer.vocab_size, run.weights)
        model = TrainedModel(objective.model, tokenizer.vocab_size)
        return cls(model, Habits.of_run(run.config, tokenizer.special), tokenizer, texts, options, run)

    def vectors(self, texts: Sequence[str], pooling: Pooling | None = None) -> FloatArray:
        """A vector of each text [N, W]: the state of its first row, or the mean of all."""
        if self.sentences is not None and pooling is None:
            return self.sentences(texts)
        return self.token_vectors([self.tokenizer.encode(text) for text in texts], pooling)

    def token_vectors(self, texts: Sequence[Ids], pooling: Pooling | None = None) -> FloatArray:
        """The same of token ids."""
        states = self.model.states([self.habits.around(text) for text in texts])
        first = (pooling or self.habits.pooling) == "first"
        return torch.stack([rows_RW[0] if first else rows_RW.mean(0) for rows_RW in states]).numpy()

    def own_states(self, texts: Sequence[Ids]) -> torch.Tensor:
        """The last states of the texts' own tokens, one after another [rows, W]; special ones are left out."""
        head, tail = len(self.habits.head), len(self.habits.tail)
        states = self.model.states([self.habits.around(text) for text in texts])
        return torch.cat([rows_RW[head : len(rows_RW) - tail] for rows_RW in states])


def objective_with(config: RunConfig, vocab_size: int, weights: Weights) -> nn.Module:
    """The objective of a run, its `model` and all, with these weights, in float32, ready to be asked."""
    objective = build_objective(config.objective, config.model, vocab_size, config.run.seed)
    parameters = dict(objective.named_parameters())
    if wrong := sorted(weights.keys() ^ parameters.keys()):
        raise SpanwrightError(
            f"{config.checkpoints}: not a checkpoint of this objective: {wrong[0]} is in one of them only"
        )
    with torch.no_grad():
        for name, parameter in sorted(parameters.items()):
            parameter.copy_(weights[name])
    return objective.eval()


def needs_decoder(subject: Subject, probe: str) -> None:
    """InputError for a model without one."""
    if not subject.model.has_decoder:
        raise InputError(f"probe {probe}: this model has no decoder; `spanwright evaluate --list` says what each needs")


def needs_gaps(subject: Subject, probe: str) -> None:
    """InputError for a model that fills no gaps."""
    if subject.habits.fills is None:
        raise InputError(f"probe {probe}: this model fills no gaps: {subject.habits.why_not}")
