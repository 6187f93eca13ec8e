"""Masking as the torch operator `spanwright::mask`: one node of a compiled graph, wherever the text lies.

On a CPU it is the C++ kernel (the reference without a compiler), on a GPU `device.py`. All shapes follow from the
number of samples, so the fake kernel knows them.

A plan goes by its number, which stays that of the plan for as long as the plan lives.
"""

import itertools
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch

from pipeline.batch import Batch, Views
from pipeline.corruption.pieces import Pieces
from pipeline.kernels import masking
from pipeline.kernels.masking.device_text import Text
from pipeline.kernels.masking.plan import MaskingPlan

_SCHEMA = (
    "(int plan, Tensor tokens, Tensor offsets, Tensor samples, Tensor sample_offsets, Tensor positions, "
    "Tensor[] columns, SymInt longest_sample) -> Tensor[]"
)
_FIELDS = ("tokens", "positions", "cu_seqlens", "sample_rows", "sample_positions", "labels")

_numbers: WeakKeyDictionary[MaskingPlan, int] = WeakKeyDictionary()
_plans: WeakValueDictionary[int, MaskingPlan] = WeakValueDictionary()
_count = itertools.count()


def mask(plan: MaskingPlan, text: Text) -> Views:
    """The views of the samples of `text`, on its device: the bits of reference.mask."""
    numbers = (text.tokens, text.offsets, text.samples, text.sample_offsets, text.positions)
    columns = [text.columns[name] for name in plan.columns]
    arrays = iter(torch.ops.spanwright.mask(_number(plan), *numbers, columns, text.longest_sample))
    return {view: Batch(**{name: next(arrays) for name in _fields(plan, view)}) for view in plan.max_rows}


@torch.compiler.assume_constant_result
def _number(plan: MaskingPlan) -> int:
    if plan not in _numbers:
        _numbers[plan] = next(_count)
        _plans[_numbers[plan]] = plan
    return _numbers[plan]


def _fields(plan: MaskingPlan, view: str) -> tuple[str, ...]:
    return _FIELDS if view == plan.labelled_view else _FIELDS[:-1]


def _flat(plan: MaskingPlan, views: Views) -> list[torch.Tensor]:
    return [torch.as_tensor(getattr(views[view], name)) for view in plan.max_rows for name in _fields(plan, view)]


def _given(plan: int, *values: Any) -> tuple[MaskingPlan, Text]:
    """The arguments of the operator: the fields of a Text, its columns without their names."""
    tokens, offsets, samples, sample_offsets, positions, columns, longest_sample = values
    named = dict(zip(_plans[plan].columns, columns, strict=True))
    return _plans[plan], Text(tokens, offsets, samples, sample_offsets, positions, named, longest_sample)


@torch.library.custom_op("spanwright::mask", mutates_args=(), device_types="cpu", schema=_SCHEMA)
def _mask(*arguments: Any) -> list[torch.Tensor]:
    plan, text = _given(*arguments)
    pieces = Pieces(
        tokens=text.tokens.numpy(),
        offsets=text.offsets.numpy(),
        samples=text.samples.numpy(),
        sample_offsets=text.sample_offsets.numpy(),
        positions=text.positions.numpy(),
        columns={name: values.to(torch.uint8).numpy() for name, values in text.columns.items()},
    )
    return _flat(plan, masking.mask(plan, pieces))


@_mask.register_kernel("cuda")
def _(*arguments: Any) -> list[torch.Tensor]:
    from pipeline.kernels.masking import device  # Triton is not installed everywhere

    plan, text = _given(*arguments)
    return _flat(plan, device.mask(plan, text))


@_mask.register_fake
def _(*arguments: Any) -> list[torch.Tensor]:
    plan, text = _given(*arguments)
    num_samples = len(text.positions)

    def empty(view: str, name: str) -> torch.Tensor:
        num_rows, num_boundaries = num_samples * plan.max_rows[view], num_samples * plan.max_pieces + 1
        dtype = torch.int64 if name == "sample_positions" else torch.int32
        return text.positions.new_empty(num_boundaries if name == "cu_seqlens" else num_rows, dtype=dtype)

    return [empty(view, name) for view in plan.max_rows for name in _fields(plan, view)]
