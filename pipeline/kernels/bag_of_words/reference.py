"""A sequence's bag of words, told from its rows: linear, max over the rows and cross entropy in one.

Invariant: memory is one chunk of logits and a few arrays like the weight, whatever the number of rows; sums and
gradients add up in the order of rows.

Of each sequence, one after another:
1. its logits, a chunk of rows at a time, leave their maximum over the rows and the first row that has it;
2. softmax over the maxima gives the loss: the mean of -log p over the sequence's set of tokens;
3. its gradient reaches, for each token, that one row, the token's weight and its bias: backward only scales it.

Source: Liu et al. 2023 (DupMAE), section 3.2; the mean over the set is its released code's.

Shape suffixes: T rows, W model width, V vocabulary, N sequences, L rows of one sequence, C rows of a chunk.
"""

import itertools
from typing import Any

import torch

_CHUNK_LOGITS = 2**23


def bag_of_words_sum(
    states_TW: torch.Tensor,
    weight_VW: torch.Tensor,
    bias_V: torch.Tensor,
    tokens_T: torch.Tensor,
    cu_seqlens: torch.Tensor,
) -> torch.Tensor:
    """The sum over sequences with rows of the loss of their tokens' set, a scalar of at least float32.

    states_TW [T, W], weight_VW [V, W] and bias_V [V] share a floating dtype; tokens_T [T] are integers in 0 .. V - 1;
    sequence n is the rows cu_seqlens[n]:cu_seqlens[n + 1]. Gradients have their inputs' dtype.
    """
    bounds = [(first, stop) for first, stop in itertools.pairwise(cu_seqlens.tolist()) if stop > first]
    return _BagOfWordsSum.apply(states_TW, weight_VW, bias_V, tokens_T.to(torch.int64), bounds)


class _BagOfWordsSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_TW: torch.Tensor,
        weight_VW: torch.Tensor,
        bias_V: torch.Tensor,
        tokens_T: torch.Tensor,
        bounds: list[tuple[int, int]],
    ) -> torch.Tensor:
        wide = torch.promote_types(states_TW.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=states_TW.device)
        grads = [torch.zeros_like(x, dtype=wide) for x in (states_TW, weight_VW, bias_V)]
        for first, stop in bounds:
            largest_V, rows_V = _largest(states_TW[first:stop], weight_VW, bias_V)
            loss, grad_V = _loss_and_gradient(largest_V.to(wide), tokens_T[first:stop])
            total += loss
            if any(ctx.needs_input_grad):
                grad_V1 = grad_V[:, None]
                grads[0][first:stop].index_add_(0, rows_V, grad_V1 * weight_VW)
                grads[1].addcmul_(grad_V1, states_TW[first:stop].index_select(0, rows_V).to(wide))
                grads[2] += grad_V
        ctx.save_for_backward(*(x.to(states_TW.dtype) for x in grads))
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return *(x * grad_outputs[0] for x in ctx.saved_tensors), None, None


def _largest(
    states_LW: torch.Tensor, weight_VW: torch.Tensor, bias_V: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest logit of each token over the rows [V], and the first row that has it [V]."""
    size = max(1, _CHUNK_LOGITS // len(weight_VW))
    largest_V, rows_V = torch.full_like(bias_V, -torch.inf), torch.zeros_like(bias_V, dtype=torch.int64)
    for start in range(0, len(states_LW), size):
        logits_CV = torch.nn.functional.linear(states_LW[start : start + size], weight_VW, bias_V)
        chunk_V, chunk_rows_V = logits_CV.max(0)
        rows_V = torch.where(chunk_V > largest_V, chunk_rows_V + start, rows_V)
        largest_V = torch.maximum(largest_V, chunk_V)
    return largest_V, rows_V


def _loss_and_gradient(largest_V: torch.Tensor, tokens_L: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    target_V = torch.zeros_like(largest_V)
    target_V[tokens_L] = 1.0
    target_V /= target_V.sum()
    log_shares_V = largest_V - torch.logsumexp(largest_V, 0)
    return -(target_V * log_shares_V).sum(), log_shares_V.exp() - target_V
