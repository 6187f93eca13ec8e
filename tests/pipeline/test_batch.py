"""The flat batch: boundaries, counts, and the way to torch."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from pipeline.batch import IGNORED_LABEL, Batch, MicroBatch


def batch(labels: bool = True) -> Batch:
    """Sequences of 2, 0 and 3 rows, two unused sequences, two rows of tail."""
    return Batch(
        tokens=np.array([5, 6, 7, 8, 9, 0, 0], np.int32),
        positions=np.array([0, 1, 0, 1, 2, 0, 0], np.int32),
        cu_seqlens=np.array([0, 2, 2, 5, 5, 5], np.int32),
        sample_rows=np.array([0, 1, 2, 3, 4, 0, 0], np.int32),
        sample_positions=np.array([4, 4, 4, 4, 4, -1, -1]),
        labels=np.array([6, 1, IGNORED_LABEL, 9, 1, IGNORED_LABEL, IGNORED_LABEL], np.int32) if labels else None,
    )


def test_rows_labels_and_sequences_are_counted_without_the_tail() -> None:
    assert (batch().num_rows, batch().num_labels, batch().num_sequences) == (5, 4, 3)
    assert batch(labels=False).num_labels == 0


def test_a_sequence_is_a_slice_of_rows() -> None:
    made = batch()
    assert [made.tokens[made.sequence(n)].tolist() for n in range(5)] == [[5, 6], [], [7, 8, 9], [], []]


def test_torch_gets_the_same_values_and_types_without_a_copy() -> None:
    made = batch()
    moved = MicroBatch({"decoder": made}, np.array([4])).to("cpu").views["decoder"]
    for name in ("tokens", "positions", "cu_seqlens", "sample_rows", "sample_positions", "labels"):
        array, tensor = getattr(made, name), getattr(moved, name)
        assert tensor.tolist() == array.tolist()
        assert tensor.dtype == (torch.int64 if name == "sample_positions" else torch.int32)
        assert tensor.data_ptr() == array.ctypes.data
    assert (moved.num_rows, moved.num_labels, moved.num_sequences) == (5, 4, 3)
    assert moved.tokens[moved.sequence(2)].tolist() == [7, 8, 9]


def test_a_view_without_labels_stays_without() -> None:
    assert batch(labels=False).to("cpu").labels is None


@pytest.mark.parametrize("size", [1, 15, 16, 100, 1064, 4200])
def test_without_its_tail_a_view_keeps_every_row_that_belongs_to_a_sequence(size: int) -> None:
    sizes = set()
    for used in {*range(0, size, max(1, size // 100)), size}:
        whole = Batch(
            tokens=np.arange(size, dtype=np.int32),
            positions=np.arange(size, dtype=np.int32),
            cu_seqlens=np.array([0, used // 2, used, used], np.int32),
            sample_rows=np.arange(size, dtype=np.int32),
            sample_positions=np.where(np.arange(size) < used, 3, -1),
            pair_labels=np.array([0, 1, IGNORED_LABEL], np.int32),
        )
        short = whole.without_tail()
        kept = len(short.tokens)
        assert max(used, 1) <= kept <= size
        assert kept - used < max(16, size / 32) or used == 0
        for name in ("tokens", "positions", "sample_rows", "sample_positions"):
            assert getattr(short, name).tolist() == getattr(whole, name)[:kept].tolist()
        assert (short.cu_seqlens is whole.cu_seqlens, short.pair_labels is whole.pair_labels) == (True, True)
        assert (short.labels, short.token_types) == (None, None)
        sizes.add(kept)
    assert len(sizes) <= 48, "libraries prepare for each size"


def test_a_device_with_static_shapes_gets_the_tail() -> None:
    made = MicroBatch({"decoder": long_tailed()}, np.array([4]))
    assert len(made.placed(torch.device("meta")).views["decoder"].tokens) == 64
    assert len(made.placed(torch.device("cpu")).views["decoder"].tokens) == 16


def long_tailed() -> Batch:
    """One sequence of 5 rows, and 59 of tail."""
    rows = np.arange(64, dtype=np.int32)
    return Batch(rows, rows, np.array([0, 5], np.int32), rows, np.where(rows < 5, 4, -1))


def test_making_and_showing_batches_does_not_need_torch() -> None:
    code = "import sys, pipeline.corruption.corruption, pipeline.inspection; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
