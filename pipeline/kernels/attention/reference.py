"""The plain torch specification of attention, and what trains where no fused kernel runs.

One sequence at a time, dense inside it; nothing of one sequence can reach another. Stages of one sequence:
1. scores = scale * q k^T (in the inputs' dtype), then float32 (float64 for float64 inputs) plus bias and key scores;
2. hidden keys to -inf, softmax, rows that see nothing to zero;
3. dropout with stateless bits: query row t, head h, key j of the sequence is draw h * 2**20 + j;
4. out = probabilities (in the inputs' dtype) times v.
Backward is written out by hand: probabilities are kept, dropout and masks are computed again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.kernels.attention.bias import Bias, BiasExpansion, expand
from pipeline.kernels.attention.patterns import IntervalPattern
from pipeline.kernels.dropout import Dropout, keep_factors

DRAWS_PER_HEAD = 2**20


@dataclass(frozen=True)
class _Call:
    """What an attention call is given besides q, k, v and the bias's values."""

    sequences: list[tuple[slice, slice]]  # rows of the queries, rows of the keys; both at least one
    pattern: IntervalPattern
    bias: Bias | None
    scale: float
    dropout: Dropout | None

    def expand_bias(self, dtype: torch.dtype) -> BiasExpansion | None:
        """The bias ready to be read block by block; None without one."""
        if self.bias is None:
            return None
        longest = max((max(q.stop - q.start, k.stop - k.start) for q, k in self.sequences), default=1)
        return expand(self.bias, longest, dtype)


def attention_reference(
    q_THD: torch.Tensor,
    k_THD: torch.Tensor,
    v_THD: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    pattern: IntervalPattern,
    bias: Bias | None,
    scale: float,
    dropout: Dropout | None,
    key_scores_T: torch.Tensor | None = None,
) -> torch.Tensor:
    """See `pipeline.kernels.attention.attention`."""
    sequences = list(_sequences(cu_seqlens_q.tolist(), cu_seqlens_k.tolist()))
    call = _Call(sequences, pattern, bias, scale, dropout if dropout is not None and dropout.rate > 0 else None)
    sharing = q_THD.shape[1] // k_THD.shape[1]  # query heads of one key head
    k_THD, v_THD = (x.repeat_interleave(sharing, 1) if sharing > 1 else x for x in (k_THD, v_THD))
    q_HTD, k_HTD, v_HTD = (x.transpose(0, 1).contiguous() for x in (q_THD, k_THD, v_THD))
    values = () if bias is None else bias.values
    out_HTD = _Attention.apply(q_HTD, k_HTD, v_HTD, key_scores_T, call, *values)
    return out_HTD.transpose(0, 1)


def _sequences(cu_q: list[int], cu_k: list[int]) -> Iterator[tuple[slice, slice]]:
    for q_start, q_stop, k_start, k_stop in zip(cu_q, cu_q[1:], cu_k, cu_k[1:], strict=False):
        if q_stop > q_start and k_stop > k_start:
            yield slice(q_start, q_stop), slice(k_start, k_stop)


