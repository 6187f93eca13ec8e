"""A vector that must hold the text, by way of a head that gets nothing else from the upper half of the encoder.

Condenser (Gao and Callan 2021, section 3): the head's layers read the last layer's state of [CLS] and the other tokens'
states of an early layer, and tell the hidden tokens. coCondenser (2022, section 3.2) also contrasts the vectors of two
spans of a document with those of others (pipeline/model/contrast.py). View: "encoder", in place with [CLS] first.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import nn

from data_prep.errors import InputError
from data_prep.section import Positive, Section
from pipeline.batch import Batch, Views
from pipeline.kernels.attention.patterns import row_indices
from pipeline.model.config import ModelConfig
from pipeline.model.contrast import CachedContrast, contrast_sum, paired, step_contrast, vectors_of
from pipeline.model.initialisation import initialise
from pipeline.model.labels import at_labels, labelled
from pipeline.model.late_layers import LateLayers
from pipeline.model.pretrained import EncoderModel
from pipeline.model.streams import key_streams

if TYPE_CHECKING:
    from pipeline.config import RunConfig

CONDENSED, MASKED_LM, CONTRAST = "condensed", "masked_lm", "contrast"
VECTORS = "vectors"
VIEWS = ("encoder",)
ARCHITECTURES = ("bert", "mpnet")
POOLING = "cls"


class Contrast(Section):
    """Negatives are the other spans in `group` consecutive samples of the run, for any number of ranks."""

    group: Annotated[int, Field(ge=2)] = 64
    temperature: Annotated[float, Field(gt=0.0)] = 1.0
    weight: Annotated[float, Field(gt=0.0)] = 1.0


class Config(Section):
    """Which layer's states the head reads, how many layers it has, and what is trained beside it."""

    early_layer: Positive = 6
    head_layers: Positive = 2
    masked_lm: Annotated[float, Field(ge=0.0)] = 1.0  # factor of the encoder's own loss
    contrast: Contrast | None = None


def check(config: Config, run: "RunConfig") -> None:
    """InputError unless there is a [CLS], a layer between early and late, and, for contrast, enough pairs."""
    layout, stream, training = run.corruption.layout, run.stream, run.training
    if layout.kind != "in_place" or not layout.ends:
        raise InputError(
            "corruption.layout: objective condenser takes the vector from the [CLS] in the first row: use layout "
            "{kind: in_place, ends: true}"
        )
    if config.early_layer >= run.model.num_layers:
        raise InputError(
            f"objective.early_layer ({config.early_layer}) must be below model.num_layers ({run.model.num_layers}): "
            "the layers above it are there to fill the vector"
        )
    if config.contrast is None:
        return
    if stream.spans_per_piece != 2:
        raise InputError("objective.contrast compares two spans of a document: set stream.spans_per_piece=2")
    if training.global_batch % config.contrast.group:
        raise InputError(
            f"training.global_batch ({training.global_batch}) is not whole groups of objective.contrast.group "
            f"({config.contrast.group}) samples: a batch too small for contrast, or not a multiple"
        )


class Objective(nn.Module):
    """The head's and the encoder's masked language modelling, and the contrast; `late` is left out of exports."""

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.model = EncoderModel(model_config, vocab_size, seed)
        self.late = LateLayers(model_config, config.head_layers)
        initialise(self.late, model_config, seed, prefix="late.")
        key_streams(self.late, seed, prefix="late.")
        self._cached: dict[int, CachedContrast] = {}  # by the position of a micro-batch's first sample

    def begin_step(self, step: Sequence[Views], world_size: int, forward: Callable[..., Any]) -> None:
        """Before a step's forwards: the contrast, where the ranks' micro-batches are not whole groups.

        `step` are the micro-batches of this rank; `forward` calls this module. Collective.
        """
        contrast, views = self.config.contrast, [views["encoder"] for views in step]
        if contrast is None or world_size * _num_samples(views[0]) % contrast.group == 0:
            return
        with torch.no_grad():
            vectors = [forward(views, vectors_only=True)[VECTORS][0] for views in step]
        cached = step_contrast(vectors, views, contrast.group, contrast.temperature)
        self._cached = {int(view.sample_positions[0]): part for view, part in zip(views, cached, strict=True)}

    def counts(self, views: Views) -> dict[str, int]:
        """Labels, and sequences with a partner, by term."""
        view = views["encoder"]
        counts = {CONDENSED: view.num_labels}
        if self.config.masked_lm:
            counts[MASKED_LM] = view.num_labels
        if self.config.contrast:
            counts[CONTRAST] = int(paired(view.cu_seqlens).sum())
        return counts

    def forward(self, views: Views, vectors_only: bool = False) -> Mapping[str, tuple[torch.Tensor, int]]:
        """Each loss's sum (float32) times its factor, and its count, by term; or the sequences' vectors [N, W]."""
        view, counts, contrast = views["encoder"], self.counts(views), self.config.contrast
        if vectors_only:
            vectors_NW = vectors_of(self.model.encode(view), view)
            return {VECTORS: (vectors_NW, len(vectors_NW))}
        rows_L, labels_L = labelled(view)
        last_TW, condensed_TW = self._states(view)
        sums = {CONDENSED: self.model.head(condensed_TW.index_select(0, rows_L), labels_L)}
        if self.config.masked_lm:
            own = self.model.head(last_TW.index_select(0, rows_L), labels_L)
            sums[MASKED_LM] = self.config.masked_lm * own
        if contrast:
            sums[CONTRAST] = contrast.weight * self._contrast(contrast, last_TW, view)
        return {term: (total, counts[term]) for term, total in sums.items()}

    @torch.no_grad()
    def predict(self, views: Views) -> torch.Tensor:
        """[T] of the encoder view: the likeliest token where there is a label, by the encoder itself."""
        rows_L, _ = labelled(views["encoder"])
        states_LW = self.model.encode(views["encoder"]).index_select(0, rows_L)
        return at_labels(views["encoder"], self.model.head(states_LW).argmax(-1))

    def _contrast(self, contrast: Contrast, last_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        if self.training and self._cached:
            return self._cached.pop(int(view.sample_positions[0])).sum_at(vectors_of(last_TW, view))
        return contrast_sum(last_TW, view, contrast.group, contrast.temperature, exchange=self.training)

    def _states(self, view: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The last states of the encoder and of the head's layers, [T, W] each."""
        taps: list[torch.Tensor] = []
        last_TW = self.model.encode(view, taps)
        slots_T1 = (row_indices(view.cu_seqlens, len(last_TW)) == 0)[:, None]
        mixed_TW = torch.where(slots_T1, last_TW, taps[self.config.early_layer - 1])
        return last_TW, self.late.see_all(mixed_TW, view)


def _num_samples(view: Batch) -> int:
    """Samples of a micro-batch, which are consecutive."""
    return int(view.sample_positions.max() + 1 - view.sample_positions[0])
