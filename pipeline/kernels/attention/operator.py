"""The torch operators `spanwright::attention` and `spanwright::attention_backward`: flat arguments in, new tensors out.

Registered with fake kernels (shapes without data) and autograd, so `torch.compile` traces through a call. Stages:
1. `flatten` makes pattern, bias, dropout tensors and numbers of the kernel's dtypes (differentiably);
2. the forward operator returns the output and the base-2 log of each query's sum of exponentials;
3. the backward operator computes probabilities again from that.

They are registered by dispatch key: `custom_op` and `register_autograd` look at the schema in Python in every call, and
its 28 arguments take them longer than all that is here.
"""

from dataclasses import fields
from types import ModuleType
from typing import Any

import torch

from pipeline.kernels.attention import cpu
from pipeline.kernels.attention.bias import Bias, RelativeBias
from pipeline.kernels.attention.fire import FireBias
from pipeline.kernels.attention.patterns import IntervalPattern, Keep
from pipeline.kernels.dropout import Dropout
from pipeline.kernels.packages import is_installed
from pipeline.kernels.philox import probability_threshold

MAX_HEAD_DIM = {"cpu": 256, "cuda": 128}
_ALWAYS = 2**32  # the threshold no random bits reach
_KEEPS_ALL = 2**16  # the same for draws of 16 bits


def fits(q_THD: torch.Tensor, k_THD: torch.Tensor, v_THD: torch.Tensor, dropout: Dropout | None) -> bool:
    """Whether a kernel computes this call: float32 or bfloat16, on CPU where it is built, on a GPU with Triton."""
    return (
        all(x.device == q_THD.device and x.dtype == q_THD.dtype for x in (q_THD, k_THD, v_THD))
        and q_THD.dtype in (torch.float32, torch.bfloat16)
        and q_THD.shape[2] <= MAX_HEAD_DIM.get(q_THD.device.type, 0)
        and (dropout is None or probability_threshold(dropout.rate) < _ALWAYS)
        and (is_installed("triton") if q_THD.device.type == "cuda" else cpu.is_available())
    )


def _kernels(x: torch.Tensor) -> ModuleType:
    """`forward` and `backward` for tensors on the device of `x`."""
    if x.device.type == "cpu":
        return cpu
    from pipeline.kernels.attention import triton_launch  # Triton is not installed everywhere

    return triton_launch


def attention_fused(*arguments: Any) -> torch.Tensor:
    """`pipeline.kernels.attention.attention` with all its arguments, in order, where `fits`."""
    out, _ = torch.ops.spanwright.attention(*flatten(*arguments))
    return out


def flatten(
    q_THD: torch.Tensor,
    k_THD: torch.Tensor,
    v_THD: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    pattern: IntervalPattern,
    bias: Bias | None,
    scale: float,
    dropout: Dropout | None,
    key_scores_T: torch.Tensor | None,
) -> tuple[Any, ...]:
    """The fields of `cpu.Arguments`, the operator's arguments."""
    has_b = pattern.b_start is not None and pattern.b_stop is not None
    keep = pattern.keep if has_b else None
    if keep is not None and keep.threshold == _KEEPS_ALL:
        keep = None
    dropout = dropout if dropout is not None and dropout.rate > 0 else None
    by_position = bias is not None and bias.q_positions is not None and bias.k_positions is not None
    return (
        *(_last_contiguous(x) for x in (q_THD, k_THD, v_THD)),
        *(_int32(x) for x in (cu_seqlens_q, cu_seqlens_k, pattern.key_ranks, pattern.a_start, pattern.a_stop)),
        *(_int32(x) if has_b else None for x in (pattern.b_start, pattern.b_stop, pattern.query_ranks)),
        pattern.shows_all,
        *_stream(keep, None if keep is None else keep.threshold),
        bias.values_HR.float().contiguous() if isinstance(bias, RelativeBias) else None,
        *_fire(bias),
        *(_int32(x) for x in ((bias.q_positions, bias.k_positions) if bias and by_position else (None, None))),
        None if key_scores_T is None else key_scores_T.float().contiguous(),
        scale,
        *_stream(dropout, None if dropout is None else probability_threshold(dropout.rate)),
        1.0 if dropout is None else 1.0 / (1.0 - dropout.rate),
    )


def _fire(bias: Bias | None) -> tuple[torch.Tensor | None, ...]:
    if not isinstance(bias, FireBias):
        return None, None, None, None
    floats = (bias.pieces_2HS, bias.breaks_K, bias.shape_2)
    return *(x.float().contiguous() for x in floats), _int32(bias.extents)


def _int32(x: torch.Tensor | None) -> torch.Tensor | None:
    return None if x is None else x.to(torch.int32).contiguous()


def _last_contiguous(x: torch.Tensor) -> torch.Tensor:
    return x if x.stride(2) == 1 else x.contiguous()


def _stream(
    stream: Keep | Dropout | None, threshold: int | None
) -> tuple[torch.Tensor | None, torch.Tensor | None, list[int]]:
    if stream is None or threshold is None:
        return None, None, []
    rows, positions = (x.to(torch.int64).contiguous() for x in (stream.sample_rows, stream.sample_positions))
    return rows, positions, [*stream.key, threshold]


