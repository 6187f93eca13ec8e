"""The FLOPs of a forward: matrix products as torch counts them, and attention, which is an operator of our own.

A pair of a query and a key costs 2 D for its score and 2 D for its share of the values, for each head. Pairs are those
that lie in the pattern's intervals: not the rectangle of a sequence, of which a causal stack sees half. "Not itself"
and a random keep hide scores that were computed, so these count. Norms, activations and softmax are left out.

Where no kernel fits (pipeline/kernels/attention/reference.py), attention is made of torch's products, which are counted
as they run: whole rectangles.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.kernels.attention import cpu


def forward_flops(forward: Callable[[], object]) -> int:
    """FLOPs of what `forward` runs, which needs no gradient here."""
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_OURS) as counter:
        forward()
    return counter.get_total_flops()


def visible_pairs(given: cpu.Arguments) -> int:
    """How many keys lie in the intervals of the queries, over all queries."""
    q_sequence, k_sequence = _sequences(given.cu_q), _sequences(given.cu_k)
    ranks = given.key_ranks[: len(k_sequence)].long()
    span = int(ranks.max()) + 1 if len(ranks) else 1
    places = (k_sequence * span + ranks).sort().values

    def inside(start_Q: torch.Tensor, stop_Q: torch.Tensor) -> torch.Tensor:
        edges = (q_sequence * span + edge_Q[: len(q_sequence)].long().clamp(0, span) for edge_Q in (start_Q, stop_Q))
        first, last = (torch.searchsorted(places, edge) for edge in edges)
        return (last - first).clamp(min=0)

    found = inside(given.a_start, given.a_stop)
    if given.b_start is not None and given.b_stop is not None:
        found += inside(given.b_start, given.b_stop)
        found -= inside(torch.maximum(given.a_start, given.b_start), torch.minimum(given.a_stop, given.b_stop))
    return int(found.sum())


class _AttentionFlops:
    """A formula that is given the tensors themselves, as `FlopCounterMode` knows by this name, and not their shapes."""

    _get_raw = True

    def __call__(self, *arguments: Any, out_val: object = None) -> int:
        given = cpu.Arguments(*arguments)
        _, num_heads, head_dim = given.q.shape
        return 4 * num_heads * head_dim * visible_pairs(given)


_OURS = {torch.ops.spanwright.attention: _AttentionFlops()}


def _sequences(cu_seqlens: torch.Tensor) -> torch.Tensor:
    """[rows] int64: the sequence of each row; the tail has none and is left out."""
    lengths = cu_seqlens.long().diff()
    return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
