"""What ranks on CPUs exchange under ZeRO 1 and 2: each part goes straight to who needs it.

gloo's all-reduce gives every rank the sum of all gradients, of which a rank keeps its own part, and its all-gather
copies once more what it brings. Sending takes a half and a third of their CPU time (two ranks, 60 M numbers).

Invariant: weights are DeepSpeed's to the bit, and gradients on two ranks; on more, the sum of an element is taken in an
order of ranks that follows from who owns it.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def exchange_by_sending(optimizer: Any) -> None:
    """Let DeepSpeed's optimizer for ZeRO 1 and 2 add gradients by `sum_parts` and share weights by `gather_parts`."""
    module = sys.modules[type(optimizer).__module__]  # where its step finds the function

    def gather(groups_flat: Any, partitioned_param_groups: Any, dp_process_group: Any, *_: Any, **__: Any) -> None:
        for parts, group in zip(partitioned_param_groups, dp_process_group, strict=True):
            gather_parts(parts, group)

    if hasattr(module, "all_gather_dp_groups"):
        setattr(module, "all_gather_dp_groups", gather)  # noqa: B010 - mypy knows that a module has no such attribute
    if hasattr(optimizer, "allreduce_and_scatter"):
        _replace_all_reduce(optimizer)


def _replace_all_reduce(optimizer: Any) -> None:
    all_reduce = optimizer.allreduce_and_scatter

    def scatter(bucket: Any, communication_data_type: torch.dtype, *rest: Any, **options: Any) -> None:
        wanted_once = all(len(ranks) == 1 for ranks, *_ in bucket)
        converted = any(gradient.dtype != communication_data_type for _, gradient, _ in bucket)
        if options["divide"] or converted or not wanted_once:
            return all_reduce(bucket, communication_data_type, *rest, **options)
        group = options["process_group"]
        parts: list[list[Tensor]] = [[] for _ in range(dist.get_world_size(group))]
        for (owner,), gradient, _ in bucket:
            parts[owner].append(gradient)
        sum_parts(parts, group)
        for (owner,), gradient, output in bucket:
            if owner == dist.get_rank(group):
                optimizer._add_to_grad_partition_buffer(output, gradient)

    optimizer.allreduce_and_scatter = scatter


def sum_parts(parts: Sequence[Sequence[Tensor]], group: dist.ProcessGroup) -> None:
    """`parts[r]` are this rank's gradients of what rank r owns; those of its own become the sums over the ranks.

    Collective. Shapes and the one dtype are the same on every rank.
    """
    own = parts[dist.get_rank(group)]
    sizes = [gradient.numel() for gradient in own]
    received = {rank: own[0].new_empty(sum(sizes)) for rank in _others(group)} if own else {}
    sent = {rank: _flat(parts[rank]) for rank in _others(group) if parts[rank]}
    _exchange(sent, received, group)
    for whole in received.values():
        for gradient, other in zip(own, whole.split(sizes), strict=True):
            gradient.add_(other.view_as(gradient))


def gather_parts(parts: Sequence[Tensor], group: dist.ProcessGroup) -> None:
    """Every rank has `parts[r]` of rank r afterwards. Collective; contiguous, the same shapes and dtypes everywhere."""
    own = parts[dist.get_rank(group)].detach()
    others = list(_others(group))
    _exchange(dict.fromkeys(others, own), {rank: parts[rank].detach() for rank in others}, group)


def _exchange(sent: dict[int, Tensor], received: dict[int, Tensor], group: dist.ProcessGroup) -> None:
    waiting = [dist.irecv(tensor, group=group, group_src=rank) for rank, tensor in received.items()]
    waiting += [dist.isend(tensor, group=group, group_dst=rank) for rank, tensor in sent.items()]
    for work in waiting:
        if work is not None:
            work.wait()


def _others(group: dist.ProcessGroup) -> Iterator[int]:
    return (rank for rank in range(dist.get_world_size(group)) if rank != dist.get_rank(group))


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return gradients[0].reshape(-1) if len(gradients) == 1 else torch.cat([each.reshape(-1) for each in gradients])
