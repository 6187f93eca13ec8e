"""Flat batches by hand, for tests of what runs on them."""

from collections.abc import Callable, Sequence

import pytest
import torch

from pipeline.batch import IGNORED_LABEL, Batch, Views

ViewMaker = Callable[..., Batch]


def make_view(
    sequences: Sequence[Sequence[int]],
    num_rows: int | None = None,
    labels: Sequence[Sequence[int]] | None = None,
    sample_position: int = 5,
) -> Batch:
    """A view of these token sequences (lists of ids) with a tail up to `num_rows`; all from one sample."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    used = int(lengths.sum())
    num_rows = used if num_rows is None else num_rows

    def padded(values: Sequence[Sequence[int]], filler: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
        flat = [value for row in values for value in row]
        return torch.tensor(flat + [filler] * (num_rows - used), dtype=dtype)

    return Batch(
        tokens=padded(sequences, 0),
        positions=padded([range(length) for length in lengths.tolist()], 0),
        cu_seqlens=torch.cat([torch.zeros(1), lengths.cumsum(0)]).to(torch.int32),
        sample_rows=padded([range(used)], 0),
        sample_positions=padded([[sample_position] * used], -1, torch.int64),
        labels=None if labels is None else padded(labels, IGNORED_LABEL),
    )


def make_random_views(
    encoder_lengths: Sequence[int], decoder_lengths: Sequence[int], vocab_size: int, seed: int, tail: int = 3
) -> Views:
    """An encoder view and a labelled decoder view (labels shifted right) of random tokens."""
    generator = torch.Generator().manual_seed(seed)

    def draw(length: int) -> list[int]:
        return torch.randint(7, vocab_size, (length,), generator=generator).tolist()

    sources, labels = [draw(length) for length in encoder_lengths], [draw(length) for length in decoder_lengths]
    targets = [[0, *label[:-1]] if label else [] for label in labels]
    return {
        "encoder": make_view(sources, sum(encoder_lengths) + tail),
        "decoder": make_view(targets, sum(decoder_lengths) + tail, labels),
    }


@pytest.fixture
def view() -> ViewMaker:
    return make_view


@pytest.fixture
def random_views() -> Callable[..., Views]:
    return make_random_views
