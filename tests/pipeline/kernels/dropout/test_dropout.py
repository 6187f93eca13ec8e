import numpy as np
import pytest
import torch

from pipeline.corruption import philox
from pipeline.kernels.dropout import Dropout, dropout

KEY = philox.stream_key(11, "dropout/test")


def drop(rate: float, rows: list[int], positions: list[int]) -> Dropout:
    return Dropout(rate, KEY, torch.tensor(rows), torch.tensor(positions))


def test_an_element_is_dropped_exactly_when_its_philox_bits_lie_below_the_rate() -> None:
    rows, positions = [0, 1, 2, 7], [4, 4, 9, 2**35]
    got = dropout(torch.ones(4, 37), drop(0.25, rows, positions))
    bits = philox.random_bits(KEY, np.array(positions)[:, None], np.array(rows)[:, None], np.arange(37))
    expected = np.where(bits < 2**30, 0.0, 1 / 0.75).astype(np.float32)
    assert got.tolist() == expected.tolist()


def test_a_row_loses_the_same_elements_whatever_micro_batch_it_sits_in() -> None:
    rows, positions = list(range(20)), [3] * 10 + [8] * 10
    together = dropout(torch.ones(20, 16), drop(0.5, rows, positions))
    shuffled = torch.randperm(20, generator=torch.Generator().manual_seed(1)).tolist()
    apart = dropout(torch.ones(20, 16), drop(0.5, [rows[i] for i in shuffled], [positions[i] for i in shuffled]))
    assert apart.tolist() == together[shuffled].tolist()


def test_another_position_row_or_key_drops_other_elements() -> None:
    ones = torch.ones(1, 256)
    base = dropout(ones, drop(0.5, [1], [1]))
    others = [
        dropout(ones, drop(0.5, [2], [1])),
        dropout(ones, drop(0.5, [1], [2])),
        dropout(ones, Dropout(0.5, philox.stream_key(11, "dropout/other"), torch.tensor([1]), torch.tensor([1]))),
    ]
    for other in others:
        share_equal = ((base == 0) == (other == 0)).double().mean()
        assert 0.3 < share_equal < 0.7  # independent halves agree in half of the places; 256 places, 6 sigma


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_share_dropped_is_the_rate_and_the_mean_is_kept(rate: float) -> None:
    out = dropout(torch.ones(400, 256), drop(rate, list(range(400)), [0] * 400))
    sigma = (rate * (1 - rate) / out.numel()) ** 0.5
    assert abs((out == 0).double().mean() - rate) < 6 * sigma
    assert abs(out.double().mean() - 1.0) < 6 * sigma / (1 - rate)


def test_gradients_are_dropped_where_values_are() -> None:
    x = torch.ones(3, 64, requires_grad=True)
    out = dropout(x, drop(0.5, [0, 1, 2], [7, 7, 7]))
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == out.tolist()
