"""What a logged step tells: which part of a model a gradient belongs to, and the logits that the head forgets."""

import pytest
import torch

from pipeline.kernels.cross_entropy import linear_cross_entropy_sum
from pipeline.kernels.cross_entropy.watching import LogitFigures, watch_logits
from pipeline.training.observing import part_of


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.encoder.blocks.11.self_attention.query.weight", "encoder.blocks.11"),
        ("model.encoder.positions.table.weight", "encoder.positions.table"),
        ("model.embedding.weight", "embedding"),
        ("generator.model.encoder.blocks.0.self_norm.weight", "generator.model.encoder.blocks.0"),
        ("scale", "scale"),
    ],
)
def test_the_part_of_a_parameter_is_its_block_or_the_module_that_owns_it(name: str, part: str) -> None:
    assert part_of(name) == part


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_that_are_watched_give_the_same_loss_and_their_figures(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    states, weight = (torch.randn(size, 16, generator=generator).to(dtype) for size in (50, 300))
    labels = torch.randint(0, 300, (50,), generator=generator)
    plain, figures = linear_cross_entropy_sum(states, weight, labels), LogitFigures()
    with watch_logits(figures):
        watched = [linear_cross_entropy_sum(states[rows], weight, labels[rows]) for rows in (slice(20), slice(20, 50))]
        assert linear_cross_entropy_sum(states[:0], weight, labels[:0]) == 0.0
    assert linear_cross_entropy_sum(states, weight, labels) == plain  # no longer watched
    torch.testing.assert_close(sum(watched), plain, rtol=1e-6, atol=0.0)  # two sums, in another order
    logits = torch.nn.functional.linear(states, weight).double()
    assert figures.rows == 50
    assert figures.largest == float(logits.abs().max())
    assert figures.log_z / 50 == pytest.approx(float(logits.logsumexp(-1).mean()), rel=1e-6)  # summed in float64
