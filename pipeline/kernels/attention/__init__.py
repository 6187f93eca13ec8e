"""Attention on flat packed sequences: who sees whom is a rule of intervals, never a matrix.

The kernels behind operator.py compute what they fit, float32 and bfloat16: in C++ on CPU, where a compiler is (cpu.py,
cpu.cpp), in Triton on a GPU (triton_launch.py). The plain reference (reference.py) is the specification, and computes
the rest.

Shape suffixes: Tq, Tk rows of queries and keys, H heads, G heads of keys and values, D head dimension, N sequences, R
relative positions of a bias.
"""

import torch

from pipeline.kernels.attention.bias import Bias, RelativeBias
from pipeline.kernels.attention.fire import FireBias
from pipeline.kernels.attention.operator import attention_fused, fits
from pipeline.kernels.attention.patterns import IntervalPattern, Keep
from pipeline.kernels.attention.reference import attention_reference
from pipeline.kernels.dropout import Dropout

__all__ = ["Bias", "FireBias", "IntervalPattern", "Keep", "RelativeBias", "attention"]


def attention(
    q_THD: torch.Tensor,
    k_THD: torch.Tensor,
    v_THD: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    pattern: IntervalPattern,
    bias: Bias | None = None,
    scale: float = 1.0,
    dropout: Dropout | None = None,
    key_scores_T: torch.Tensor | None = None,
) -> torch.Tensor:
    """softmax(scale * q k^T + bias + key_scores, over the keys `pattern` shows) v, one sequence at a time: [Tq, H, D].

    q_THD is [Tq, H, D], k_THD and v_THD [Tk, G, D], all of one floating dtype; H is a multiple of G, and query head h
    reads key head h // (H / G). Query sequence n (rows cu_seqlens_q[n] to cu_seqlens_q[n + 1]) sees keys of key
    sequence n only. key_scores_T [Tk] adds to every score of a key. Softmax is computed in at least float32. A query
    that sees no key, and every row of the tail, gives zeros. Gradients reach q, k, v, `bias.values` and key_scores_T;
    with the kernels their bits repeat, on a CPU for any number of threads.
    """
    assert q_THD.shape[2] == k_THD.shape[2] == v_THD.shape[2], "q, k and v have the same head dimension"
    assert k_THD.shape == v_THD.shape, "a value for each key"
    assert q_THD.shape[1] % k_THD.shape[1] == 0, "each key head serves as many query heads"
    assert len(cu_seqlens_q) == len(cu_seqlens_k), "as many key sequences as query sequences"
    compute = attention_fused if fits(q_THD, k_THD, v_THD, dropout) else attention_reference
    return compute(q_THD, k_THD, v_THD, cu_seqlens_q, cu_seqlens_k, pattern, bias, scale, dropout, key_scores_T)
