"""The reference against a dense computation over the whole batch, in float64."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from pipeline.corruption import philox
from pipeline.kernels.attention import FireBias, IntervalPattern, Keep, RelativeBias, attention
from pipeline.kernels.attention.bias import diagonal_sums, diagonals, fold_diagonals, toeplitz
from pipeline.kernels.dropout import Dropout
from pipeline.model.positions.fire import piecewise

HEADS, WIDTH, REACH = 2, 4, 3
CU_Q = torch.tensor([0, 3, 3, 4, 9, 9], dtype=torch.int32)
CU_K = torch.tensor([0, 4, 5, 5, 11, 11], dtype=torch.int32)  # query sequence 2 has no keys, key sequence 1 no queries
NUM_Q, NUM_K = 11, 12


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def inputs(num_q: int = NUM_Q, num_k: int = NUM_K, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    q, k, v = (draw(n, HEADS, WIDTH + i, dtype=dtype)[..., :WIDTH] for i, n in enumerate((num_q, num_k, num_k)))
    return tuple(x.detach().clone().requires_grad_() for x in (q, k, v, draw(HEADS, 2 * REACH + 1, dtype=dtype)))


def spread(cu_seqlens: torch.Tensor, num_rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequence (-1 - row in the tail) and index within it, of each row; by plain loops."""
    sequence, index = [-1 - row for row in range(num_rows)], [0] * num_rows
    for n, (start, stop) in enumerate(zip(cu_seqlens.tolist(), cu_seqlens.tolist()[1:], strict=False)):
        for row in range(start, stop):
            sequence[row], index[row] = n, row - start
    return torch.tensor(sequence), torch.tensor(index)


def dense(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    seen: torch.Tensor,
    bias_HQK: torch.Tensor,
    scale: float = 1.0,
    factors_HQK: torch.Tensor | float = 1.0,
) -> torch.Tensor:
    scores = torch.einsum("qhd,khd->hqk", q, k) * scale + bias_HQK
    weights = torch.where(seen, scores, -torch.inf).softmax(-1)
    weights = torch.where(seen.any(-1, keepdim=True), weights, 0.0) * factors_HQK
    return torch.einsum("hqk,khd->qhd", weights, v)


def bias_by_position(values: torch.Tensor, q_positions: torch.Tensor, k_positions: torch.Tensor) -> torch.Tensor:
    return values[:, (k_positions - q_positions[:, None]).clamp(-REACH, REACH) + REACH]


def assert_same_with_gradients(ours: torch.Tensor, theirs: torch.Tensor, tensors: tuple[torch.Tensor, ...]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(9), dtype=ours.dtype)
    got = torch.autograd.grad((ours * weights).sum(), tensors)
    expected = torch.autograd.grad((theirs * weights).sum(), tensors)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_cross_attention_equals_dense_attention_under_a_block_mask() -> None:
    q, k, v, values = inputs()
    pattern = IntervalPattern.full(CU_Q, NUM_Q, CU_K, NUM_K)
    ours = attention(q, k, v, CU_Q, CU_K, pattern, RelativeBias(values), scale=0.3)
    (seq_q, index_q), (seq_k, index_k) = spread(CU_Q, NUM_Q), spread(CU_K, NUM_K)
    theirs = dense(q, k, v, seq_q[:, None] == seq_k, bias_by_position(values, index_q, index_k), 0.3)
    assert_same_with_gradients(ours, theirs, (q, k, v, values))


