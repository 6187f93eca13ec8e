"""The head's product and the cross entropy of its logits in one, a chunk of rows at a time.

Invariant: memory is one chunk of logits, whatever the number of rows; sums and gradients add up in the order of rows.

1. A chunk's logits are computed in the states' dtype.
2. A few rows at a time, so that the wide copies stay in the processor's cache, they give the loss and are overwritten
   by their gradient.
3. The chunk's gradient gives those of its states and its part of the weight's, while it is there: backward only scales
   them (as in Hsu et al. 2024, "Liger Kernel").

Shape suffixes: L rows that have a label, W model width, V vocabulary, C rows of a chunk.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import torch

_CHUNK_LOGITS = 2**25  # 64 MiB of bf16: fewer, larger products cost less than adding up many small ones
_CACHED_LOGITS = 2**17


@dataclass(frozen=True)
class _Terms:
    """Factors of the loss's optional terms, and what is asked."""

    z_loss: float
    label_smoothing: float
    differentiate: bool
    """Whether a gradient may be asked for: inside a Function nothing says that there is none to come."""


def linear_cross_entropy_sum(
    states_LW: torch.Tensor,
    weight_VW: torch.Tensor,
    labels_L: torch.Tensor,
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
    bias_V: torch.Tensor | None = None,
) -> torch.Tensor:
    """The sum over rows of -log softmax(states @ weight.T + bias)[label], a scalar of at least float32.

    states_LW [L, W], weight_VW [V, W] and bias_V [V] share a floating dtype, labels_L [L] are integers in 0 .. V - 1.
    `z_loss` adds `z_loss * logsumexp(logits) ** 2` to each row (Chowdhery et al. 2022, PaLM, section 5);
    `label_smoothing` moves that share of the target evenly over the vocabulary (Szegedy et al. 2016). Gradients have
    their inputs' dtype.
    """
    terms = _Terms(z_loss, label_smoothing, torch.is_grad_enabled())
    return _LinearCrossEntropySum.apply(states_LW, weight_VW, bias_V, labels_L.to(torch.int64), terms)


class _LinearCrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_LW: torch.Tensor,
        weight_VW: torch.Tensor,
        bias_V: torch.Tensor | None,
        labels_L: torch.Tensor,
        terms: _Terms,
    ) -> torch.Tensor:
        wanted = terms.differentiate and any(ctx.needs_input_grad)
        wide = torch.promote_types(states_LW.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=states_LW.device)
        grads_LW = torch.empty_like(states_LW) if wanted else None
        chunks = _slices(len(states_LW), weight_VW.shape[0], _CHUNK_LOGITS)
        grad_weight_VW: torch.Tensor | None = None
        grad_bias_V = None if bias_V is None else torch.zeros_like(bias_V, dtype=wide)
        for rows in chunks:
            logits_CV = torch.nn.functional.linear(states_LW[rows], weight_VW, bias_V)
            total += _loss_and_gradient(logits_CV, labels_L[rows], terms, wanted)
            if grads_LW is not None:
                torch.mm(logits_CV, weight_VW, out=grads_LW[rows])
                part_VW = logits_CV.T @ states_LW[rows]
                if len(chunks) > 1:  # the sum of many parts wants more digits than bf16 has
                    part_VW = part_VW.to(wide)
                grad_weight_VW = part_VW if grad_weight_VW is None else grad_weight_VW.add_(part_VW)
                if grad_bias_V is not None:
                    grad_bias_V += logits_CV.sum(0, dtype=wide)
        if grad_weight_VW is None and wanted:
            grad_weight_VW = torch.zeros_like(weight_VW)
        ctx.save_for_backward(
            grads_LW,
            None if grad_weight_VW is None else grad_weight_VW.to(weight_VW.dtype),
            None if grad_bias_V is None else grad_bias_V.to(weight_VW.dtype),
        )
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grads_LW, grad_weight_VW, grad_bias_V = ctx.saved_tensors
        grad_bias_V = None if grad_bias_V is None else grad_bias_V * grad_outputs[0]
        return grads_LW * grad_outputs[0], grad_weight_VW * grad_outputs[0], grad_bias_V, None, None


def _loss_and_gradient(logits_CV: torch.Tensor, labels_C: torch.Tensor, terms: _Terms, wanted: bool) -> torch.Tensor:
    """The rows' losses, summed; `logits_CV` becomes its own gradient if that is `wanted`."""
    num_logits, smoothing = logits_CV.shape[1], terms.label_smoothing
    wide = torch.promote_types(logits_CV.dtype, torch.float32)
    total = torch.zeros((), dtype=wide, device=logits_CV.device)
    for rows in _slices(len(logits_CV), num_logits, _CACHED_LOGITS if logits_CV.is_cpu else _CHUNK_LOGITS):
        logits, labels_R1 = logits_CV[rows].to(wide), labels_C[rows, None]
        normaliser_R1 = torch.logsumexp(logits, dim=-1, keepdim=True)
        targets_R1 = (1 - smoothing) * logits.gather(1, labels_R1)
        if smoothing:
            targets_R1 = targets_R1 + smoothing * logits.mean(-1, keepdim=True)
        total += (normaliser_R1 - targets_R1 + terms.z_loss * normaliser_R1.square()).sum()
        if wanted:
            grad = logits.sub_(normaliser_R1).exp_()
            if terms.z_loss:
                grad *= 1 + 2 * terms.z_loss * normaliser_R1
            if smoothing:
                grad -= smoothing / num_logits
            grad.scatter_add_(1, labels_R1, grad.new_full((), smoothing - 1).expand_as(labels_R1))
            logits_CV[rows] = grad
    return total


def _slices(num_rows: int, num_logits: int, most_logits: int) -> list[slice]:
    """All rows, in consecutive runs of about equal length with at most `most_logits` logits each."""
    count = -(-num_rows // max(1, most_logits // num_logits))
    bounds = [num_rows * number // count for number in range(count + 1)] if count else [0]
    return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
