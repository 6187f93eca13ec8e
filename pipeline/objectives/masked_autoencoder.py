"""Masked autoencoding: the encoder reads only what is not hidden; masks join its states in a few late layers.

Meng et al. 2024 (MAE-LM, section 3) call the late layers a decoder, Liao et al. 2022 (3ML) the later layers: masks
stand at their places, shown to none of the exported layers. Views of layout visible_only: "encoder", and "decoder", the
whole text, with labels where it is hidden.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from data_prep.errors import InputError
from data_prep.section import Positive
from pipeline.batch import Batch, Views
from pipeline.model.config import ModelConfig
from pipeline.model.initialisation import initialise
from pipeline.model.labels import labelled
from pipeline.model.late_layers import LateLayers
from pipeline.model.pretrained import EncoderModel
from pipeline.model.streams import key_streams
from pipeline.objectives._token_prediction import Config as TokenConfig
from pipeline.objectives._token_prediction import TokenPrediction

if TYPE_CHECKING:
    from pipeline.config import RunConfig

TERM = "masked_lm"
VIEWS = ("encoder", "decoder")
ARCHITECTURES = ("bert", "mpnet", "modernbert")


class Config(TokenConfig):
    """As masked_lm; and how many layers see the masks."""

    late_layers: Positive = 4


def check(config: Config, run: "RunConfig") -> None:
    """InputError unless the encoder gets the text without what is hidden, at its own places."""
    if run.corruption.layout.kind != "visible_only":
        raise InputError(
            f"corruption.layout: objective masked_autoencoder puts the encoder's states back between the masks, and "
            f"layout {run.corruption.layout.kind} does not leave hidden tokens out: use layout visible_only"
        )
    if run.model.randomized_positions:
        raise InputError(
            "model.randomized_positions: encoder and late layers would draw different places for the same token; "
            "leave it out with objective masked_autoencoder"
        )


class Objective(TokenPrediction):
    """Cross entropy of the hidden tokens, summed; `late` is left out of exports."""

    term = TERM
    labelled_view = "decoder"

    def __init__(self, config: Config, model_config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__(config)
        self.model = EncoderModel(model_config, vocab_size, seed)
        self.late = LateLayers(model_config, config.late_layers)
        initialise(self.late, model_config, seed, prefix="late.")
        key_streams(self.late, seed, prefix="late.")

    def label_states(self, views: Views) -> tuple[torch.Tensor, torch.Tensor]:
        """The states [L, W] of the rows that have a label, and the labels [L]."""
        whole = views["decoder"]
        seen_SW = self.model.encode(views["encoder"])
        embedded_TW = self.model.encoder.inputs(self.model.embed(whole), whole)
        states_TW = self.late.see_all(put_back(seen_SW, views["encoder"], embedded_TW, whole), whole)
        rows_L, labels_L = labelled(whole)
        return states_TW.index_select(0, rows_L), labels_L


def put_back(seen_SW: torch.Tensor, encoder: Batch, embedded_TW: torch.Tensor, whole: Batch) -> torch.Tensor:
    """[T, W]: `embedded_TW` of the whole text, with the encoder's states instead at the places that its rows have."""
    rows_S = torch.arange(len(seen_SW), device=seen_SW.device, dtype=torch.int32)
    sequences_S = torch.searchsorted(encoder.cu_seqlens[1:].contiguous(), rows_S, right=True)
    places_S = whole.cu_seqlens[sequences_S] + encoder.positions
    nowhere = len(embedded_TW)  # for the tail
    places_S = torch.where(rows_S < encoder.cu_seqlens[-1], places_S, nowhere)
    room_TW = nn.functional.pad(embedded_TW, (0, 0, 0, 1))
    return room_TW.index_copy(0, places_S.to(torch.int64), seen_SW)[:nowhere]