class _Attention(torch.autograd.Function):
    """Inputs with heads first ([H, T, D], contiguous): the layout in which every matrix product is one plain GEMM."""

    @staticmethod
    def forward(
        ctx: Any,
        q_HTD: torch.Tensor,
        k_HTD: torch.Tensor,
        v_HTD: torch.Tensor,
        key_scores_T: torch.Tensor | None,
        call: _Call,
        *values: torch.Tensor,
    ) -> torch.Tensor:
        expansion = call.expand_bias(_score_dtype(q_HTD))
        out_HTD = torch.zeros_like(q_HTD)
        saved = []
        for queries, keys in call.sequences:
            key_scores = None if key_scores_T is None else key_scores_T[keys]
            probabilities = _probabilities(
                q_HTD[:, queries], k_HTD[:, keys], expansion, key_scores, call, queries, keys
            )
            dropped = _drop(probabilities, call.dropout, queries)
            out_HTD[:, queries] = torch.bmm(dropped, v_HTD[:, keys])
            saved.append(probabilities)
        ctx.call, ctx.key_scores_dtype = call, None if key_scores_T is None else key_scores_T.dtype
        ctx.save_for_backward(q_HTD, k_HTD, v_HTD, *saved)
        return out_HTD

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q_HTD, k_HTD, v_HTD, *saved = ctx.saved_tensors
        call: _Call = ctx.call
        grad_out_HTD = grad_outputs[0].contiguous()
        grad_q, grad_k, grad_v = torch.zeros_like(q_HTD), torch.zeros_like(k_HTD), torch.zeros_like(v_HTD)
        expansion = call.expand_bias(_score_dtype(q_HTD)) if any(ctx.needs_input_grad[5:]) else None
        grad_key_scores = (
            q_HTD.new_zeros(k_HTD.shape[1], dtype=ctx.key_scores_dtype) if ctx.needs_input_grad[3] else None
        )
        for (queries, keys), probabilities in zip(call.sequences, saved, strict=True):
            grad_out = grad_out_HTD[:, queries]
            dropped = _drop(probabilities, call.dropout, queries)
            grad_v[:, keys] = torch.bmm(dropped.transpose(1, 2), grad_out)
            grad_dropped = torch.bmm(grad_out, v_HTD[:, keys].transpose(1, 2))
            grad_probabilities = _drop(grad_dropped, call.dropout, queries)
            grad_scores = _softmax_backward(grad_probabilities, probabilities)
            if expansion is not None:
                expansion.collect(queries, keys, grad_scores)
            if grad_key_scores is not None:
                grad_key_scores[keys] = grad_scores.sum((0, 1), dtype=grad_key_scores.dtype)
            grad_q[:, queries] = torch.bmm(grad_scores, k_HTD[:, keys])
            grad_k[:, keys] = torch.bmm(grad_scores.transpose(1, 2), q_HTD[:, queries])
        if call.scale != 1.0:
            grad_q, grad_k = grad_q * call.scale, grad_k * call.scale
        grad_values = [None] * len(ctx.needs_input_grad[5:]) if expansion is None else expansion.gradients()
        return grad_q, grad_k, grad_v, grad_key_scores, None, *grad_values


def _score_dtype(x: torch.Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _probabilities(
    q_HQD: torch.Tensor,
    k_HKD: torch.Tensor,
    expansion: BiasExpansion | None,
    key_scores: torch.Tensor | None,
    call: _Call,
    queries: slice,
    keys: slice,
) -> torch.Tensor:
    scores = torch.bmm(q_HQD, k_HKD.transpose(1, 2)).to(_score_dtype(q_HQD))
    if call.scale != 1.0:
        scores *= call.scale
    if expansion is not None:
        scores += expansion.block(queries, keys)
    if key_scores is not None:
        scores += key_scores
    if call.pattern.shows_all:
        return torch.softmax(scores, dim=-1).to(q_HQD.dtype)
    hidden = ~call.pattern.visible(queries, keys)
    scores.masked_fill_(hidden, float("-inf"))
    probabilities = torch.softmax(scores, dim=-1)
    return probabilities.masked_fill_(hidden.all(-1, keepdim=True), 0.0).to(q_HQD.dtype)


def _drop(weights_HQK: torch.Tensor, drop: Dropout | None, queries: slice) -> torch.Tensor:
    if drop is None:
        return weights_HQK
    rows, num_keys = drop.rows(queries.start, queries.stop), weights_HQK.shape[2]
    factors = [keep_factors(rows, num_keys, head * DRAWS_PER_HEAD) for head in range(len(weights_HQK))]
    return weights_HQK * torch.stack(factors).to(weights_HQK.dtype)


def _softmax_backward(grad: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """probabilities * (grad - sum(grad * probabilities)), in one pass."""
    return torch.ops.aten._softmax_backward_data(grad, probabilities, -1, grad.dtype)
