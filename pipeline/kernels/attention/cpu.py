"""The C++ kernel's Python side: builds and loads it, fills in its call structure, owns its outputs.

1. `library` builds cpu.cpp at first use (None without a compiler: the reference runs);
2. `AttentionCall` mirrors the structure in cpu_call.h field by field;
3. `forward` and `backward` take the operator's flat arguments, checked and on CPU.
"""

import ctypes
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, Structure, c_float, c_int32, c_int64, c_uint32, c_void_p
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import torch

from data_prep import native
from data_prep.errors import SpanwrightError

INSTRUCTIONS = ("portable", "avx2", "avx512", "avx512_bf16", "amx")
_TORCH_LIBRARIES = Path(torch.__file__).parent / "lib"
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", f"-DTORCH_VERSION={torch.__version__}")
# cpu.cpp brings its own instruction sets: on x86-64 nothing outside them may use more than every such machine has.
_BASELINE = ("-march=x86-64",) if platform.machine() == "x86_64" else ()
_LINKS = (f"-L{_TORCH_LIBRARIES}", "-Wl,--no-as-needed", "-l:libtorch_cpu.so", "-l:libc10.so")


class _RandomStream(Structure):
    _fields_ = (
        ("rows", c_void_p),
        ("positions", c_void_p),
        ("key_low", c_uint32),
        ("key_high", c_uint32),
        ("threshold", c_uint32),
    )


class _AttentionCall(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("num_sequences", "num_queries", "num_keys", "num_heads", "num_kv_heads")),
        *((name, c_int64) for name in ("head_dim", "q_row", "q_head", "k_row", "k_head", "v_row", "v_head")),
        *((name, c_void_p) for name in ("q", "k", "v", "cu_q", "cu_k", "key_ranks", "a_start", "a_stop")),
        *((name, c_void_p) for name in ("b_start", "b_stop", "query_ranks")),
        ("keep", _RandomStream),
        ("bias", c_void_p),
        *((name, c_void_p) for name in ("fire_pieces", "fire_breaks", "fire_shape", "fire_extents")),
        *((name, c_void_p) for name in ("q_positions", "k_positions")),
        *((name, c_int64) for name in ("reach", "num_breaks")),
        ("key_scores", c_void_p),
        ("dropout", _RandomStream),
        ("dropout_scale", c_float),
        ("scale", c_float),
        *((name, c_int32) for name in ("shows_all", "instructions", "num_threads", "is_bfloat16")),
        *((name, c_void_p) for name in ("out", "logsumexp", "grad_out", "grad_q", "grad_k", "grad_v")),
        *((name, c_void_p) for name in ("grad_bias", "grad_fire_pieces", "grad_fire_shape", "grad_key_scores")),
    )


@dataclass(frozen=True)
class Arguments:
    """What an attention call is given, as tensors and numbers: the pattern's arrays int32, the streams' int64."""

    q: torch.Tensor  # [Tq, H, D], float32 or bfloat16, last stride 1; k and v likewise
    k: torch.Tensor  # [Tk, G, D]; H is a multiple of G
    v: torch.Tensor
    cu_q: torch.Tensor
    cu_k: torch.Tensor
    key_ranks: torch.Tensor
    a_start: torch.Tensor
    a_stop: torch.Tensor
    b_start: torch.Tensor | None
    b_stop: torch.Tensor | None
    query_ranks: torch.Tensor | None
    shows_all: bool
    keep_rows: torch.Tensor | None
    keep_positions: torch.Tensor | None
    keep: list[int]  # key low, key high, threshold
    bias: torch.Tensor | None  # [H, 2 * reach + 1] float32
    fire_pieces: torch.Tensor | None  # [2, H, breaks + 1] float32: see fire.py
    fire_breaks: torch.Tensor | None
    fire_shape: torch.Tensor | None  # [2] float32
    fire_extents: torch.Tensor | None
    q_positions: torch.Tensor | None
    k_positions: torch.Tensor | None
    key_scores: torch.Tensor | None  # [Tk] float32
    scale: float
    dropout_rows: torch.Tensor | None
    dropout_positions: torch.Tensor | None
    dropout: list[int]  # key low, key high, threshold
    dropout_scale: float

    @property
    def reach(self) -> int:
        """The farthest relative position with a bias of its own."""
        return 0 if self.bias is None else self.bias.shape[1] // 2


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None where it cannot be built."""
    try:
        loaded = native.load(Path(__file__).with_name("cpu.cpp"), (*_FLAGS, *_BASELINE), _LINKS)
    except SpanwrightError as error:  # a compiler that lacks what GCC has: slower, not wrong
        warnings.warn(f"attention runs without its C++ kernel: {error}", stacklevel=2)
        return None
    if loaded is not None:
        loaded.attention_instructions.restype = c_int32
        loaded.attention_run.argtypes = (POINTER(_AttentionCall), c_int32)
        loaded.attention_run.restype = None
    return loaded


@torch.compiler.assume_constant_result
def is_available() -> bool:
    """Whether there is a kernel on this machine."""
    return library() is not None


@cache
def best_instructions() -> str:
    """The best of `INSTRUCTIONS` this machine has."""
    loaded = library()
    assert loaded is not None, "there is a kernel"
    return INSTRUCTIONS[loaded.attention_instructions()]


_forced_instructions: list[str] = []


@contextmanager
def using(instructions: str) -> Iterator[None]:
    """Compute with this instruction set, which the machine must have: the sets' bits differ."""
    _forced_instructions.append(instructions)
    try:
        yield
    finally:
        _forced_instructions.pop()


