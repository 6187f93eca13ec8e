"""The plain torch specification: a few rows at a time, so that the wide copies stay in the processor's cache.

Forward keeps the logits as they came and one float32 number per row; backward computes the probabilities again.
Shape suffixes: L rows that have a label, V vocabulary.
"""

from typing import Any

import torch

_CHUNK_NUMBERS = 2**17


def cross_entropy_sum(logits_LV: torch.Tensor, labels_L: torch.Tensor) -> torch.Tensor:
    """The sum over rows of -log softmax(logits)[label], a scalar of at least float32.

    logits_LV is [L, V] of any floating dtype, labels_L [L] int64 in 0 .. V - 1. The gradient has the logits' dtype.
    """
    return _CrossEntropySum.apply(logits_LV, labels_L)


class _CrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_LV: torch.Tensor, labels_L: torch.Tensor) -> torch.Tensor:
        wide = torch.promote_types(logits_LV.dtype, torch.float32)
        normaliser_L = torch.empty(len(logits_LV), dtype=wide, device=logits_LV.device)
        for rows in _chunks(logits_LV):
            normaliser_L[rows] = torch.logsumexp(logits_LV[rows].to(wide), dim=-1)
        ctx.save_for_backward(logits_LV, labels_L, normaliser_L)
        return (normaliser_L - logits_LV.gather(1, labels_L[:, None]).squeeze(1).to(wide)).sum()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits_LV, labels_L, normaliser_L = ctx.saved_tensors
        grad_LV = torch.empty_like(logits_LV)
        for rows in _chunks(logits_LV):
            grad = torch.sub(logits_LV[rows].to(normaliser_L.dtype), normaliser_L[rows, None]).exp_()
            grad[torch.arange(len(grad), device=grad.device), labels_L[rows]] -= 1.0
            grad_LV[rows] = grad.mul_(grad_outputs[0])
        return grad_LV, None


def _chunks(logits_LV: torch.Tensor) -> list[slice]:
    size = max(1, _CHUNK_NUMBERS // logits_LV.shape[1]) if logits_LV.is_cpu else max(1, len(logits_LV))
    return [slice(start, start + size) for start in range(0, len(logits_LV), size)]
