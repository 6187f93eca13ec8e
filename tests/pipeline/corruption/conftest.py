"""Samples without a dataset: known tokens in pieces of given lengths."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from pipeline.corruption.pieces import GivenSample

FIRST_TOKEN = 1000


@pytest.fixture(scope="session")
def sample() -> Callable[[int, Sequence[int]], GivenSample]:
    """sample(position, piece lengths): tokens 1000, 1001, ... so that every token says where it was."""

    def build(position: int, lengths: Sequence[int]) -> GivenSample:
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return GivenSample(position, np.arange(FIRST_TOKEN, FIRST_TOKEN + offsets[-1]), offsets)

    return build
