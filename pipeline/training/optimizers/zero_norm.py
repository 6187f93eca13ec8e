"""The norm of the gradients that a rank holds under ZeRO 1 and 2: DeepSpeed's, to the bit, without its copies.

DeepSpeed copies every gradient to float64 to measure it, which takes five times as long as to widen the numbers on the
way; on a GPU it also starts three kernels for each.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist

INVALID = -1.0  # DeepSpeed's word for a norm that is not finite


def measure_without_copies(optimizer: Any) -> None:
    """Let DeepSpeed's optimizer for ZeRO 1 and 2 measure its gradients by `norm_of`."""

    def norm(gradients: Iterable[torch.Tensor], params: Sequence[Any], norm_type: float = 2) -> torch.Tensor:
        assert norm_type == 2, "DeepSpeed clips by this norm alone"
        held = [gradient for gradient in gradients if not getattr(gradient, "_zero_padding", False)]
        return norm_of(held[: len(params)], optimizer.device, optimizer.dp_process_group)

    optimizer.get_grad_norm_direct = norm


def norm_of(gradients: list[torch.Tensor], device: torch.device, group: dist.ProcessGroup) -> torch.Tensor:
    """The Euclidean norm over all ranks' gradients, a float32 scalar; -1 where it is not finite. Collective."""
    total = torch.zeros((), dtype=torch.float32, device=device)
    if gradients:
        total = torch.stack(torch._foreach_norm(gradients, 2, torch.float64)).square().sum().float()
    dist.all_reduce(total, group=group)
    norm = total.sqrt()
    return torch.where(norm.isfinite(), norm, INVALID)
