"""The C++ kernel's Python side: builds and loads it, hands over the plan's tables and the text, owns the views."""

import ctypes
import functools
from ctypes import POINTER, Structure, byref, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from data_prep import native
from pipeline.batch import Batch, Views
from pipeline.corruption.layout import DECODER, ENCODER
from pipeline.corruption.pieces import Pieces
from pipeline.corruption.reorder import SENTENCES
from pipeline.corruption.replace import TokenByToken
from pipeline.corruption.sampling import Int64Array, threshold
from pipeline.corruption.select import T5Spans
from pipeline.corruption.select_spans import GeometricSpans, PoissonSpans
from pipeline.corruption.select_tokens import EachToken, rounded_share
from pipeline.corruption.select_units import GivenSpans, NGrams, UnitRule
from pipeline.corruption.tables import log2_table
from pipeline.kernels.masking.memory import block
from pipeline.kernels.masking.plan import MaskingPlan

_TOKEN_TYPES = (np.uint16, np.uint32, np.int64)
_SLACK = 32  # kSlack of cpu_plan.h
SOURCE = Path(__file__).with_name("cpu.cpp")
# The numbers of cpu.cpp's enumerations, by `kind`.
_SELECT = {
    "t5_spans": 0, "each_token": 1, "exactly_k": 2, "poisson_spans": 3, "geometric_spans": 3, "suffix": 4,
    "weighted": 5, "permutation_tail": 6, "whole_words": 7, "ngrams": 7, "given_spans": 7,
}  # fmt: skip
_UNIT_DRAW = {"tokens": 0, "units": 1, "each": 2}
_REPLACE = {"sentinel_per_span": 0, "mask_per_span": 1, "token_by_token": 2, "dropped": 3}
_LAYOUT = {"sentinel_targets": 0, "full_reconstruction": 1, "in_place": 2, "visible_only": 3, "permuted": 4}


_TABLES = ("num_selected", "num_spans", "share_of_units", "length_table", "log2_table", "ordinary")


class _Plan(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("select", "replace", "layout", "free_edges", "ends")),
        *((name, c_int64) for name in ("unit_draw", "joins_units", "max_units", "reorders")),
        *((f"{name}_threshold", c_uint64) for name in ("select", "mask", "random", "similar")),
        *((name, c_void_p) for name in (*_TABLES, "similar")),
        *((name, c_int64) for name in ("length_table_size", "num_ordinary", "similar_width")),
        *((name, c_int32) for name in ("first_sentinel", "mask", "pad", "eos", "cls", "sep")),
        *((name, c_uint32) for name in ("key_low", "key_high")),
    )


class _Text(Structure):
    _fields_ = (
        ("tokens", c_void_p),
        ("token_bytes", c_int64),
        *((name, c_void_p) for name in ("column", "sentences")),
        *((name, c_void_p) for name in ("offsets", "samples", "sample_offsets", "positions")),
        *((name, c_int64) for name in ("num_pieces", "num_samples")),
    )


class _View(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("tokens", "positions", "sample_rows", "labels")),
        *((name, c_void_p) for name in ("sample_positions", "cu_seqlens")),
        *((name, c_int64) for name in ("size", "num_boundaries")),
    )


@functools.cache
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
    text, _kept = _text(plan, pieces)
    views, structures = _empty(plan, len(pieces.positions))
    decoder = byref(structures[DECODER]) if DECODER in structures else None
    failed = loaded.masking_run(byref(_plan(plan)), byref(text), byref(structures[ENCODER]), decoder)
    assert not failed, "a view has more rows than its bound"
    return views


_plans: WeakKeyDictionary[MaskingPlan, tuple[_Plan, list[Any]]] = WeakKeyDictionary()


def _plan(plan: MaskingPlan) -> _Plan:
    """The structure of `plan`, made once; its arrays are kept with it."""
    if plan not in _plans:
        _plans[plan] = _new_plan(plan)
    return _plans[plan][0]


def _new_plan(plan: MaskingPlan) -> tuple[_Plan, list[Any]]:
    select, replace, layout, special = plan.config.select, plan.config.replace, plan.config.layout, plan.special
    table = select.table if isinstance(select, PoissonSpans | GeometricSpans | NGrams) else np.zeros(0, np.int64)
    window = len(plan.budget.most_tokens) - 1
    shares = rounded_share(np.arange(window + 1), select.rate) if isinstance(select, UnitRule) else table
    budget = plan.budget
    values = (budget.most_tokens, budget.most_spans, shares, table, log2_table(), plan.ordinary)
    kept = [np.ascontiguousarray(each, np.int64) for each in values]
    thresholds = replace.thresholds if isinstance(replace, TokenByToken) else (0, 0, 0)
    structure = _Plan(
        select=_SELECT[select.kind],
        replace=_REPLACE[replace.kind],
        layout=_LAYOUT[layout.kind],
        free_edges=isinstance(select, T5Spans) and select.edges == "free",
        ends=getattr(layout, "ends", False),
        unit_draw=_UNIT_DRAW[select.how] if isinstance(select, UnitRule) else 0,
        joins_units=isinstance(select, NGrams),
        max_units=select.max_spans if isinstance(select, GivenSpans) else window,
        reorders=plan.reorders,
        select_threshold=threshold(select.rate) if isinstance(select, EachToken | UnitRule) else 0,
        **dict(zip(("mask_threshold", "random_threshold", "similar_threshold"), thresholds, strict=True)),
        length_table_size=len(table),
        num_ordinary=len(plan.ordinary),
        similar=plan.similar.ctypes.data,
        similar_width=plan.similar.shape[1],
        first_sentinel=special.first_sentinel,
        key_low=plan.key.low,
        key_high=plan.key.high,
        **{name: getattr(special, name) for name in ("mask", "pad", "eos", "cls", "sep")},
    )
    for name, each in zip(_TABLES, kept, strict=True):
        setattr(structure, name, each.ctypes.data)
    return structure, [*kept, plan.similar]


