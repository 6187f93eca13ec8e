"""Attention on flat packed sequences: who sees whom is a rule of intervals, never a matrix.

Shape suffixes: Tq, Tk rows of queries and keys, H heads, D head dimension, N sequences, R relative positions of a bias.
"""

import torch

from pipeline.kernels.attention.bias import RelativeBias
from pipeline.kernels.attention.patterns import IntervalPattern, Keep
from pipeline.kernels.attention.reference import attention_reference
from pipeline.kernels.dropout import Dropout

__all__ = ["IntervalPattern", "Keep", "RelativeBias", "attention"]


def attention(
    q_THD: torch.Tensor,
    k_THD: torch.Tensor,
    v_THD: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    pattern: IntervalPattern,
    bias: RelativeBias | None = None,
    scale: float = 1.0,
    dropout: Dropout | None = None,
) -> torch.Tensor:
    """softmax(scale * q k^T + bias, over the keys `pattern` shows) v, one sequence at a time; returns [Tq, H, D].

    q_THD is [Tq, H, D], k_THD and v_THD [Tk, H, D], all of one floating dtype. Query sequence n (rows cu_seqlens_q[n]
    to cu_seqlens_q[n + 1]) sees keys of key sequence n only. Softmax is computed in at least float32. A query that sees
    no key, and every row of the tail, gives zeros. Gradients reach q, k, v and `bias.values_HR`; on CPU, and wherever
    positions are contiguous, their bits repeat.
    """
    assert q_THD.shape[1:] == k_THD.shape[1:] == v_THD.shape[1:], "q, k and v have the same heads and head dimension"
    assert len(k_THD) == len(v_THD), "a value for each key"
    assert len(cu_seqlens_q) == len(cu_seqlens_k), "as many key sequences as query sequences"
    return attention_reference(q_THD, k_THD, v_THD, cu_seqlens_q, cu_seqlens_k, pattern, bias, scale, dropout)
