"""What a probe may ask of a model, whoever wrote its code: a trained one of ours, or one loaded by another library.

Everything is asked of lists of token ids as they stand, special tokens and all. In float32, without dropout.

Shape suffixes: R rows of a sequence, S rows of the encoder's, W width, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from pipeline.batch import Batch
from pipeline.corruption.sampling import indices_within, offsets_of
from pipeline.model.encoder_decoder import EncoderDecoder
from pipeline.model.pretrained import EncoderModel

Ids = Sequence[int] | npt.NDArray[np.integer]
ROWS_AT_ONCE = 2048


class Model(Protocol):
    """A model in float32. `layer` 0 is what the first layer reads, `num_layers` (or None) the encoder's output."""

    num_layers: int
    has_decoder: bool

    def embedding(self) -> torch.Tensor:
        """The table [V, W] of the tokenizer's vocabulary."""

    def layers(self, sequences: Sequence[Ids]) -> Iterator[list[torch.Tensor]]:
        """Of each sequence the states [R, W] at every layer, `num_layers` + 1 of them."""

    def states(self, sequences: Sequence[Ids], layer: int | None = None) -> Iterator[torch.Tensor]:
        """Of each sequence the encoder's states [R, W]; of a layer before the last, normalised as the last would be."""

    def row_logits(self, sequences: Sequence[Ids], rows: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
        """Of each sequence the logits [rows, V] of the masked head at its `rows`."""

    def decode(
        self, memories: Sequence[torch.Tensor], targets: Sequence[Ids], first: Sequence[int]
    ) -> Iterator[torch.Tensor]:
        """Of each decoder input `targets` the logits [rows, V] from row `first` on, given its encoder states [S, W]."""


class TrainedModel:
    """A model of ours, through its own kernels on flat batches."""

    def __init__(self, model: EncoderModel, vocab_size: int) -> None:
        self._model, self._vocab_size = model.eval(), vocab_size
        self.num_layers = model.config.num_layers
        self.has_decoder = isinstance(model, EncoderDecoder)

    def embedding(self) -> torch.Tensor:
        """See Model."""
        return self._model.embedding.weight.detach()[: self._vocab_size]

    @torch.no_grad()
    def layers(self, sequences: Sequence[Ids]) -> Iterator[list[torch.Tensor]]:
        """See Model."""
        for part in parts(sequences):
            batch = flat_batch(part)
            taps = [self._inputs(batch), *self._taps(batch)]
            for n in range(batch.num_sequences):
                yield [tap_TW[batch.sequence(n)] for tap_TW in taps]

    @torch.no_grad()
    def states(self, sequences: Sequence[Ids], layer: int | None = None) -> Iterator[torch.Tensor]:
        """See Model."""
        for part in parts(sequences):
            batch = flat_batch(part)
            states_TW = self._model.encode(batch)
            if layer is not None and layer < self.num_layers:
                states_TW = self._model.encoder.norm([self._inputs(batch), *self._taps(batch)][layer])
            for n in range(batch.num_sequences):
                yield states_TW[batch.sequence(n)]

    @torch.no_grad()
    def row_logits(self, sequences: Sequence[Ids], rows: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
        """See Model."""
        for states_RW, own in zip(self.states(sequences), rows, strict=True):
            yield self._model.head(states_RW[list(own)])[:, : self._vocab_size]

    @torch.no_grad()
    def decode(
        self, memories: Sequence[torch.Tensor], targets: Sequence[Ids], first: Sequence[int]
    ) -> Iterator[torch.Tensor]:
        """See Model."""
        assert isinstance(self._model, EncoderDecoder), "asked before"
        done = 0
        for part in parts(targets):
            view, own = flat_batch(part), memories[done : done + len(part)]
            memory = flat_batch([[0] * len(memory_SW) for memory_SW in own])
            states_TW = self._model.decode(view, torch.cat(list(own)), memory)
            for n in range(len(part)):
                yield self._model.head(states_TW[view.sequence(n)][first[done + n] :])[:, : self._vocab_size]
            done += len(part)

    def _inputs(self, batch: Batch) -> torch.Tensor:
        return self._model.encoder.inputs(self._model.embed(batch), batch)

    def _taps(self, batch: Batch) -> list[torch.Tensor]:
        """After each layer; the last as the encoder gives it."""
        taps: list[torch.Tensor] = []
        last_TW = self._model.encode(batch, taps)
        return [*taps[:-1], last_TW]


def flat_batch(sequences: Sequence[Ids]) -> Batch:
    """The sequences one after another, as torch tensors."""
    rows = [np.asarray(sequence, np.int32) for sequence in sequences]
    offsets = offsets_of(np.array([len(row) for row in rows], np.int64))
    indices = indices_within(offsets).astype(np.int32)
    return Batch(
        tokens=np.concatenate(rows),
        positions=indices,
        cu_seqlens=offsets.astype(np.int32),
        sample_rows=indices,
        sample_positions=np.repeat(np.arange(len(rows)), np.diff(offsets)),
    ).to("cpu")


def parts(sequences: Sequence[Ids]) -> Iterator[Sequence[Ids]]:
    """The sequences in order, as many at once as have ROWS_AT_ONCE rows (one, where it alone has more)."""
    first = rows = 0
    for number, sequence in enumerate(sequences):
        if number > first and rows + len(sequence) > ROWS_AT_ONCE:
            yield sequences[first:number]
            first, rows = number, 0
        rows += len(sequence)
    if first < len(sequences):
        yield sequences[first:]
