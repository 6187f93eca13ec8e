"""Selective recomputation: a tensor that backward would keep is made again there from what is kept anyway.

For operations that are cheap beside the memory of their result (Korthikanti et al. 2022, arXiv:2205.05198, section 5).
What is made again has the same bits, since nothing that training draws has a state.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


@contextlib.contextmanager
def made_again(value: Tensor, make: Callable[[], Tensor]) -> Iterator[None]:
    """Operators called here that would keep `value`, the result of `make`, for backward keep `make` instead.

    `make` must have no parameters in it: under ZeRO 3 they are elsewhere by then.
    """
    address, shape = value.data_ptr(), value.shape

    def keep(tensor: Tensor) -> Tensor | Callable[[], Tensor]:
        return make if tensor.data_ptr() == address and tensor.shape == shape else tensor

    def take(kept: Any) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        with torch.no_grad():
            made: Tensor = kept()
        return made

    with torch.autograd.graph.saved_tensors_hooks(keep, take):
        yield
