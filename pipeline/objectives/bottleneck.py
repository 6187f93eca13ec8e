"""A vector that must hold the text: the encoder's first state is all that a weak decoder gets of the encoder.

RetroMAE (Xiao et al. 2022), DupMAE (Liu et al. 2023), SEED-Encoder (Lu et al. 2021): they differ in what else the
decoder sees (pipeline/model/bottleneck.py). Views: "encoder", in place with [CLS] first and labels at hidden tokens;
"decoder", the same text from a second draw, with labels at all tokens that it is asked about.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from data_prep.errors import InputError
from data_prep.section import Positive, Section
from pipeline.batch import IGNORED_LABEL, Batch, Views
from pipeline.kernels.attention.patterns import row_indices
from pipeline.model.bottleneck import BottleneckDecoder, EnhancedDecoder, WeakDecoder
from pipeline.model.config import ModelConfig
from pipeline.model.initialisation import initialise
from pipeline.model.labels import at_labels, labelled
from pipeline.model.pretrained import EncoderModel
from pipeline.model.streams import key_streams

if TYPE_CHECKING:
    from pipeline.config import RunConfig

MASKED_LM, DECODING, BAG_OF_WORDS = "masked_lm", "decoding", "bag_of_words"
VIEWS = ("encoder", "decoder")
ARCHITECTURES = ("bert", "mpnet", "modernbert")
POOLING = "cls"


class Enhanced(Section):
    """One layer; each row reads the vector and a sample of its own of the other tokens (RetroMAE)."""

    kind: Literal["enhanced"] = "enhanced"
    visible: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5


class Weak(Section):
    """Left to right; each row reads the vector and the last `window` tokens (SEED-Encoder)."""

    kind: Literal["weak"] = "weak"
    layers: Positive = 3
    window: Positive = 2


class Masked(Section):
    """Every row reads all of the decoder view's text, masks and all, and the vector (RetroMAE's basic decoding)."""

    kind: Literal["masked"] = "masked"
    layers: Positive = 1


class Config(Section):
    """The decoder, and the factors of the losses beside its own."""

    decoder: Annotated[Enhanced | Weak | Masked, Field(discriminator="kind")] = Enhanced()
    masked_lm: Annotated[float, Field(ge=0.0)] = 1.0
    bag_of_words: Annotated[float, Field(ge=0.0)] = 0.0


def check(config: Config, run: "RunConfig") -> None:
    """InputError unless both views are the whole text after a [CLS], and what a row must not read is not there."""
    corruption, kind = run.corruption, config.decoder.kind
    if corruption.layout.kind != "in_place" or not corruption.layout.ends:
        raise InputError(
            "corruption.layout: objective bottleneck takes the vector from the [CLS] in the first row: use layout "
            "{kind: in_place, ends: true}"
        )
    shown = corruption.second_draw is not None and getattr(corruption.second_draw.replace, "mask", 1.0) < 1.0
    if kind == "masked" and shown:
        raise InputError(
            "corruption.second_draw.replace: with objective.decoder of kind masked a row sees its own token, so all "
            "that it is asked about must be masks: use mask 1.0"
        )
    if run.model.randomized_positions:
        raise InputError(
            "model.randomized_positions: encoder and decoder would draw different places for the same token; leave it "
            "out with objective bottleneck"
        )


class Objective(nn.Module):
    """The encoder's masked language modelling, the decoder's reconstruction, the bag of words, each times its factor.

    `decoder` is left out of exports.
    """

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.model = EncoderModel(model_config, vocab_size, seed)
        self.decoder = _decoder(config, model_config)
        initialise(self.decoder, model_config, seed, prefix="decoder.")
        key_streams(self.decoder, seed, prefix="decoder.")

    def counts(self, views: Views) -> dict[str, int]:
        """Labels of either view, and sequences with a text, by term."""
        counts = {DECODING: views["decoder"].num_labels}
        if self.config.masked_lm:
            counts[MASKED_LM] = views["encoder"].num_labels
        if self.config.bag_of_words:
            counts[BAG_OF_WORDS] = int((views["encoder"].cu_seqlens.diff() > 0).sum())
        return counts

    def forward(self, views: Views) -> Mapping[str, tuple[torch.Tensor, int]]:
        """Each loss's sum (float32) times its factor, and its count, by term."""
        states_TW = self.model.encode(views["encoder"])
        counts = self.counts(views)
        sums = {DECODING: self.model.head(*self._decoded(states_TW, views["decoder"]))}
        if self.config.masked_lm:
            rows_L, labels_L = labelled(views["encoder"])
            hidden = self.model.head(states_TW.index_select(0, rows_L), labels_L)
            sums[MASKED_LM] = self.config.masked_lm * hidden
        if self.config.bag_of_words:
            sums[BAG_OF_WORDS] = self.config.bag_of_words * self._bag_of_words(states_TW, views["encoder"])
        return {term: (total, counts[term]) for term, total in sums.items()}

    @torch.no_grad()
    def predict(self, views: Views) -> torch.Tensor:
        """[T] of the decoder view: the likeliest token where it has a label."""
        states_LW, _ = self._decoded(self.model.encode(views["encoder"]), views["decoder"])
        return at_labels(views["decoder"], self.model.head(states_LW).argmax(-1))

    def _decoded(self, states_TW: torch.Tensor, view: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The decoder's states for the labels of `view` [L, W], and the labels [L]."""
        decoded_TW = self.decoder(self.model, states_TW, view)
        rows_L, labels_L = labelled(view)
        return decoded_TW.index_select(0, rows_L - self.decoder.offset), labels_L

    def _bag_of_words(self, states_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """Of the original text without its ends: the largest logits over its rows should tell its set of tokens."""
        assert view.labels is not None, "this view has labels"
        lengths_N = view.cu_seqlens.diff()
        indices_T = row_indices(view.cu_seqlens, len(states_TW))
        stops_T = (lengths_N - 1).repeat_interleave(lengths_N)
        inner_T = indices_T > 0
        inner_T[: len(stops_T)] &= indices_T[: len(stops_T)] < stops_T
        rows_R = torch.nonzero(inner_T).squeeze(1)
        original_T = torch.where(view.labels == IGNORED_LABEL, view.tokens, view.labels)
        bounds = torch.nn.functional.pad((lengths_N - 2).clamp(min=0).cumsum(0), (1, 0))
        return self.model.head(states_TW.index_select(0, rows_R), original_T[rows_R], bags=bounds)


def _decoder(config: Config, model: ModelConfig) -> BottleneckDecoder:
    decoder = config.decoder
    if isinstance(decoder, Enhanced):
        return EnhancedDecoder(model, decoder.visible)
    if isinstance(decoder, Weak):
        return WeakDecoder(model, decoder.layers, decoder.window)
    return BottleneckDecoder(model, decoder.layers)
