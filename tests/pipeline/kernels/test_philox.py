import numpy as np
import pytest
import torch

from pipeline.corruption import philox as numpy_philox
from pipeline.kernels.philox import probability_threshold, random_bits


@pytest.mark.parametrize("first_draw", [0, 4, 3 * 2**20])
def test_torch_bits_are_the_numpy_bits(first_draw: int) -> None:
    generator = np.random.default_rng(0)
    positions = np.concatenate([generator.integers(0, 2**62, 300), [0, 1, 2**32 - 1, 2**32, 2**40 + 7]])
    rows = np.concatenate([generator.integers(0, 2**32, 300), [0, 2**32 - 1, 1, 2, 3]])
    key = numpy_philox.stream_key(3, "dropout/encoder.blocks.0.dropout_self")
    got = random_bits(key, torch.from_numpy(positions), torch.from_numpy(rows), 7, first_draw)
    expected = numpy_philox.random_bits(key, positions[:, None], rows[:, None], first_draw + np.arange(7))
    assert got.tolist() == expected.tolist()


def test_bits_of_a_two_dimensional_grid_keep_their_places() -> None:
    key = numpy_philox.Key(1, 2)
    positions, rows = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[5, 6], [7, 8]])
    got = random_bits(key, positions, rows, 5)
    assert got.shape == (2, 2, 5)
    assert got[1, 0].tolist() == numpy_philox.random_bits(key, 3, 7, np.arange(5)).tolist()


def test_thresholds_are_exact_at_the_ends_and_refuse_what_is_no_probability() -> None:
    assert [probability_threshold(p) for p in (0.0, 0.5, 1.0)] == [0, 2**31, 2**32]
    with pytest.raises(ValueError, match="between 0 and 1"):
        probability_threshold(1.5)