_SCHEMA = (
    "Tensor q, Tensor k, Tensor v, Tensor cu_q, Tensor cu_k, Tensor key_ranks, Tensor a_start, Tensor a_stop, "
    "Tensor? b_start, Tensor? b_stop, Tensor? query_ranks, bool shows_all, "
    "Tensor? keep_rows, Tensor? keep_positions, int[] keep, "
    "Tensor? bias, Tensor? fire_pieces, Tensor? fire_breaks, Tensor? fire_shape, Tensor? fire_extents, "
    "Tensor? q_positions, Tensor? k_positions, Tensor? key_scores, float scale, "
    "Tensor? dropout_rows, Tensor? dropout_positions, int[] dropout, float dropout_scale"
)
_BACKWARD_SCHEMA = f"Tensor out, Tensor logsumexp, Tensor grad_out, bool[] needed, {_SCHEMA}"
_LEARNED = ("bias", "fire_pieces", "fire_shape", "key_scores")  # what may need a gradient besides q, k and v
_NAMES = [field.name for field in fields(cpu.Arguments)]


_library = torch.library.Library("spanwright", "FRAGMENT")
_library.define(f"attention({_SCHEMA}) -> (Tensor, Tensor)")
_library.define(f"attention_backward({_BACKWARD_SCHEMA}) -> Tensor[]")


def _forward(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    given = cpu.Arguments(*arguments)
    out, logsumexp = _outputs(given)
    _kernels(given.q).forward(given, out, logsumexp)
    return out, logsumexp


def _fake_forward(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return _outputs(cpu.Arguments(*arguments))


def _outputs(given: cpu.Arguments) -> tuple[torch.Tensor, torch.Tensor]:
    num_queries, num_heads, _ = given.q.shape
    logsumexp = given.q.new_empty((num_heads, num_queries), dtype=torch.float32)
    return given.q.new_empty(given.q.shape), logsumexp


def _backward(
    out: torch.Tensor, logsumexp: torch.Tensor, grad_out: torch.Tensor, needed: list[bool], *arguments: Any
) -> list[torch.Tensor]:
    given = cpu.Arguments(*arguments)
    gradients = _gradients(given, needed)
    wanted = ["q", "k", "v", *(name for name, is_needed in zip(_LEARNED, needed, strict=True) if is_needed)]
    results = {
        f"grad_{name}": gradients[place] for place, name in enumerate(("q", "k", "v", *_LEARNED)) if name in wanted
    }
    _kernels(given.q).backward(given, out, logsumexp, grad_out.contiguous(), results)
    return gradients


def _fake_backward(
    out: torch.Tensor, logsumexp: torch.Tensor, grad_out: torch.Tensor, needed: list[bool], *arguments: Any
) -> list[torch.Tensor]:
    return _gradients(cpu.Arguments(*arguments), needed)


def _gradients(given: cpu.Arguments, needed: list[bool]) -> list[torch.Tensor]:
    """Of q, k, v and `_LEARNED`, uninitialised; empty for what is not needed."""
    gradients = [x.new_empty(x.shape) for x in (given.q, given.k, given.v)]
    for name, is_needed in zip(_LEARNED, needed, strict=True):
        x = getattr(given, name)
        shape = x.shape if is_needed and x is not None else 0
        gradients.append(given.q.new_empty(shape, dtype=torch.float32))
    return gradients


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            out, logsumexp = torch.ops.spanwright.attention(*inputs)
        ctx.mark_non_differentiable(logsumexp)
        ctx.set_materialize_grads(False)
        ctx.others = [None if isinstance(x, torch.Tensor) else x for x in inputs]
        ctx.places = [place for place, x in enumerate(inputs) if isinstance(x, torch.Tensor)]
        ctx.save_for_backward(out, logsumexp, *(inputs[place] for place in ctx.places))
        return out, logsumexp

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        by_name: dict[str, torch.Tensor] = {}
        if grad_outputs[0] is not None:
            out, logsumexp, *tensors = ctx.saved_tensors
            arguments = list(ctx.others)
            for place, tensor in zip(ctx.places, tensors, strict=True):
                arguments[place] = tensor
            needed = [ctx.needs_input_grad[_NAMES.index(name)] for name in _LEARNED]
            gradients = torch.ops.spanwright.attention_backward(out, logsumexp, grad_outputs[0], needed, *arguments)
            by_name = dict(zip(("q", "k", "v", *_LEARNED), gradients, strict=True))
        return tuple(
            by_name.get(name) if needed else None for name, needed in zip(_NAMES, ctx.needs_input_grad, strict=True)
        )


def _differentiable(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return _Attention.apply(*arguments)


for _key in ("CPU", "CUDA"):
    _library.impl("attention", _forward, _key)
    _library.impl("attention_backward", _backward, _key)
_library.impl("attention", _differentiable, "Autograd")
torch.library.register_fake("spanwright::attention", _fake_forward, lib=_library)
torch.library.register_fake("spanwright::attention_backward", _fake_backward, lib=_library)
