"""FIRE against its formula, written down as in the paper's code."""

import dataclasses

import pytest
import torch

from pipeline.batch import Batch
from pipeline.kernels.attention.bias import expand
from pipeline.model.position_config import FirePositions
from pipeline.model.positions.fire import Fire, last_positions, piecewise
from tests.pipeline.conftest import make_view

HEADS = 3


def draw_fire(bidirectional: bool, threshold: float = 6.0) -> Fire:
    fire = Fire(FirePositions(width=7, threshold=threshold), HEADS, bidirectional)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in fire.named_parameters():
            parameter.normal_(*fire.initial(name), generator=generator)
    return fire.double()


def as_in_the_paper(fire: Fire, i: torch.Tensor, j: torch.Tensor, extents: torch.Tensor) -> torch.Tensor:
    """[H, Lq, Lk]: b = MLP(log(c |i - j| + 1) / log(c max(L, i) + 1)), ahead with the opposite sign."""
    difference = (i[:, None] - j).double()
    threshold = fire.threshold * fire.config.threshold
    longest = torch.where(extents <= threshold, threshold, extents.double())
    distance = (
        torch.log((fire.curvature * difference).abs() + 1) / (torch.log(fire.curvature * longest + 1) + 1e-6)[:, None]
    )
    signed = torch.where(difference < 0, -distance, distance)
    hidden = torch.relu(signed[..., None] * fire.hidden_weight + fire.hidden_bias)
    return (hidden @ fire.output_weight.T).permute(2, 0, 1)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("gaps", [True, False])
def test_the_bias_and_all_its_gradients_are_those_of_the_paper(bidirectional: bool, gaps: bool) -> None:
    view = make_view([[1] * 5, [1] * 11], 18)
    if gaps:
        view = dataclasses.replace(view, positions=2 * view.positions + 1)
    fire, rows = draw_fire(bidirectional), view.sequence(1)
    positions = view.positions[rows]
    extents = positions.max().expand(len(positions)) if bidirectional else positions
    expected = as_in_the_paper(fire, positions, positions, extents)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    wanted = torch.autograd.grad(expected, list(fire.parameters()), weights)

    bias = fire.bias(view)
    expansion = expand(bias, 11, torch.float64)
    torch.testing.assert_close(expansion.block(rows, rows), expected.detach(), rtol=1e-12, atol=1e-12)
    expansion.collect(rows, rows, weights)
    got = torch.autograd.grad(bias.values, list(fire.parameters()), expansion.gradients())
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_below_the_threshold_a_decoders_bias_depends_on_the_distance_alone_and_beyond_it_stretches() -> None:
    view = make_view([[1] * 30])
    block = expand(draw_fire(False, threshold=10.0).bias(view), 30, torch.float64).block(slice(0, 30), slice(0, 30))
    assert torch.equal(block[:, 3, 1], block[:, 9, 7])
    assert not torch.allclose(block[:, 3, 1], block[:, 29, 27])
    fire = draw_fire(False, threshold=10.0)
    ends = as_in_the_paper(fire, torch.tensor([12, 29]), torch.tensor([0]), torch.tensor([12, 29])).detach()
    torch.testing.assert_close(ends[:, 0], ends[:, 1])  # the first row is as far as can be, from wherever one looks


def test_an_encoder_tells_left_from_right() -> None:
    view = make_view([[1] * 8])
    block = expand(draw_fire(True).bias(view), 8, torch.float64).block(slice(0, 8), slice(0, 8))
    assert not torch.allclose(block, block.transpose(1, 2))


@pytest.mark.parametrize("seed", range(5))
def test_pieces_are_the_perceptron_units_that_never_change_included(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight, bias = (torch.randn(6, generator=generator, dtype=torch.float64) for _ in range(2))
    weight[0] = bias[1] = weight[2] = bias[2] = weight[3] = 0.0
    output = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    (intercepts, slopes), breaks = piecewise(weight, bias, output)
    x = torch.linspace(-3, 3, 101, dtype=torch.float64)
    places = torch.searchsorted(breaks, x)
    expected = output @ torch.relu(x[None, :] * weight[:, None] + bias[:, None])
    torch.testing.assert_close(intercepts[:, places] + slopes[:, places] * x, expected, rtol=1e-12, atol=1e-12)


def test_a_sequence_reaches_to_its_greatest_position() -> None:
    view: Batch = make_view([[1, 2, 3], [], [4], [5, 6]], num_rows=8)
    view.positions[:6] = torch.tensor([4, 9, 2, 0, 7, 7])
    assert last_positions(view).tolist() == [9, 9, 9, 0, 7, 7, 0, 0]