PATTERNS = {
    "causal": IntervalPattern.causal(CU_Q, NUM_Q),
    "prefix": IntervalPattern.prefix(CU_Q, NUM_Q, torch.tensor([2, 0, 0, 4, 0])),
    "slot and window": IntervalPattern.window(CU_Q, NUM_Q, before=1, after=1, slot=True),
    "enhanced decoding": IntervalPattern.slot_and_others(
        CU_Q, NUM_Q, Keep(0.4, philox.Key(3, 4), torch.arange(NUM_Q), torch.full((NUM_Q,), 77))
    ),
    "sees nothing at first": IntervalPattern.window(CU_Q, NUM_Q, before=2, after=-1),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_self_attention_under_each_pattern_equals_dense_attention(name: str) -> None:
    pattern = PATTERNS[name]
    q, k, v, values = inputs(num_k=NUM_Q)
    ours = attention(q, k, v, CU_Q, CU_Q, pattern, RelativeBias(values))
    _, index = spread(CU_Q, NUM_Q)
    seen = torch.zeros(NUM_Q, NUM_Q, dtype=torch.bool)
    for start, stop in zip(CU_Q.tolist(), CU_Q.tolist()[1:], strict=False):
        rows = slice(start, stop)
        seen[rows, rows] = pattern.visible(rows, rows)
    assert_same_with_gradients(ours, dense(q, k, v, seen, bias_by_position(values, index, index)), (q, k, v, values))


def test_explicit_positions_are_looked_up_and_agree_with_contiguous_ones() -> None:
    q, k, v, values = inputs(num_k=NUM_Q)
    pattern = IntervalPattern.full(CU_Q, NUM_Q, CU_Q, NUM_Q)
    sequence, index = spread(CU_Q, NUM_Q)
    contiguous = attention(q, k, v, CU_Q, CU_Q, pattern, RelativeBias(values))
    looked_up = attention(q, k, v, CU_Q, CU_Q, pattern, RelativeBias(values, index, index))
    assert_same_with_gradients(looked_up, contiguous, (q, k, v, values))
    positions = torch.tensor([0, 4, 5, 0, 2, 3, 9, 1, 1, 0, 0])  # tokens were dropped: gaps, repeats
    ours = attention(q, k, v, CU_Q, CU_Q, pattern, RelativeBias(values, positions, positions))
    seen = sequence[:, None] == sequence
    seen[9:] = False  # the tail
    theirs = dense(q, k, v, seen, bias_by_position(values, positions, positions))
    assert_same_with_gradients(ours, theirs, (q, k, v, values))


def test_attention_dropout_takes_the_stated_bits() -> None:
    q, k, v, values = inputs(num_k=NUM_Q)
    key, rows = philox.stream_key(5, "dropout/x"), torch.arange(NUM_Q) + 100
    drop = Dropout(0.5, key, rows, torch.full((NUM_Q,), 2**32 + 3))
    pattern = IntervalPattern.full(CU_Q, NUM_Q, CU_Q, NUM_Q)
    ours = attention(q, k, v, CU_Q, CU_Q, pattern, RelativeBias(values), dropout=drop)
    sequence, index = spread(CU_Q, NUM_Q)
    draws = (np.arange(HEADS) * 2**20)[:, None, None] + index.numpy()
    bits = philox.random_bits(key, 2**32 + 3, rows.numpy()[:, None], draws)
    factors = torch.from_numpy(np.where(bits < 2**31, 0.0, 2.0))
    seen = sequence[:, None] == sequence
    seen[9:] = False
    theirs = dense(q, k, v, seen, bias_by_position(values, index, index), factors_HQK=factors)
    assert (factors == 0).any()
    assert_same_with_gradients(ours, theirs, (q, k, v, values))


@pytest.mark.parametrize("positions", [None, torch.tensor([0, 2, 3, 0, 5, 1, 1, 4, 7, 0, 0])])
def test_gradients_pass_gradcheck(positions: torch.Tensor | None) -> None:
    q, k, v, values = inputs(num_k=NUM_Q)
    drop = Dropout(0.3, philox.Key(8, 9), torch.arange(NUM_Q), torch.zeros(NUM_Q, dtype=torch.int64))
    pattern = IntervalPattern.causal(CU_Q, NUM_Q)

    def call(*tensors: torch.Tensor) -> torch.Tensor:
        bias = RelativeBias(tensors[3], positions, positions)
        return attention(*tensors[:3], CU_Q, CU_Q, pattern, bias, 0.7, drop)

    assert torch.autograd.gradcheck(call, (q, k, v, values))


@pytest.mark.parametrize("positions", [None, torch.tensor([0, 2, 3, 0, 5, 1, 1, 4, 7, 0, 0])])
@pytest.mark.parametrize(
    "pattern", [IntervalPattern.causal(CU_Q, NUM_Q), IntervalPattern.full(CU_Q, NUM_Q, CU_Q, NUM_Q)]
)
def test_fires_gradients_pass_gradcheck(positions: torch.Tensor | None, pattern: IntervalPattern) -> None:
    q, k, v, _ = inputs(num_k=NUM_Q)
    generator = torch.Generator().manual_seed(4)
    perceptron = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((5,), (5,), (HEADS, 5))]
    pieces, breaks = piecewise(*perceptron)
    shape = torch.tensor([0.3, 2.5], dtype=torch.float64)  # rows on both sides of the threshold
    extents = spread(CU_Q, NUM_Q)[1] if positions is None else positions

    def call(*tensors: torch.Tensor) -> torch.Tensor:
        bias = FireBias(tensors[3], breaks, tensors[4], extents, positions, positions)
        return attention(*tensors[:3], CU_Q, CU_Q, pattern, bias, 0.7)

    assert torch.autograd.gradcheck(call, (q, k, v, pieces.requires_grad_(), shape.requires_grad_()))


def test_fewer_key_heads_are_read_by_as_many_query_heads_each() -> None:
    q, k, v, _ = inputs(num_k=NUM_Q)
    q = torch.cat([q, -q, 2 * q], dim=1).detach().requires_grad_()  # 6 query heads on 2 key heads
    pattern = PATTERNS["causal"]
    ours = attention(q, k, v, CU_Q, CU_Q, pattern)
    repeated = (x[:, [0, 0, 0, 1, 1, 1]] for x in (k, v))
    assert_same_with_gradients(ours, attention(q, *repeated, CU_Q, CU_Q, pattern), (q, k, v))


