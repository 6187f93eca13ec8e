"""What a probe is asked about: a model, how it expects texts, and the texts; for a run also the run itself.

Subject.of_run(config, ...)      a run's checkpoint, through our own kernels
Subject.of_export(folder, ...)   an exported folder, through the library it was made for (exported.py)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from data_prep.errors import InputError
from data_prep.tokenizer import Tokenizer
from pipeline.config import RunConfig
from pipeline.evaluation.encoding import TextEncoder
from pipeline.evaluation.habits import Habits
from pipeline.evaluation.model import Model, TrainedModel
from pipeline.evaluation.objective import objective_with
from pipeline.evaluation.texts import Texts
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

    @cached_property
    def objective(self) -> nn.Module:
        """With these weights, in float32, ready to be asked; its model is the subject's."""
        return objective_with(self.config, self.data.tokenizer.vocab_size, self.weights)


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
        objective: Any = run.objective
        model = TrainedModel(objective.model, tokenizer.vocab_size)
        return cls(model, Habits.of_run(run.config, tokenizer.special), tokenizer, texts, options, run)

    @property
    def encoder(self) -> TextEncoder:
        """The model and its habits, for token ids."""
        return TextEncoder(self.model, self.habits)

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """A vector of each text [N, W], as the model was trained to give it or the library makes it."""
        if self.sentences is not None:
            return self.sentences(texts)
        return self.encoder.vectors([self.tokenizer.encode(text) for text in texts])


def needs_decoder(subject: Subject, probe: str) -> None:
    """InputError for a model without one."""
    if not subject.model.has_decoder:
        raise InputError(f"probe {probe}: this model has no decoder; `spanwright evaluate --list` says what each needs")


def needs_gaps(subject: Subject, probe: str) -> None:
    """InputError for a model that fills no gaps."""
    if subject.habits.fills is None:
        raise InputError(f"probe {probe}: this model fills no gaps: {subject.habits.why_not}")
