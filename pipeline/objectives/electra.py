"""ELECTRA: a small generator fills the masks with its samples; the encoder tells which tokens are not the text's.

Clark et al. 2020, sections 2 and 3.2: both are trained together, the generator by maximum likelihood alone (no gradient
passes a sample), and share the embeddings. What is exported is the encoder. View: "encoder" in place with masks.
"""

import dataclasses
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from data_prep.section import Section
from pipeline.batch import Batch, Views
from pipeline.model.config import ModelConfig
from pipeline.model.generator import Generator, Sampler
from pipeline.model.initialisation import initialise
from pipeline.model.labels import at_labels, labelled
from pipeline.model.pretrained import EncoderModel
from pipeline.model.streams import key_streams
from pipeline.objectives.token_detection import detection_sum, replaced_rows

GENERATOR, DETECTION = "generator", "token_detection"
VIEWS = ("encoder",)
ARCHITECTURES = ("electra",)


class Config(Section):
    """The generator's size and the factor of the encoder's loss."""

    generator_size: Annotated[float, Field(gt=0.0, le=1.0)] = 1 / 3  # of the encoder's width; all its layers
    detection_weight: Annotated[float, Field(gt=0.0)] = 50.0


class Objective(nn.Module):
    """The generator's cross entropy at the labels, and the encoder's binary one at every row, each summed."""

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.model = EncoderModel(model_config, vocab_size, seed)
        self.generator = Generator(model_config, config.generator_size, self.model.vocab_size)
        self.sampler = Sampler()
        initialise(self.generator, self.generator.config, seed, prefix="generator.")
        self.generator.head.tie(self.model.embedding.weight)
        key_streams(self.generator, seed, prefix="generator.")
        key_streams(self.sampler, seed, prefix="sampler")

    def counts(self, views: Views) -> dict[str, int]:
        """Labels and rows, by term."""
        return {GENERATOR: views["encoder"].num_labels, DETECTION: views["encoder"].num_rows}

    def forward(self, views: Views) -> dict[str, tuple[torch.Tensor, int]]:
        """Each loss's sum (float32; the encoder's times its factor) and count, by term."""
        view, counts = views["encoder"], self.counts(views)
        rows_L, labels_L = labelled(view)
        states_LG = self.generator(self.model, view)[rows_L]
        filled = self._filled(view, rows_L, states_LG)
        detection = detection_sum(self.model, filled, replaced_rows(filled))
        return {
            GENERATOR: (self.generator.head(states_LG, labels_L), counts[GENERATOR]),
            DETECTION: (self.config.detection_weight * detection, counts[DETECTION]),
        }

    @torch.no_grad()
    def predict(self, views: Views) -> torch.Tensor:
        """[T] of the encoder view: what the generator takes for likeliest where there is a label."""
        view = views["encoder"]
        states_LG = self.generator(self.model, view)[labelled(view)[0]]
        return at_labels(view, self.generator.head(states_LG).argmax(-1))

    @torch.no_grad()
    def _filled(self, view: Batch, rows_L: torch.Tensor, states_LG: torch.Tensor) -> Batch:
        """The view with samples where its labels are (never an id that only pads the vocabulary)."""
        logits_LV = self.generator.head(states_LG)[:, : self.vocab_size]
        sampled_L = self.sampler(logits_LV, view, rows_L)
        return dataclasses.replace(view, tokens=view.tokens.index_copy(0, rows_L, sampled_L))
