"""Memory that is used again: never while anything made from it lives, whoever holds it."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from pipeline.kernels.masking.memory import block

SIZE = 4321  # words, a size no other test asks for


def test_memory_nobody_sees_any_more_is_used_again() -> None:
    address = block(SIZE).ctypes.data
    gc.collect()
    assert block(SIZE).ctypes.data == address


def test_a_slice_a_reinterpreted_view_and_a_tensor_each_keep_their_memory() -> None:
    held = [block(SIZE)[5:9], block(SIZE).view(np.int32)[3:7], torch.as_tensor(block(SIZE)[100:200])[10:20]]
    for number, part in enumerate(held):
        part[:] = number
    for _ in range(20):
        block(SIZE)[:] = -1
    assert [set(part.tolist()) for part in held] == [{0}, {1}, {2}]


def test_threads_never_share_memory() -> None:
    def fill(number: int) -> bool:
        mine = block(SIZE)
        mine[:] = number
        return bool((mine == number).all())

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(fill, range(2000)))