def forward(given: Arguments, out: torch.Tensor, logsumexp: torch.Tensor) -> None:
    """Write every element of `out` [Tq, H, D] and of `logsumexp` [H, Tq] float32 (base 2)."""
    _run(_call(given, out=out, logsumexp=logsumexp), is_backward=False)


def backward(
    given: Arguments,
    out: torch.Tensor,
    logsumexp: torch.Tensor,
    grad_out: torch.Tensor,
    gradients: dict[str, torch.Tensor],
) -> None:
    """Write every element of `gradients`: grad_q, grad_k, grad_v, and of float32 those wanted: grad_bias,
    grad_fire_pieces, grad_fire_shape, grad_key_scores."""
    _run(_call(given, out=out, logsumexp=logsumexp, grad_out=grad_out, **gradients), is_backward=True)


def _run(call: _AttentionCall, is_backward: bool) -> None:
    loaded = library()
    assert loaded is not None, "there is a kernel"
    loaded.attention_run(ctypes.byref(call), int(is_backward))


def _check(given: Arguments) -> None:
    """Lengths: the kernel reads memory as it is told to."""
    num_queries, num_keys = len(given.q), len(given.k)
    pattern = ("a_start", "a_stop", "b_start", "b_stop", "query_ranks")
    of_queries = (
        *pattern,
        "fire_extents",
        "q_positions",
        "keep_rows",
        "keep_positions",
        "dropout_rows",
        "dropout_positions",
    )
    for names, length in ((of_queries, num_queries), (("key_ranks", "k_positions", "key_scores"), num_keys)):
        for name in names:
            array = getattr(given, name)
            assert array is None or len(array) == length, f"{name} has {len(array)} rows, not {length}"
    for name, cu_seqlens, length in (("q", given.cu_q, num_queries), ("k", given.cu_k, num_keys)):
        assert int(cu_seqlens[0]) == 0, f"the first sequence of {name} begins at row 0"
        assert bool((cu_seqlens.diff() >= 0).all()), f"boundaries of {name} ascend"
        assert int(cu_seqlens[-1]) <= length, f"the sequences of {name} end within its {length} rows"
    assert given.bias is None or len(given.bias) == given.q.shape[1], "a bias for each head"
    if given.fire_pieces is not None and given.fire_breaks is not None:
        assert given.fire_pieces.shape == (2, given.q.shape[1], len(given.fire_breaks) + 1), "a function for each head"


def _call(given: Arguments, **results: torch.Tensor) -> _AttentionCall:
    _check(given)
    call = _AttentionCall()
    for field in fields(given):
        value = getattr(given, field.name)
        if isinstance(value, torch.Tensor) and hasattr(call, field.name):
            setattr(call, field.name, value.data_ptr())
    for name, result in results.items():
        assert result.is_contiguous(), f"{name} is contiguous"
        setattr(call, name, result.data_ptr())
    call.num_sequences = len(given.cu_q) - 1
    call.num_queries, call.num_heads, call.head_dim = given.q.shape
    call.num_keys, call.num_kv_heads = given.k.shape[:2]
    for name in ("q", "k", "v"):
        row, head, last = getattr(given, name).stride()
        assert last == 1, f"{name}'s last dimension is contiguous"
        setattr(call, f"{name}_row", row)
        setattr(call, f"{name}_head", head)
    call.keep = _stream(given.keep_rows, given.keep_positions, given.keep)
    call.dropout = _stream(given.dropout_rows, given.dropout_positions, given.dropout)
    call.dropout_scale, call.scale, call.reach = given.dropout_scale, given.scale, given.reach
    call.num_breaks = 0 if given.fire_breaks is None else len(given.fire_breaks)
    chosen = _forced_instructions[-1] if _forced_instructions else best_instructions()
    call.shows_all, call.instructions = given.shows_all, INSTRUCTIONS.index(chosen)
    call.num_threads, call.is_bfloat16 = torch.get_num_threads(), given.q.dtype == torch.bfloat16
    return call


def _stream(rows: torch.Tensor | None, positions: torch.Tensor | None, numbers: list[int]) -> _RandomStream:
    if rows is None or positions is None:
        return _RandomStream()
    return _RandomStream(rows.data_ptr(), positions.data_ptr(), *numbers)
