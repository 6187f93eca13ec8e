"""AdamW whose step on each matrix is scaled by the root mean square of its weights, as Adafactor's is: safe for T5.

    rate of a matrix = learning rate x max(1e-3, RMS(weights before the step))

Weight decay stays decoupled, at the learning rate itself. Learning rates are relative: nanoT5 uses 2e-2.

Invariant: the RMS is that of the whole matrix at every ZeRO stage, where a rank holds pieces of matrices in a flat
partition: squares are summed by piece in float64, then over the ranks, in one all-reduce for each flat tensor.

Sources: Nawrot 2023, "nanoT5" (arXiv:2309.02373), its optimizer `adamwscale`; the scale is Shazeer and Stern 2018,
"Adafactor" (arXiv:1804.04235), section 8.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim.adamw import adamw

SMALLEST_RMS = 1e-3


class Piece(NamedTuple):
    """The elements [start, stop) of a flat tensor belong to the matrix number `matrix`."""

    start: int
    stop: int
    matrix: int


class Pieces(NamedTuple):
    """What this rank's flat tensor holds, and how many elements all matrices of the model have."""

    pieces: Sequence[Piece]
    sizes: Tensor  # [matrices] float64


class RmsScaledAdamW(torch.optim.AdamW):
    """Over parameters, or over flat tensors once `lay_out` has told what they hold."""

    def __init__(self, params: Iterable[Any], **options: Any) -> None:
        super().__init__(params, **options)
        self._layouts: Mapping[Tensor, Pieces] = {}

    def lay_out(self, layouts: Mapping[Tensor, Pieces]) -> None:
        """What every flat tensor that is stepped holds; steps are collective from now on."""
        self._layouts = layouts

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of everything that has a gradient."""
        assert closure is None, "nobody computes the loss again here"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: Mapping[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        rates = group["lr"] * self._rms(parameter).clamp(min=SMALLEST_RMS)
        if group["weight_decay"]:
            parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        tensors: list[Any] = [parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"]]
        for start, stop, matrix in self._pieces(parameter):
            weights, gradient, mean, square = ([tensor.view(-1)[start:stop]] for tensor in tensors)
            adamw(
                weights, gradient, mean, square, [], [state["step"].clone()], fused=True, amsgrad=False, beta1=beta1,
                beta2=beta2, lr=rates[matrix], weight_decay=0.0, eps=group["eps"], maximize=False,
            )  # fmt: skip
        state["step"] += 1

    def _pieces(self, parameter: Tensor) -> Sequence[Piece]:
        layout = self._layouts.get(parameter)
        return [Piece(0, parameter.numel(), 0)] if layout is None else layout.pieces

    def _rms(self, parameter: Tensor) -> Tensor:
        """The root mean square of each matrix, [matrices] float32; of one that lies in other tensors, anything."""
        layout = self._layouts.get(parameter)
        if layout is None:
            return _squares(parameter.view(-1)).div(parameter.numel()).sqrt().float()[None]
        sums = torch.zeros_like(layout.sizes)
        for start, stop, matrix in layout.pieces:
            sums[matrix] += _squares(parameter[start:stop])
        dist.all_reduce(sums)
        return (sums / layout.sizes).sqrt().float()


def flat_layouts(engine: Any, zero_stage: int) -> dict[Tensor, Pieces]:
    """What the flat tensors of DeepSpeed's engine hold on this rank; nothing without ZeRO."""
    if zero_stage == 0:
        return {}
    parameters = [parameter for parameter in engine.module.parameters() if parameter.requires_grad]
    optimizer = engine.optimizer
    sizes = [getattr(parameter, "ds_numel", parameter.numel()) for parameter in parameters]
    numbers = {parameter: number for number, parameter in enumerate(parameters)}
    if zero_stage == 3:
        found = {
            flat: list(_partitions(group, numbers))
            for flat, group in zip(optimizer.fp32_partitioned_groups_flat, optimizer.fp16_groups, strict=True)
        }
    else:
        flats = [flat for group in engine.basic_optimizer.param_groups for flat in group["params"]]
        found = {flat: list(_fragments(flat, parameters)) for flat in flats}
    return {
        flat: Pieces(pieces, torch.tensor(sizes, dtype=torch.float64, device=flat.device))
        for flat, pieces in found.items()
    }


def _fragments(flat: Tensor, parameters: Sequence[Any]) -> Iterator[Piece]:
    """ZeRO 1 and 2: DeepSpeed tells of each parameter which elements of which flat tensor are its own, if any are."""
    for number, parameter in enumerate(parameters):
        mapping = getattr(parameter, "_hp_mapping", None)
        if mapping is not None and _lies_in(mapping.hp_fragment, flat):
            address = mapping.get_hp_fragment_address()
            yield Piece(address.start, address.start + address.numel, number)


def _lies_in(part: Tensor, whole: Tensor) -> bool:
    return part.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


def _partitions(group: Iterable[Any], numbers: Mapping[Any, int]) -> Iterator[Piece]:
    """ZeRO 3: this rank's part of one parameter after another; what fills up the last rank's is nobody's."""
    start = 0
    for parameter in group:
        room = parameter.ds_tensor.ds_numel
        own = min(max(parameter.ds_numel - dist.get_rank() * room, 0), room)
        yield Piece(start, start + own, numbers[parameter])
        start += room


def _squares(values: Tensor) -> Tensor:
    """Their sum, float64."""
    return torch.linalg.vector_norm(values, dtype=torch.float64).square()
