"""The C++ kernel's Python side: builds and loads it, hands over the plan's tables and the text, owns the views."""

import ctypes
import sys
from collections import deque
from ctypes import POINTER, Structure, byref, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from data_prep import native
from pipeline.batch import Batch, Views
from pipeline.corruption.layout import DECODER, ENCODER, InPlace
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.replace import TokenByToken
from pipeline.corruption.sampling import Int64Array, threshold
from pipeline.corruption.select import T5Spans
from pipeline.corruption.select_spans import GeometricSpans, PoissonSpans
from pipeline.corruption.select_tokens import EachToken
from pipeline.kernels.masking.plan import MaskingPlan

SOURCE = Path(__file__).with_name("cpu.cpp")
# The numbers of cpu.cpp's enumerations, by `kind`.
_SELECT = {"t5_spans": 0, "each_token": 1, "exactly_k": 2, "poisson_spans": 3, "geometric_spans": 3, "suffix": 4}
_REPLACE = {"sentinel_per_span": 0, "mask_per_span": 1, "token_by_token": 2, "dropped": 3}
_LAYOUT = {"sentinel_targets": 0, "full_reconstruction": 1, "in_place": 2, "visible_only": 3}


class _Plan(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("select", "replace", "layout", "free_edges", "ends")),
        *((name, c_uint64) for name in ("select_threshold", "mask_threshold", "random_threshold")),
        *((name, c_void_p) for name in ("num_selected", "num_spans", "length_table")),
        ("length_table_size", c_int64),
        ("ordinary", c_void_p),
        *((name, c_int64) for name in ("num_ordinary", "first_sentinel", "mask", "pad", "eos", "cls", "sep")),
        *((name, c_uint32) for name in ("key_low", "key_high")),
    )


class _Text(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("tokens", "offsets", "samples", "sample_offsets", "positions")),
        *((name, c_int64) for name in ("num_pieces", "num_samples")),
    )


class _View(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("tokens", "positions", "sample_rows", "sample_positions", "labels")),
        ("cu_seqlens", c_void_p),
        *((name, c_int64) for name in ("size", "num_boundaries")),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None without a compiler."""
    loaded = native.load(SOURCE)
    if loaded is not None:
        loaded.masking_run.argtypes = (POINTER(_Plan), POINTER(_Text), POINTER(_View), POINTER(_View))
        loaded.masking_run.restype = c_int32
    return loaded


def mask(plan: MaskingPlan, pieces: Pieces) -> Views:
    """The views of the samples in `pieces`: the bits of reference.mask."""
    loaded = library()
    assert loaded is not None, "there is a kernel"
    text = _text(pieces)
    views = _empty(plan, len(pieces.positions))
    structures = {name: _view(view) for name, view in views.items()}
    decoder = byref(structures[DECODER]) if DECODER in structures else None
    failed = loaded.masking_run(byref(_plan(plan)), byref(text), byref(structures[ENCODER]), decoder)
    assert not failed, "a view has more rows than its bound"
    return views


_plans: WeakKeyDictionary[MaskingPlan, tuple[_Plan, list[Int64Array]]] = WeakKeyDictionary()


def _plan(plan: MaskingPlan) -> _Plan:
    """The structure of `plan`, made once; its arrays are kept with it."""
    if plan not in _plans:
        _plans[plan] = _new_plan(plan)
    return _plans[plan][0]


def _new_plan(plan: MaskingPlan) -> tuple[_Plan, list[Int64Array]]:
    select, replace, layout = plan.config.select, plan.config.replace, plan.config.layout
    table = select.table if isinstance(select, PoissonSpans | GeometricSpans) else np.zeros(0, np.int64)
    tables = (plan.budget.most_tokens, plan.budget.most_spans, table, plan.ordinary)
    kept = [np.ascontiguousarray(values, np.int64) for values in tables]
    mask_threshold, random_threshold = replace.thresholds if isinstance(replace, TokenByToken) else (0, 0)
    special = plan.special
    structure = _Plan(
        select=_SELECT[select.kind],
        replace=_REPLACE[replace.kind],
        layout=_LAYOUT[layout.kind],
        free_edges=isinstance(select, T5Spans) and select.edges == "free",
        ends=isinstance(layout, InPlace) and layout.ends,
        select_threshold=threshold(select.rate) if isinstance(select, EachToken) else 0,
        mask_threshold=mask_threshold,
        random_threshold=random_threshold,
        length_table_size=len(table),
        num_ordinary=len(plan.ordinary),
        first_sentinel=special.first_sentinel,
        key_low=plan.key.low,
        key_high=plan.key.high,
        **{name: getattr(special, name) for name in ("mask", "pad", "eos", "cls", "sep")},
    )
    for name, values in zip(("num_selected", "num_spans", "length_table", "ordinary"), kept, strict=True):
        setattr(structure, name, values.ctypes.data)
    return structure, kept


def _text(pieces: Pieces) -> _Text:
    names = ("tokens", "offsets", "samples", "sample_offsets", "positions")
    arrays = [getattr(pieces, name) for name in names]
    assert all(array.dtype == np.int64 and array.flags.c_contiguous for array in arrays), "as gather_pieces makes them"
    return _Text(*(array.ctypes.data for array in arrays), len(pieces.offsets) - 1, len(pieces.positions))


def _empty(plan: MaskingPlan, num_samples: int) -> Views:
    """Views of unwritten memory, all in one block."""
    labelled = ENCODER if isinstance(plan.config.layout, InPlace) else DECODER
    num_boundaries = num_samples * plan.max_pieces + 1
    boundary_words = num_boundaries // 2 + 1  # two int32 in each
    arrays = {name: 5 if name == labelled else 4 for name in plan.max_rows}
    sizes = {name: num_samples * rows for name, rows in plan.max_rows.items()}
    block = _block(sum(sizes[name] * arrays[name] + boundary_words for name in arrays))
    views, start = {}, 0
    for name, size in sizes.items():
        stop = start + size * arrays[name]
        tokens, positions, sample_rows, sample_positions, *labels = block[start:stop].reshape(arrays[name], size)
        start = stop + boundary_words
        views[name] = Batch(
            tokens=tokens,
            positions=positions,
            cu_seqlens=block[stop:start].view(np.int32)[:num_boundaries],
            sample_rows=sample_rows,
            sample_positions=sample_positions,
            labels=labels[0] if labels else None,
        )
    return views


_blocks: deque[Int64Array] = deque(maxlen=4)
_IDLE_REFERENCES = 3  # from _blocks, the loop's variable, and getrefcount's argument


def _block(num_words: int) -> Int64Array:
    """Unwritten memory: a block that no view refers to any more if there is one. Fresh pages cost more than masking."""
    for block in _blocks:
        if len(block) == num_words and sys.getrefcount(block) == _IDLE_REFERENCES:
            return block
    block = np.empty(num_words, np.int64)
    _blocks.append(block)
    return block


def _view(batch: Batch) -> _View:
    names = ("tokens", "positions", "sample_rows", "sample_positions")
    return _View(
        *(getattr(batch, name).ctypes.data for name in names),
        None if batch.labels is None else batch.labels.ctypes.data,
        batch.cu_seqlens.ctypes.data,
        len(batch.tokens),
        len(batch.cu_seqlens),
    )
