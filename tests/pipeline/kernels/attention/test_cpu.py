"""The C++ kernel against the reference in float64, through every instruction set this machine has."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.corruption import philox
from pipeline.kernels.attention import Bias, FireBias, IntervalPattern, RelativeBias, attention, cpu
from pipeline.kernels.attention.operator import attention_fused, fits, flatten
from pipeline.kernels.attention.reference import attention_reference
from pipeline.kernels.dropout import Dropout
from tests.pipeline.kernels.attention.cases import BOUNDS, WIDE, Case, boundaries, draw_case

DTYPES = (torch.float32, torch.bfloat16)


def assert_agrees(seed: int) -> None:
    """The kernel and the float64 reference, in both dtypes, on case number `seed`."""
    for dtype in DTYPES:
        errors = draw_case(seed).rounded(dtype).errors(attention_fused, attention_reference)
        for name, error in errors.items():
            assert error <= BOUNDS[dtype][name], f"case {seed}: {name} in {dtype} is {error:.2g} off"


def test_the_kernel_agrees_with_float64_on_random_shapes_and_patterns() -> None:
    for seed in range(200):
        assert_agrees(seed)


@pytest.mark.long
def test_the_kernel_agrees_with_float64_on_thousands_of_shapes_and_patterns() -> None:
    for seed in range(3000):
        assert_agrees(seed)


def available_instructions() -> list[str]:
    """With AVX-512 BF16 and without AMX, torch's tile products run too: AMX's path is tested without its tiles."""
    if not cpu.is_available():
        return []
    best = cpu.best_instructions()
    sets = cpu.INSTRUCTIONS[: cpu.INSTRUCTIONS.index(best) + 1]
    return [*sets, "amx"] if best == "avx512_bf16" else list(sets)


@pytest.mark.parametrize("instructions", available_instructions())
def test_every_instruction_set_agrees_with_float64(instructions: str) -> None:
    with cpu.using(instructions):
        for seed in range(10000, 10020):
            assert_agrees(seed)


def poisoned_results(case: Case) -> dict[str, torch.Tensor]:
    """What the kernel writes into memory full of NaN."""
    tensors = (case.tensors[name] for name in "qkv")
    bias = case.bias_of(case.tensors)
    scores = case.tensors.get("key_scores")
    others = (case.cu_q, case.cu_k, case.pattern, bias, case.scale, case.dropout, scores)
    given = cpu.Arguments(*flatten(*tensors, *others))

    def nan(x: torch.Tensor) -> torch.Tensor:
        return torch.full(x.shape, torch.nan, dtype=x.dtype)

    out, logsumexp = nan(given.q), torch.full((given.q.shape[1], len(given.q)), torch.nan)
    cpu.forward(given, out, logsumexp)
    gradients = {f"grad_{name}": nan(getattr(given, name)) for name in "qkv"}
    gradients |= {f"grad_{name}": nan(case.tensors[name]) for name in WIDE if name in case.tensors}
    cpu.backward(given, out, logsumexp, case.grad_out, gradients)
    return {"out": out, "logsumexp": logsumexp, **gradients}


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_element_of_the_results_is_written(dtype: torch.dtype) -> None:
    for seed in range(40):
        for name, result in poisoned_results(draw_case(seed).rounded(dtype)).items():
            assert not result.isnan().any(), f"case {seed}: {name}"


def test_a_batch_of_empty_sequences_is_all_zeros() -> None:
    case = draw_case(3)
    empty, num_rows = torch.zeros(4, dtype=torch.int32), len(case.tensors["k"])
    pattern = IntervalPattern.causal(empty, len(case.tensors["q"]))
    pattern = replace(pattern, key_ranks=torch.zeros(num_rows, dtype=torch.int32))
    case = replace(case, cu_q=empty, cu_k=empty, pattern=pattern, dropout=None, positions=(None, None))
    for name, result in poisoned_results(case.rounded(torch.bfloat16)).items():
        assert name == "logsumexp" or result.abs().max() == 0.0, name


@pytest.mark.parametrize("dtype", DTYPES)
def test_queries_that_see_nothing_give_zeros_and_pass_no_gradient(dtype: torch.dtype) -> None:
    cu_seqlens, num_rows = boundaries([70, 1, 3]), 80
    pattern = IntervalPattern.window(cu_seqlens, num_rows, before=2, after=-1)
    q, k, v = (torch.randn(num_rows, 2, 16, dtype=dtype, requires_grad=True) for _ in range(3))
    bias = RelativeBias(torch.randn(2, 7))
    out = attention(q, k, v, cu_seqlens, cu_seqlens, pattern, bias)
    blind = [0, 70, 71, *range(74, 80)]  # the first row of each sequence, and the tail
    assert out[blind].abs().max() == 0.0
    assert (out[1:70].abs().amax((1, 2)) > 0).all()
    gradients = torch.autograd.grad(out.float().square().sum(), (q, k, v))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[0][blind].abs().max() == 0.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_nan_among_the_inputs_is_not_hidden(dtype: torch.dtype) -> None:
    cu_seqlens = boundaries([5, 4])
    q, k, v = (torch.ones(9, 1, 16, dtype=dtype) for _ in range(3))
    k[2] = torch.nan
    for instructions in available_instructions():
        with cpu.using(instructions):
            pattern = IntervalPattern.full(cu_seqlens, 9, cu_seqlens, 9)
            out = attention_fused(q, k, v, cu_seqlens, cu_seqlens, pattern, None, 1.0, None, None)
        assert out[:5].isnan().all(), instructions
        assert (out[5:] == 1.0).all(), instructions


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_repeat_run_to_run_and_for_any_number_of_threads(dtype: torch.dtype) -> None:
    for seed in range(15):
        case = draw_case(seed).rounded(dtype)
        runs = []
        for num_threads in (1, 2, 3, 2):
            torch.set_num_threads(num_threads)
            runs.append(case.results(attention_fused))
        for again in runs[1:]:
            assert all(torch.equal(again[name], result) for name, result in runs[0].items()), f"case {seed}"


def test_many_short_sequences_share_the_sums_of_the_bias() -> None:
    """More sequences than groups of partial sums, of very different lengths."""
    cu_seqlens = boundaries([1 + (17 * n) % 23 for n in range(300)])
    num_rows = int(cu_seqlens[-1])
    tensors = {name: torch.randn(num_rows, 2, 16, dtype=torch.float64) for name in "qkv"}
    tensors["bias"] = torch.randn(2, 17, dtype=torch.float64)
    pattern = IntervalPattern.causal(cu_seqlens, num_rows)
    case = Case(tensors, torch.randn(num_rows, 2, 16, dtype=torch.float64), cu_seqlens, cu_seqlens, pattern)
    errors = case.rounded(torch.float32).errors(attention_fused, attention_reference)
    assert max(errors.values()) < 1e-6


def test_inputs_need_not_be_contiguous() -> None:
    cu_seqlens = boundaries([50])
    packed = torch.randn(50, 3, 2, 32, dtype=torch.bfloat16)
    pattern = IntervalPattern.causal(cu_seqlens, 50)
    sliced = attention(*packed.unbind(1), cu_seqlens, cu_seqlens, pattern)
    copied = attention(*(x.contiguous() for x in packed.unbind(1)), cu_seqlens, cu_seqlens, pattern)
    turned = attention(
        *(x.permute(2, 0, 1).contiguous().permute(1, 2, 0) for x in packed.unbind(1)), cu_seqlens, cu_seqlens, pattern
    )
    assert torch.equal(sliced, copied)
    assert torch.equal(turned, copied)


def test_the_kernel_takes_what_fits_and_leaves_the_rest_to_the_reference() -> None:
    x = torch.zeros(1, 1, 16)
    always = Dropout(1.0, philox.Key(1, 2), torch.arange(1), torch.arange(1))
    assert fits(x, x, x, None)
    assert not fits(x.double(), x.double(), x.double(), None)
    assert not fits(x, x.bfloat16(), x, None)
    assert not fits(x, x, x, always)


def fire_bias(num_rows: int) -> FireBias:
    """Rows beyond half of them are normalised one by one."""
    pieces, shape = torch.randn(2, 1, 6, requires_grad=True), torch.tensor([0.1, num_rows / 2], requires_grad=True)
    return FireBias(pieces, torch.tensor([-0.5, 0.1, 0.2, 0.4, 0.9]), shape, torch.arange(num_rows))


def peak_bytes(num_rows: int, bias: Bias) -> int:
    """What one forward and backward of a single sequence adds to the process's memory at its peak."""
    cu_seqlens = boundaries([num_rows])
    q, k, v = (torch.randn(num_rows, 1, 32).bfloat16().requires_grad_() for _ in range(3))
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is resident now
    before = status_bytes("VmRSS")
    pattern = IntervalPattern.causal(cu_seqlens, num_rows)
    attention(q, k, v, cu_seqlens, cu_seqlens, pattern, bias).sum().backward()
    return status_bytes("VmHWM") - before


