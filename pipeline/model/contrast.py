"""Two spans of a document should have alike vectors, spans of other documents others: InfoNCE over a group of samples.

A group is `group` consecutive samples of the run, whichever ranks read them: ranks give each other their vectors, and
the gradients for them back. So the loss is the same for any number of ranks. Outside of training nothing is exchanged;
a group is then as much of it as the micro-batch holds.

Source: Gao and Callan 2022 (coCondenser), section 3.2; van den Oord et al. 2018 (arXiv:1807.03748), section 2.3.

Shape suffixes: N sequences of this rank, M of all ranks, W model width.
"""

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
    slots_N = view.cu_seqlens[:-1].clamp(max=len(states_TW) - 1)
    vectors_NW = states_TW.index_select(0, slots_N).float()
    paired_N = paired(view.cu_seqlens)
    groups_N = torch.where(paired_N, view.sample_positions[slots_N] // group, -1)
    if not (exchange and dist.is_initialized()):
        if exchange:
            _check_groups(_ends(view)[None], group)
        return _info_nce(vectors_NW, groups_N, vectors_NW, groups_N, temperature, first=0)
    _check_groups(_gather(_ends(view)[None]), group)
    vectors_MW, groups_M = _Gather.apply(vectors_NW), _gather(groups_N)
    return _info_nce(vectors_NW, groups_N, vectors_MW, groups_M, temperature, dist.get_rank() * len(vectors_NW))


def _info_nce(
    vectors_NW: torch.Tensor,
    groups_N: torch.Tensor,
    vectors_MW: torch.Tensor,
    groups_M: torch.Tensor,
    temperature: float,
    first: int,
) -> torch.Tensor:
    """The sequences of this rank are those from `first` on of all."""
    rows_P = torch.nonzero(groups_N >= 0).squeeze(1)
    own_P1 = (rows_P + first)[:, None]
    scores_PM = vectors_NW.index_select(0, rows_P) @ vectors_MW.T / temperature
    others_PM = (groups_N[rows_P, None] == groups_M).scatter(1, own_P1, False)
    partners_P = scores_PM.gather(1, own_P1 ^ 1).squeeze(1)
    return (scores_PM.masked_fill(~others_PM, -torch.inf).logsumexp(1) - partners_P).sum()


def _ends(view: Batch) -> torch.Tensor:
    """[2] int64: the run's positions of the first sample of `view`, and after its last."""
    return torch.stack([view.sample_positions[0], view.sample_positions.max() + 1])


def _check_groups(ends_R2: torch.Tensor, group: int) -> None:
    first, stop = int(ends_R2[:, 0].min()), int(ends_R2[:, 1].max())
    if first % group or stop % group:
        raise InputError(
            f"objective.contrast.group is {group} samples, and all ranks together read {stop - first} at a time: "
            "training.micro_batch times the number of ranks must be a multiple of it"
        )


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
