"""InfoNCE between spans: the plain formula, the same on any number of ranks, refused where groups are cut."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from data_prep.errors import InputError
from pipeline.batch import Batch
from pipeline.model.contrast import contrast_sum, paired

WIDTH, ROWS_OF_SAMPLE = 8, 10
# Rows of the four sequences of a sample, by its position: some spans have no partner.
LENGTHS = ((3, 4, 1, 1), (5, 5, 0, 0), (2, 3, 0, 4), (2, 2, 3, 3))


def view_of(positions: range) -> Batch:
    """These samples: ten rows and four sequences each."""
    lengths = torch.tensor([LENGTHS[position] for position in positions]).flatten()
    used = int(lengths.sum())
    num_rows = len(positions) * ROWS_OF_SAMPLE
    per_sample = lengths.view(-1, 4).sum(1)
    sample_positions = torch.tensor([*positions]).repeat_interleave(per_sample)
    rows = torch.zeros(num_rows, dtype=torch.int32)
    return Batch(
        tokens=rows,
        positions=rows,
        cu_seqlens=torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32),
        sample_rows=rows,
        sample_positions=torch.nn.functional.pad(sample_positions, (0, num_rows - used), value=-1),
    )


def states_of(positions: range) -> torch.Tensor:
    """States that depend on the sample and its row alone, one row after another, and a tail."""
    parts = []
    for position in positions:
        generator = torch.Generator().manual_seed(position)
        parts.append(torch.randn(ROWS_OF_SAMPLE, WIDTH, generator=generator)[: sum(LENGTHS[position])])
    flat = torch.cat(parts)
    return torch.nn.functional.pad(flat, (0, 0, 0, len(positions) * ROWS_OF_SAMPLE - len(flat))).requires_grad_()


def loss_and_gradient(positions: range, group: int, exchange: bool) -> tuple[torch.Tensor, torch.Tensor]:
    states, view = states_of(positions), view_of(positions)
    loss = contrast_sum(states, view, group, temperature=2.0, exchange=exchange)
    loss.backward()
    assert states.grad is not None
    return loss.detach(), states.grad[: view.num_rows]


def test_sequences_without_a_partner_are_left_out() -> None:
    expected = [True] * 4 + [True] * 2 + [False] * 2 + [True] * 2 + [False] * 2 + [True] * 4
    assert paired(view_of(range(4)).cu_seqlens).tolist() == expected


@pytest.mark.parametrize("group", [2, 4])
def test_the_loss_is_the_plain_formula(group: int) -> None:
    loss, _ = loss_and_gradient(range(4), group, exchange=True)
    expected = torch.zeros(())
    for first in range(0, 4, group):
        positions = range(first, first + group)
        view = view_of(positions)
        kept = torch.nonzero(paired(view.cu_seqlens)).squeeze(1)
        vectors = states_of(positions)[view.cu_seqlens[kept]]
        for own in range(len(kept)):
            scores = vectors @ vectors[own] / 2.0
            others = torch.arange(len(kept)) != own
            expected = expected + scores[others].logsumexp(0) - scores[own ^ 1]
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-6, atol=0)  # float32, another order of sums


def test_another_groups_vectors_have_no_influence() -> None:
    states, view = states_of(range(4)), view_of(range(4))
    whole = contrast_sum(states, view, 2, 1.0, exchange=True)
    parts = [contrast_sum(states_of(each), view_of(each), 2, 1.0, exchange=True) for each in (range(2), range(2, 4))]
    torch.testing.assert_close(whole, parts[0] + parts[1], rtol=1e-6, atol=0)


def test_a_forward_that_cuts_a_group_is_refused() -> None:
    with pytest.raises(InputError, match=r"contrast\.group is 4 samples, and the vectors of 2 are compared at a time"):
        loss_and_gradient(range(2), 4, exchange=True)
    assert loss_and_gradient(range(2), 4, exchange=False)[0] > 0  # in evaluation it is what there is


def _of_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(loss_and_gradient(range(2 * rank, 2 * rank + 2), 4, exchange=True), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_have_the_loss_and_the_gradients_of_one(tmp_path: Path) -> None:
    mp.spawn(_of_rank, (str(tmp_path),), nprocs=2)
    losses, gradients = zip(*(torch.load(tmp_path / f"{rank}.pt") for rank in range(2)), strict=True)
    loss, gradient = loss_and_gradient(range(4), 4, exchange=True)
    torch.testing.assert_close(losses[0] + losses[1], loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.cat(gradients), gradient, rtol=1e-5, atol=1e-7)  # the order of sums