def test_key_scores_are_added_to_every_score_of_a_key() -> None:
    q, k, v, _ = inputs()
    key_scores = draw(NUM_K)
    pattern = IntervalPattern.full(CU_Q, NUM_Q, CU_K, NUM_K)
    ours = attention(q, k, v, CU_Q, CU_K, pattern, scale=0.3, key_scores_T=key_scores)
    (seq_q, _), (seq_k, _) = spread(CU_Q, NUM_Q), spread(CU_K, NUM_K)
    theirs = dense(q, k, v, seq_q[:, None] == seq_k, key_scores.expand(HEADS, NUM_Q, NUM_K), 0.3)
    assert_same_with_gradients(ours, theirs, (q, k, v, key_scores))
    call = partial(attention, q, k, v, CU_Q, CU_K, pattern, None, 1.0, None)
    assert torch.autograd.gradcheck(call, (key_scores,))


def test_rows_that_see_nothing_and_the_tail_give_zeros_and_pass_no_gradient() -> None:
    q, k, v, values = inputs(num_k=NUM_Q)
    out = attention(q, k, v, CU_Q, CU_Q, PATTERNS["sees nothing at first"], RelativeBias(values))
    blind = [0, 3, 4, 9, 10]  # first rows of the sequences, and the tail
    assert out[blind].abs().max() == 0.0
    assert (out[1].abs() > 0).all()
    out.sum().backward()
    for tensor in (q, k, v):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad[9:].abs().max() == 0.0


def test_no_sequence_reaches_another() -> None:
    q, k, v, values = inputs(num_k=NUM_Q)
    out = attention(q, k, v, CU_Q, CU_Q, IntervalPattern.full(CU_Q, NUM_Q, CU_Q, NUM_Q), RelativeBias(values))
    gradients = torch.autograd.grad(out[4:9].square().sum(), (q, k, v))
    for gradient in gradients:
        assert (gradient[4:9].abs() > 0).any()
        assert torch.cat([gradient[:4], gradient[9:]]).abs().max() == 0.0


def test_a_batch_without_any_sequence_gives_zeros() -> None:
    q, k, v, values = inputs(5, 5)
    empty = torch.zeros(4, dtype=torch.int32)
    out = attention(q, k, v, empty, empty, IntervalPattern.causal(empty, 5), RelativeBias(values))
    out.sum().backward()
    assert out.abs().max() == 0.0
    assert values.grad is not None
    assert values.grad.abs().max() == 0.0


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 1.5e-2)])
def test_lower_precision_stays_close_to_float64_and_repeats_its_bits(dtype: torch.dtype, bound: float) -> None:
    cu_seqlens = torch.tensor([0, 70, 200], dtype=torch.int32)
    tensors = [*(draw(200, 4, 32 + i)[..., :32].detach() / 2 for i in range(3)), draw(4, 33).detach()]
    pattern = IntervalPattern.causal(cu_seqlens, 200)

    def run(to: torch.dtype) -> list[torch.Tensor]:
        leaves = [tensor.to(dtype).to(to).requires_grad_() for tensor in tensors]
        out = attention(*leaves[:3], cu_seqlens, cu_seqlens, pattern, RelativeBias(leaves[3]))
        return [out, *torch.autograd.grad(out.double().square().sum(), leaves)]

    exact, got, again = run(torch.float64), run(dtype), run(dtype)
    for one, two, three in zip(exact, got, again, strict=True):
        assert (one - two).norm() / one.norm() < bound
        assert torch.equal(two, three)


@pytest.mark.parametrize(("reach", "length"), [(3, 1), (3, 3), (3, 4), (3, 9), (1, 40)])
def test_the_diagonal_sum_is_the_transpose_of_the_toeplitz_expansion(reach: int, length: int) -> None:
    values, matrix = draw(2, 2 * reach + 1).detach(), draw(2, length, length).detach()
    expanded = toeplitz(diagonals(values, length), length)
    for i in range(length):
        for j in range(length):
            offset = min(max(j - i, -reach), reach) + reach
            assert expanded[:, i, j].tolist() == values[:, offset].tolist()
    folded = fold_diagonals(diagonal_sums(matrix), reach)
    torch.testing.assert_close((expanded * matrix).sum(), (values * folded).sum(), rtol=1e-12, atol=1e-12)


def test_a_pattern_that_shows_all_needs_no_mask_and_gives_the_same_bits() -> None:
    q, k, v, values = inputs()
    pattern = IntervalPattern.full(CU_Q, NUM_Q, CU_K, NUM_K)
    masked = replace(pattern, shows_all=False)
    results = [attention(q, k, v, CU_Q, CU_K, one, RelativeBias(values)) for one in (pattern, masked)]
    assert torch.equal(*results)
