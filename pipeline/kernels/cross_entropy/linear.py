"""The head's product and the cross entropy of its logits in one, a chunk of rows at a time.

Invariant: memory is one chunk of logits, whatever the number of rows; sums and gradients add up in the order of rows.

1. A chunk's logits are computed in the states' dtype.
2. They give the loss and are overwritten by their gradient: on a CPU by a kernel in C++ (cpu.py), on a GPU by Liger's,
   where it is installed (liger.py), else by plain torch (reference.py).
3. The chunk's gradient gives those of its states and its part of the weight's, while it is there: backward only scales
   them (as in Hsu et al. 2024, "Liger Kernel").

Shape suffixes: L rows that have a label, W model width, V vocabulary, C rows of a chunk.
"""

from typing import Any

import torch

from pipeline.kernels.cross_entropy import cpu, liger
from pipeline.kernels.cross_entropy.reference import LossAndGradient, loss_and_gradient, slices
from pipeline.kernels.cross_entropy.watching import tell_logits

_CHUNK_LOGITS = 2**25  # 64 MiB of bf16: fewer, larger products cost less than adding up many small ones


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
    # Inside a Function nothing says that no gradient is to come.
    terms = (z_loss, label_smoothing, torch.is_grad_enabled())
    return _LinearCrossEntropySum.apply(states_LW, weight_VW, bias_V, labels_L.to(torch.int64), *terms)


class _LinearCrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_LW: torch.Tensor,
        weight_VW: torch.Tensor,
        bias_V: torch.Tensor | None,
        labels_L: torch.Tensor,
        z_loss: float,
        label_smoothing: float,
        differentiate: bool,
    ) -> torch.Tensor:
        wanted = differentiate and any(ctx.needs_input_grad)
        wide = torch.promote_types(states_LW.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=states_LW.device)
        grads_LW = torch.empty_like(states_LW) if wanted else None
        chunks = slices(len(states_LW), weight_VW.shape[0], _CHUNK_LOGITS)
        grad_weight_VW: torch.Tensor | None = None
        grad_bias_V = None if bias_V is None else torch.zeros_like(bias_V, dtype=wide)
        compute = _kernel_for(states_LW)
        for rows in chunks:
            logits_CV = torch.nn.functional.linear(states_LW[rows], weight_VW, bias_V)
            tell_logits(logits_CV)
            total += compute(logits_CV, labels_L[rows], z_loss, label_smoothing, wanted)
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
        return grads_LW * grad_outputs[0], grad_weight_VW * grad_outputs[0], grad_bias_V, None, None, None, None


def _kernel_for(states: torch.Tensor) -> LossAndGradient:
    return next((kernel.loss_and_gradient for kernel in (liger, cpu) if kernel.fits(states)), loss_and_gradient)
