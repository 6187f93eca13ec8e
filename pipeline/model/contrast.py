"""Two spans of a document should have alike vectors, spans of other documents others: InfoNCE over a group of samples.

A group is `group` consecutive samples of the run, whichever ranks read them: ranks give each other their vectors, and
the gradients for them back. So the loss is the same for any number of ranks. Where the ranks' micro-batches are not
whole groups, the vectors of a whole step are computed first, without their graphs, and each forward gets the gradient
for its own (`step_contrast`): what a device holds is one micro-batch's activations, whatever the group. Outside of
training nothing is exchanged; a group is then as much of it as the micro-batch holds.

Source: Gao and Callan 2022 (coCondenser), section 3.2; van den Oord et al. 2018 (arXiv:1807.03748), section 2.3.

Shape suffixes: N sequences of this rank, M of all ranks, W model width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from data_prep.errors import InputError
from pipeline.batch import Batch


def paired(cu_seqlens: torch.Tensor) -> torch.Tensor:
    """[N] bool: the sequences whose partner has rows too; sequences 2 i and 2 i + 1 are of one document."""
    filled_N = cu_seqlens.diff() > 0
    both = filled_N[::2] & filled_N[1::2]
    return both.repeat_interleave(2)


def contrast_sum(states_TW: torch.Tensor, view: Batch, group: int, temperature: float, exchange: bool) -> torch.Tensor:
    """The sum over paired sequences of -log softmax(vector . other vectors / temperature)[partner], a float32 scalar.

    A sequence's vector is its first row of `states_TW`; the others are the paired sequences of its group. InputError if
    `exchange` and what all ranks hold are not whole groups.
    """
    if exchange:
        _check_groups(_gathered(_ends(view)[None]), group)
    return _losses(vectors_of(states_TW, view), _groups(view, group), temperature, exchange).sum()


def vectors_of(states_TW: torch.Tensor, view: Batch) -> torch.Tensor:
    """[N, W] float32: the first row of each sequence."""
    return states_TW.index_select(0, view.cu_seqlens[:-1].clamp(max=len(states_TW) - 1)).float()


@dataclass(frozen=True)
class CachedContrast:
    """One micro-batch's part of a step's contrast, computed before its forward from the vectors of the whole step."""

    total: torch.Tensor  # the sum over its own paired sequences, float32
    gradient_NW: torch.Tensor  # of the sum over all sequences of all ranks, at its vectors

    def sum_at(self, vectors_NW: torch.Tensor) -> torch.Tensor:
        """`total`, with the gradient that the whole step's contrast has at `vectors_NW`."""
        return self.total + ((vectors_NW - vectors_NW.detach()) * self.gradient_NW).sum()


def step_contrast(
    vectors: Sequence[torch.Tensor], views: Sequence[Batch], group: int, temperature: float
) -> list[CachedContrast]:
    """The contrast of a step whose groups are spread over several micro-batches (gradient cache: Gao et al. 2021,
    "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", arXiv:2101.06983).

    `vectors` [N, W] of each micro-batch of `views`. Collective; InputError unless the step is whole groups.
    """
    _check_groups(_gathered(torch.stack([_ends(view) for view in views])), group)
    vectors_NW = torch.cat(list(vectors)).detach().requires_grad_()
    with torch.enable_grad():
        losses_N = _losses(vectors_NW, torch.cat([_groups(view, group) for view in views]), temperature, exchange=True)
        (gradient_NW,) = torch.autograd.grad(losses_N.sum(), vectors_NW)
    sizes = [len(each) for each in vectors]
    parts = zip(losses_N.detach().split(sizes), gradient_NW.split(sizes), strict=True)
    return [CachedContrast(losses.sum(), gradient) for losses, gradient in parts]


def _groups(view: Batch, group: int) -> torch.Tensor:
    """[N]: the group of each paired sequence, -1 for the others."""
    slots_N = view.cu_seqlens[:-1].clamp(max=len(view.sample_positions) - 1)
    return torch.where(paired(view.cu_seqlens), view.sample_positions[slots_N] // group, -1)


def _losses(vectors_NW: torch.Tensor, groups_N: torch.Tensor, temperature: float, exchange: bool) -> torch.Tensor:
    """[N] float32: each paired sequence's loss, 0 for the others."""
    shared = exchange and dist.is_initialized()
    vectors_MW, groups_M = (_Gather.apply(vectors_NW), _gather(groups_N)) if shared else (vectors_NW, groups_N)
    first = dist.get_rank() * len(vectors_NW) if shared else 0  # of this rank's sequences among all
    rows_P = torch.nonzero(groups_N >= 0).squeeze(1)
    own_P1 = (rows_P + first)[:, None]
    scores_PM = vectors_NW.index_select(0, rows_P) @ vectors_MW.T / temperature
    others_PM = (groups_N[rows_P, None] == groups_M).scatter(1, own_P1, False)
    partners_P = scores_PM.gather(1, own_P1 ^ 1).squeeze(1)
    losses_P = scores_PM.masked_fill(~others_PM, -torch.inf).logsumexp(1) - partners_P
    return torch.zeros_like(vectors_NW[:, 0]).index_copy(0, rows_P, losses_P)


def _ends(view: Batch) -> torch.Tensor:
    """[2] int64: the run's positions of the first sample of `view`, and after its last."""
    return torch.stack([view.sample_positions[0], view.sample_positions.max() + 1])


def _check_groups(ends_R2: torch.Tensor, group: int) -> None:
    first, stop = int(ends_R2[:, 0].min()), int(ends_R2[:, 1].max())
    if first % group or stop % group:
        raise InputError(
            f"objective.contrast.group is {group} samples, and the vectors of {stop - first} are compared at a time: "
            "training.global_batch must be a multiple of it"
        )


def _gathered(values: torch.Tensor) -> torch.Tensor:
    """Those of all ranks, where there are several."""
    return _gather(values) if dist.is_initialized() else values


def _gather(values: torch.Tensor) -> torch.Tensor:
    """The values of all ranks, one after another; each gives as many."""
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """The vectors of all ranks; backward adds up what all ranks' losses ask of this rank's."""

    @staticmethod
    def forward(ctx: Any, vectors_NW: torch.Tensor) -> torch.Tensor:
        ctx.num_rows = len(vectors_NW)
        return _gather(vectors_NW)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> torch.Tensor:
        grads_MW = grad_outputs[0].contiguous()
        dist.all_reduce(grads_MW)
        return grads_MW[dist.get_rank() * ctx.num_rows :][: ctx.num_rows]
