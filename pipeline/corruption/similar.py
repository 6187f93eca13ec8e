"""The table of similar tokens: row t holds the ids that may stand for token t, [V, m] int32 in an .npy file."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_prep.errors import InputError

SimilarTable = npt.NDArray[np.int32]  # [V, m]; [V, 0] where there is no table


def load_similar(path: str | None, vocab_size: int) -> SimilarTable:
    """The table at `path`; InputError unless it fits a vocabulary of this size."""
    if path is None:
        return np.zeros((vocab_size, 0), np.int32)
    table = _read(path)
    if table.dtype != np.int32 or table.ndim != 2 or len(table) != vocab_size or not table.shape[1]:
        raise InputError(
            f"corruption.replace.table: {path} is {table.dtype} of {table.shape}; it must be int32 of "
            f"({vocab_size}, m): a row of m token ids for each of the tokenizer's {vocab_size}."
        )
    if table.min() < 0 or table.max() >= vocab_size:
        raise InputError(f"corruption.replace.table: {path} has token ids outside 0 to {vocab_size - 1}.")
    return np.ascontiguousarray(table)


def table_digest(table: SimilarTable) -> str:
    """SHA-256 of the table's ids and their arrangement: another table under the same name is another one."""
    return hashlib.sha256(repr(table.shape).encode() + table.astype("<i4").tobytes()).hexdigest()


def _read(path: str) -> npt.NDArray[np.generic]:
    try:
        with Path(path).open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise InputError(
            f"corruption.replace.table: cannot read {path}: {error.strerror}. `spanwright similar CONFIG` makes it "
            "from the prepared dataset."
        ) from None
    except (ValueError, EOFError) as error:
        raise InputError(f"corruption.replace.table: {path} is not an .npy file of numbers: {error}.") from None
