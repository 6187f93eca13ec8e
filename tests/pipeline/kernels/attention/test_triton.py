"""The Triton kernels without a GPU: run by the interpreter, compiled for three architectures; with one, run there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pipeline.kernels.attention import attention
from pipeline.kernels.attention.operator import attention_fused
from pipeline.kernels.attention.reference import attention_reference
from pipeline.kernels.attention.triton_backward import backward_keys, backward_queries
from pipeline.kernels.attention.triton_bias import backward_bias
from pipeline.kernels.attention.triton_forward import forward_kernel
from pipeline.kernels.attention.triton_launch import DROPOUT_TILES, FIRE_TILES, TILES, Tile
from tests.pipeline.kernels.attention.cases import BOUNDS, Case, draw_case
from tests.pipeline.kernels.attention.interpreted import HALF
from tests.pipeline.kernels.gpu import ROOT, TARGETS, interpreted, needs_gpu, spills

# float16 rounds eight times finer than bfloat16: the same bounds are generous, and a wrong term is far outside them.
INTERPRETED_BOUNDS = {"torch.float32": BOUNDS[torch.float32], "torch.float16": BOUNDS[torch.bfloat16]}


def test_the_interpreted_kernels_agree_with_float64() -> None:
    """Lengths 0 and 1, tails, shared key heads, every pattern and random bits; the results are written over NaN."""
    said = interpreted("tests.pipeline.kernels.attention.interpreted")
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["dtype"] for line in lines].count("torch.float16") == len(HALF)
    assert len(lines) >= 24 + len(HALF)
    for line in lines:
        for name, error in line["errors"].items():
            bound = INTERPRETED_BOUNDS[line["dtype"]][name]
            assert error <= bound, f"{line['case']}: {name} in {line['dtype']} is {error:.2g} off"


SHARED_BYTES = {"sm_80": 99 * 1024, "sm_90": 227 * 1024, "gfx942": 64 * 1024}
KERNELS = {"forward": forward_kernel, "queries": backward_queries, "keys": backward_keys, "bias": backward_bias}
NARROW = ("q", "k", "v", "out", "grad_out", "grad_q", "grad_k", "grad_v")
WIDE = (
    *("logsumexp", "delta", "bias", "bias_shares", "key_scores", "score_shares"),
    *(f"fire_{name}" for name in ("pieces", "breaks", "shape", "shares")),
)
INDICES = (
    *("cu_q", "cu_k", "key_ranks", "a_start", "a_stop", "b_start", "b_stop", "query_ranks"),
    *("block_ranks", "tile_intervals", "q_positions", "k_positions", "fire_extents"),
)
KEEP = ("keep_rows", "keep_positions")  # names of rows, for random bits
NAMES = ("dropout_rows", "dropout_positions")  # likewise
# What a call of an encoder or decoder with a learned bias does not give; see triton_launch._common.
BIASES = {
    "table": ("bias", "bias_shares"),
    "fire": ("fire_pieces", "fire_breaks", "fire_shape", "fire_extents", "fire_shares"),
}
ABSENT = (
    *("b_start", "b_stop", "query_ranks", "q_positions", "k_positions", "key_scores", "score_shares"),
    *(*KEEP, *NAMES),
)


def compiled(kernel: Any, tile: Tile, target: GPUTarget, head_dim: int, absent: tuple[str, ...]) -> Any:
    """The kernel for bfloat16 and contiguous positions."""
    constants: dict[str, Any] = {"SHARING": 1, "HEAD_DIM": head_dim, "WIDTH": head_dim, "VALUES": 512}
    constants |= {"NUM_BREAKS": 32, "PIECES": 64}
    constants |= {"QUERIES": tile.queries, "KEYS": tile.keys, "PART": tile.part or head_dim}
    constants |= {"PTX": target.backend == "cuda"} | dict.fromkeys(absent)
    types = dict.fromkeys(NARROW, "*bf16") | dict.fromkeys(WIDE, "*fp32") | dict.fromkeys(INDICES, "*i32")
    types |= dict.fromkeys((*KEEP, *NAMES), "*i64")
    types |= {"scale": "fp32", "dropout_scale": "fp32"} | dict.fromkeys(constants, "constexpr")
    names = kernel.arg_names
    signature = {name: types.get(name, "i32") for name in names}
    values = {(place,): constants[name] for place, name in enumerate(names) if name in constants}
    aligned = [name for name, kind in signature.items() if kind[0] == "*" or name.endswith(("_row", "_head"))]
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    return triton.compile(ASTSource(kernel, signature, values, attributes), target=target, options=tile.options)


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("architecture", TARGETS)
def test_the_kernels_compile_without_spills(
    architecture: str, head_dim: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    tiles = TILES[architecture][head_dim]
    for name, kernel in KERNELS.items():
        absent = (*ABSENT, *BIASES["fire"])
        code = assert_compiles(kernel, getattr(tiles, name), architecture, head_dim, absent)
        assert spills(code, tmp_path) == 0, name


@pytest.mark.long
@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("architecture", TARGETS)
def test_with_dropout_the_kernels_compile_without_spills(
    architecture: str, head_dim: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    tiles = DROPOUT_TILES[architecture][head_dim]
    absent = tuple(name for name in (*ABSENT, *BIASES["fire"]) if name not in NAMES)
    for name, kernel in KERNELS.items():
        code = assert_compiles(kernel, getattr(tiles, name), architecture, head_dim, absent)
        assert spills(code, tmp_path) == 0, name


@pytest.mark.parametrize(
    ("architecture", "head_dim"),
    [
        pytest.param(
            architecture, head_dim, marks=() if (architecture, head_dim) == ("sm_90", 64) else pytest.mark.long
        )
        for architecture in TARGETS
        for head_dim in (64, 128)
    ],
)
def test_with_fire_the_kernels_compile_without_spills(
    architecture: str, head_dim: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    tiles = FIRE_TILES[architecture][head_dim]
    launches = {"forward": (forward_kernel, ()), "queries": (backward_queries, ("fire_shares",))}
    launches |= {"keys": (backward_keys, ()), "bias": (backward_queries, ("grad_q",))}
    for name, (kernel, absent) in launches.items():
        absent = (*ABSENT, *BIASES["table"], *absent)
        code = assert_compiles(kernel, getattr(tiles, name), architecture, head_dim, absent)
        assert spills(code, tmp_path) == 0, name


RARE = {
    "two streams by position": ("q_positions", "k_positions", "b_start", "b_stop", "query_ranks"),
    "random keep": ("b_start", "b_stop", "query_ranks", *KEEP),
    "key scores": ("key_scores", "score_shares"),
}


@pytest.mark.long
@pytest.mark.parametrize("given", RARE)
@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("architecture", TARGETS)
def test_rarer_calls_compile_and_fit_the_shared_memory(
    architecture: str, head_dim: int, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some spill: docs/kernels.md."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    absent = tuple(name for name in (*ABSENT, *BIASES["fire"]) if name not in RARE[given])
    for name, kernel in KERNELS.items():
        if name != "bias" or "q_positions" in absent:  # of given positions, the queries' kernel adds it up
            assert_compiles(kernel, getattr(TILES[architecture][head_dim], name), architecture, head_dim, absent)


def assert_compiles(kernel: Any, tile: Tile, architecture: str, head_dim: int, absent: tuple[str, ...]) -> Any:
    """The kernel, whose tile is no smaller than 64 by 64 and fits the shared memory."""
    assert min(tile.queries, tile.keys) >= 64
    code = compiled(kernel, tile, TARGETS[architecture], head_dim, absent)
    assert code.metadata.shared <= SHARED_BYTES[architecture]
    return code


def test_attention_needs_no_triton_on_cpu() -> None:
    code = "import sys; sys.modules['triton'] = None; import pipeline.kernels.attention"  # importing it raises
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def on_gpu(case: Case) -> Case:
    """The same case with every tensor on the GPU."""
    return _moved(case)


def _moved(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.cuda()
    if isinstance(value, dict):
        return {name: _moved(x) for name, x in value.items()}
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_moved(x) for x in value)
    if hasattr(value, "__dataclass_fields__"):
        return type(value)(**{name: _moved(getattr(value, name)) for name in value.__dataclass_fields__})
    return value


@needs_gpu
@pytest.mark.parametrize("first", range(0, 100, 10))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_the_kernels_agree_with_float64_and_their_bits_repeat(dtype: torch.dtype, first: int) -> None:
    for seed in range(first, first + 10):
        case = on_gpu(draw_case(seed).rounded(dtype))
        for name, error in case.errors(attention_fused, attention_reference).items():
            assert error <= BOUNDS[dtype][name], f"case {seed}: {name} is {error:.2g} off"
        once, again = case.results(attention), case.results(attention)
        assert all(torch.equal(again[name], result) for name, result in once.items()), f"case {seed}"