def _text(plan: MaskingPlan, pieces: Pieces) -> tuple[_Text, list[Any]]:
    """The structure, and the arrays that must live as long as it."""
    tokens = pieces.tokens if pieces.tokens.dtype in _TOKEN_TYPES else pieces.tokens.astype(np.int64)
    columns = [pieces.columns[wanted.name] for wanted in plan.config.select.columns]
    sentences = [pieces.columns[SENTENCES]] if plan.reorders else []
    kept = [np.ascontiguousarray(tokens), *(np.ascontiguousarray(each, np.uint8) for each in (*columns, *sentences))]
    addresses = [_address(each) for each in kept]
    numbers = (pieces.offsets, pieces.samples, pieces.sample_offsets, pieces.positions)
    assert all(each.dtype == np.int64 and each.flags.c_contiguous for each in numbers), "as gather_pieces makes them"
    text = _Text(
        addresses[0],
        tokens.itemsize,
        addresses[1] if columns else None,
        addresses[-1] if sentences else None,
        *(_address(each) for each in numbers),
        len(pieces.offsets) - 1,
        len(pieces.positions),
    )
    return text, kept


def _empty(plan: MaskingPlan, num_samples: int) -> tuple[Views, dict[str, _View]]:
    """Views of unwritten memory, all in one block, and their structures."""
    memories, num_bytes = _memories(tuple(plan.max_rows.items()), plan.labelled_view, plan.max_pieces, num_samples)
    memory = block(num_bytes // 8)
    narrow, address = memory.view(np.int32), _address(memory)
    views = {name: each.batch(memory, narrow) for name, each in memories.items()}
    return views, {name: each.structure(address) for name, each in memories.items()}


class _Memory(NamedTuple):
    """Where a view's arrays lie in a block: places of its 32-bit words, and of its 64-bit ones for sample_positions."""

    tokens: slice
    positions: slice
    sample_rows: slice
    labels: slice | None
    cu_seqlens: slice
    sample_positions: slice

    def batch(self, memory: Int64Array, narrow: npt.NDArray[np.int32]) -> Batch:
        """The view in `memory`, which is `narrow` too (slicing is faster than making arrays)."""
        return Batch(
            tokens=narrow[self.tokens],
            positions=narrow[self.positions],
            cu_seqlens=narrow[self.cu_seqlens],
            sample_rows=narrow[self.sample_rows],
            sample_positions=memory[self.sample_positions],
            labels=None if self.labels is None else narrow[self.labels],
        )

    def structure(self, address: int) -> _View:
        """The view in the block at `address`."""
        rows, boundaries = self.tokens, self.cu_seqlens
        return _View(
            address + 4 * rows.start,
            address + 4 * self.positions.start,
            address + 4 * self.sample_rows.start,
            None if self.labels is None else address + 4 * self.labels.start,
            address + 8 * self.sample_positions.start,
            address + 4 * boundaries.start,
            rows.stop - rows.start,
            boundaries.stop - boundaries.start,
        )


@functools.lru_cache(maxsize=64)
def _memories(
    max_rows: tuple[tuple[str, int], ...], labelled_view: str, max_pieces: int, num_samples: int
) -> tuple[dict[str, _Memory], int]:
    """By view, and the bytes of the block: all arrays at whole cache lines, with slack after the narrow ones."""
    memories, num_boundaries, used = {}, num_samples * max_pieces + 1, 0

    def take(size: int, width: int, slack: int = 0) -> slice:
        nonlocal used
        first = used // width
        used += -(-width * (size + slack) // 64) * 64
        return slice(first, first + size)

    for name, rows in max_rows:
        size = num_samples * rows
        tokens, positions, sample_rows = (take(size, 4, _SLACK) for _ in range(3))
        labels = take(size, 4, _SLACK) if name == labelled_view else None
        memories[name] = _Memory(tokens, positions, sample_rows, labels, take(num_boundaries, 4), take(size, 8))
    return memories, used


def _address(array: npt.NDArray[Any]) -> int:
    address: int = array.__array_interface__["data"][0]  # faster than array.ctypes.data
    return address