def status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


@pytest.mark.parametrize("name", ["table", "fire"])
def test_peak_memory_is_linear_in_the_rows(name: str) -> None:
    table, num_rows = RelativeBias(torch.zeros(1, 65, requires_grad=True)), 8192
    peak_bytes(256, table)
    # Packed copies of q and dO (two each), float32 sums of dq, the results: under 1.5 kB
    # a row of 32; a quarter of what one [L, L] matrix of bfloat16 takes.
    bias = table if name == "table" else fire_bias(num_rows)
    assert peak_bytes(num_rows, bias) < 1536 * num_rows + 2**22 < num_rows**2 / 2


def test_torch_compile_traces_through_and_the_operators_are_sound() -> None:
    cu_seqlens = boundaries([33, 20])
    q, k, v = (torch.randn(53, 2, 32, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    values = torch.randn(2, 17, requires_grad=True)
    pattern = IntervalPattern.causal(cu_seqlens, 53)

    def call(*tensors: torch.Tensor) -> torch.Tensor:
        return attention(*tensors[:3], cu_seqlens, cu_seqlens, pattern, RelativeBias(tensors[3])) * 2

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    expected, got = call(q, k, v, values), compiled(q, k, v, values)
    assert torch.equal(expected, got)
    weights = torch.randn_like(got)
    gradients = (torch.autograd.grad(out, (q, k, v, values), weights) for out in (expected, got))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)
    fire = FireBias(torch.randn(2, 2, 4, requires_grad=True), torch.arange(3.0), torch.ones(2), torch.arange(53))
    for bias in (RelativeBias(values), fire):
        flat = flatten(q, k, v, cu_seqlens, cu_seqlens, pattern, bias, 0.5, None, None)
        torch.library.opcheck(torch.ops.spanwright.attention.default, flat)
