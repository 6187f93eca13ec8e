"""The tensors that the optimizer steps on this rank: which elements of which parameters lie in them, and what our own
optimizers do alike with each.

Without ZeRO each is a whole parameter, on every rank; under ZeRO 1 and 2 a flat partition of many, under ZeRO 3 this
rank's part of one parameter after another.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Piece(NamedTuple):
    """Elements [start, stop) of a tensor are those of parameter number `parameter` from its element `offset` on."""

    start: int
    stop: int
    parameter: int
    offset: int


@dataclass(frozen=True)
class Layout:
    """The pieces of every tensor that is stepped, and the full shapes of the parameters by number."""

    pieces: Mapping[Tensor, Sequence[Piece]]
    shapes: Sequence[torch.Size]
    sharded: bool
    """Whether each element lies on one rank only."""

    def over_ranks(self, sums: Tensor) -> Tensor:
        """What the ranks have summed of their pieces, in all. Collective where sharded."""
        if self.sharded:
            dist.all_reduce(sums)
        return sums


def update_each(groups: Iterable[Mapping[str, Any]], update: Callable[[Tensor, Mapping[str, Any]], None]) -> None:
    """Call `update(tensor, group)` for every tensor of these groups of an optimizer that has a gradient."""
    for group in groups:
        for tensor in group["params"]:
            if tensor.grad is not None:
                update(tensor, group)


def first_state(tensor: Tensor, kinds: Iterable[str]) -> dict[str, Tensor]:
    """What an optimizer knows of a tensor before its first step: means are 0, averages of weights the weights."""
    state = {"step": torch.zeros((), dtype=torch.float32, device=tensor.device)}
    for kind in kinds:
        of_weights = kind in ("average", "z")
        state[kind] = tensor.detach().clone() if of_weights else torch.zeros_like(tensor, requires_grad=False)
        if kind == "average":
            state["weight_sum"] = torch.zeros((), dtype=torch.float64)
    return state


def squares(values: Tensor) -> Tensor:
    """Their sum, float64."""
    return torch.linalg.vector_norm(values, dtype=torch.float64).square()


def lay_out(engine: Any, zero_stage: int) -> Layout:
    """What DeepSpeed's engine steps; parameters are numbered in the order of definition, frozen ones left out."""
    parameters = [parameter for parameter in engine.module.parameters() if parameter.requires_grad]
    shapes = [getattr(parameter, "ds_shape", parameter.shape) for parameter in parameters]
    optimizer, numbers = engine.optimizer, {parameter: number for number, parameter in enumerate(parameters)}
    if zero_stage == 3:
        found = {
            flat: list(_partitions(group, numbers))
            for flat, group in zip(optimizer.fp32_partitioned_groups_flat, optimizer.fp16_groups, strict=True)
        }
    elif zero_stage > 0:
        flats = [flat for group in engine.basic_optimizer.param_groups for flat in group["params"]]
        found = {flat: list(_fragments(flat, parameters)) for flat in flats}
    else:
        masters = masters_beside(optimizer, parameters)
        found = {master: [Piece(0, master.numel(), numbers[own], 0)] for own, master in masters.items()}
    return Layout(found, shapes, sharded=zero_stage > 0)


def masters_beside(optimizer: Any, parameters: Sequence[Any]) -> dict[Any, Tensor]:
    """Without ZeRO: the tensor that is stepped for each parameter, in float32 itself, else its master."""
    if not hasattr(optimizer, "fp32_groups"):
        return {parameter: parameter for parameter in parameters}
    return {
        parameter: master
        for group, masters in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True)
        for parameter, master in zip(group, masters, strict=True)
    }


def _fragments(flat: Tensor, parameters: Sequence[Any]) -> Iterator[Piece]:
    """ZeRO 1 and 2: DeepSpeed tells of each parameter which elements of which flat tensor are its own, if any are."""
    for number, parameter in enumerate(parameters):
        mapping = getattr(parameter, "_hp_mapping", None)
        if mapping is not None and _lies_in(mapping.hp_fragment, flat):
            address = mapping.get_hp_fragment_address()
            yield Piece(address.start, address.start + address.numel, number, mapping.lp_fragment_address.start)


def _lies_in(part: Tensor, whole: Tensor) -> bool:
    return part.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


def _partitions(group: Iterable[Any], numbers: Mapping[Any, int]) -> Iterator[Piece]:
    """ZeRO 3: this rank's part of one parameter after another; what fills up the last rank's is nobody's."""
    start = 0
    for parameter in group:
        room = parameter.ds_tensor.ds_numel
        offset = dist.get_rank() * room
        own = min(max(parameter.ds_numel - offset, 0), room)
        yield Piece(start, start + own, numbers[parameter], offset)
        start += room
