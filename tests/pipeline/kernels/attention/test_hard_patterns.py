"""The hardest published patterns as intervals, against masks written down row by row from the papers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.corruption import philox
from pipeline.kernels.attention import IntervalPattern, Keep, attention
from tests.pipeline.kernels.attention.cases import boundaries

HEADS, WIDTH = 2, 32


def dense(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Softmax attention under a mask [Tq, Tk], in float64; queries that see nothing give zeros."""
    scores = torch.einsum("qhd,khd->hqk", q.double(), k.double())
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1).nan_to_num(0.0)
    return torch.einsum("hqk,khd->qhd", weights, v.double())


def assert_same_with_gradients(
    pattern: IntervalPattern, cu_q: torch.Tensor, cu_k: torch.Tensor, seen: torch.Tensor, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = (seen.shape[0], seen.shape[1], seen.shape[1])
    tensors = [(torch.randn(n, HEADS, WIDTH, generator=generator) / 2).to(dtype).requires_grad_() for n in rows]
    weights = torch.randn(seen.shape[0], HEADS, WIDTH, generator=generator).to(dtype)
    ours, theirs = attention(*tensors, cu_q, cu_k, pattern), dense(*tensors, seen)
    got = [ours, *torch.autograd.grad(ours, tensors, weights)]
    expected = [theirs, *torch.autograd.grad(theirs, tensors, weights.double())]
    bound = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 1e-2}[dtype]
    for one, other in zip(got, expected, strict=True):
        assert (one.double() - other).norm() / other.norm() < bound


def mpnet(length: int, num_known: int) -> tuple[IntervalPattern, list[Callable[[int], bool]]]:
    """MPNet (Song et al. 2020, figure 2) for tokens already in the order of prediction, the first `num_known` given.

    Keys are the tokens (rank t) and, at each predicted place, a mask (rank length + t). Rows are the content stream of
    the given tokens and of the masks, which see the given tokens and all masks; the content stream of the predicted
    tokens, which see the tokens up to themselves and the masks after; and their query stream, which sees the tokens
    before and the masks from itself on. Also gives, for each row, the rule over ranks.
    """
    predicted = range(num_known, length)
    ranks = [*range(length), *(length + t for t in predicted)]
    given_sees = (num_known, length + num_known)
    a_stop_and_b_start = [
        *[given_sees] * (num_known + len(predicted)),
        *[(t + 1, length + t + 1) for t in predicted],
        *[(t, length + t) for t in predicted],
    ]
    a_stop, b_start = torch.tensor(a_stop_and_b_start, dtype=torch.int32).T.contiguous()
    pattern = IntervalPattern(
        key_ranks=torch.tensor(ranks, dtype=torch.int32),
        a_start=torch.zeros_like(a_stop),
        a_stop=a_stop,
        b_start=b_start,
        b_stop=torch.full_like(b_start, 2 * length),
    )

    def token(rank: int) -> bool:
        return rank < length

    rules: list[Callable[[int], bool]] = []
    for _ in range(num_known + len(predicted)):
        rules.append(lambda rank: rank < num_known or not token(rank))
    for t in predicted:
        rules.append(lambda rank, t=t: rank <= t if token(rank) else rank - length > t)
    for t in predicted:
        rules.append(lambda rank, t=t: rank < t if token(rank) else rank - length >= t)
    return pattern, rules


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("length", "num_known"), [(7, 4), (150, 128), (200, 1)])
def test_mpnets_two_streams_equal_the_dense_mask(length: int, num_known: int, dtype: torch.dtype) -> None:
    pattern, rules = mpnet(length, num_known)
    seen = torch.tensor([[rule(rank) for rank in pattern.key_ranks.tolist()] for rule in rules])
    cu_q, cu_k = boundaries([len(rules)]), boundaries([seen.shape[1]])
    # A query stream sees as many keys as there are places: all it lacks of one stream it has of the other.
    assert seen[-1].sum() == length
    assert_same_with_gradients(pattern, cu_q, cu_k, seen, dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_retromaes_enhanced_decoding_equals_the_dense_mask(dtype: torch.dtype) -> None:
    """Xiao et al. 2022, equation 7: row i sees row 0 and a random set of others, never itself; its set is its own."""
    lengths, rate = [130, 1, 67], 0.5
    cu_seqlens, num_rows = boundaries(lengths), sum(lengths)
    key, rows, samples = philox.stream_key(4, "keep"), torch.arange(num_rows) * 3, torch.full((num_rows,), 2**40 + 9)
    seen = torch.zeros(num_rows, num_rows, dtype=torch.bool)
    for start, length in zip(cu_seqlens.tolist(), lengths, strict=False):
        own = rows[start : start + length].numpy()
        words = philox.random_bits(key, 2**40 + 9, own[:, None], np.arange((length + 1) // 2))
        kept = np.stack([words & 0xFFFF, words >> 16], axis=-1).reshape(length, -1)[:, :length] < rate * 2**16
        kept &= ~np.eye(length, dtype=bool)
        kept[:, 0] = True
        seen[start : start + length, start : start + length] = torch.from_numpy(kept)
    pattern = IntervalPattern.slot_and_others(cu_seqlens, num_rows, Keep(rate, key, rows, samples))
    assert 0.45 < seen[1:130, 1:130].float().mean() < 0.55
    assert_same_with_gradients(pattern, cu_seqlens, cu_seqlens, seen, dtype)
