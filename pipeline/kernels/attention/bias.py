"""A learned bias that depends on the relative position alone: bias[h, i, j] = values[h, position(j) - position(i)].

(FIRE's, which depends on where the query stands too, is in fire.py.)

`RelativeBias` is what a caller gives: one value per head and relative position -reach .. reach; farther ones take the
end values (T5's buckets do not change beyond their maximum distance). The reference expands it in one of two ways:

1. positions contiguous: one vector of 2L - 1 values per head; row i of the [L, L] Toeplitz matrix is a shifted slice of
   it. Backward: the sum of each diagonal, by padding every row by its shift (a reshape), then one sum over rows; no
   atomics, so the bits repeat.
2. any positions: a table lookup by clamped position difference; backward adds into the table.

Shape suffixes: H heads, R = 2 * reach + 1 relative positions, L the longest sequence, M = 2 * L - 1 diagonals.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch

from pipeline.kernels.attention.fire import FireBias, FireExpansion


@dataclass(frozen=True)
class RelativeBias:
    """One value per head and relative position (key's minus query's)."""

    values_HR: torch.Tensor  # [H, 2 * reach + 1] floating; may need a gradient
    q_positions: torch.Tensor | None = None  # [Tq]; None: a row's position is its index in its sequence
    k_positions: torch.Tensor | None = None  # [Tk]; likewise

    @property
    def values(self) -> tuple[torch.Tensor, ...]:
        """What gradients reach, in the order of `BiasExpansion.gradients`."""
        return (self.values_HR,)

    def of_rows(self, rows_K: torch.Tensor, indices_T: torch.Tensor) -> "RelativeBias":
        """Of self-attention among these rows alone; all rows have these `indices_T` in their sequences."""
        positions_T = indices_T if self.q_positions is None else self.q_positions
        return RelativeBias(self.values_HR, positions_T[rows_K], positions_T[rows_K])


Bias = RelativeBias | FireBias


class BiasExpansion(Protocol):
    """The bias of one attention call, read sequence by sequence; its gradient, gathered the same way."""

    def block(self, queries: slice, keys: slice) -> torch.Tensor:
        """The bias [H, Lq, Lk] of one sequence."""

    def collect(self, queries: slice, keys: slice, grad_scores: torch.Tensor) -> None:
        """Add the gradient of one sequence's scores [H, Lq, Lk]."""

    def gradients(self) -> tuple[torch.Tensor, ...]:
        """The gradients of the bias's `values`, over all that was collected."""


def expand(bias: Bias, longest: int, dtype: torch.dtype) -> BiasExpansion:
    """The expansion that fits the bias and its positions, computed in `dtype`."""
    if isinstance(bias, FireBias):
        return FireExpansion(bias, dtype)
    values_HR = bias.values_HR.detach().to(dtype)
    if bias.q_positions is None or bias.k_positions is None:
        return _Toeplitz(values_HR, longest)
    return _Table(values_HR, bias.q_positions, bias.k_positions)


class _Toeplitz:
    """One [H, L, L] matrix at the longest length: every sequence uses its upper left block."""

    def __init__(self, values_HR: torch.Tensor, longest: int) -> None:
        self._values_HR, self._longest = values_HR, longest

    @cached_property
    def _matrix_HLL(self) -> torch.Tensor:
        return toeplitz(diagonals(self._values_HR, self._longest), self._longest)

    @cached_property
    def _summed_HLL(self) -> torch.Tensor:
        return self._values_HR.new_zeros(len(self._values_HR), self._longest, self._longest)

    def block(self, queries: slice, keys: slice) -> torch.Tensor:
        return self._matrix_HLL[:, : queries.stop - queries.start, : keys.stop - keys.start]

    def collect(self, queries: slice, keys: slice, grad_scores: torch.Tensor) -> None:
        self._summed_HLL[:, : queries.stop - queries.start, : keys.stop - keys.start] += grad_scores

    def gradients(self) -> tuple[torch.Tensor, ...]:
        return (fold_diagonals(diagonal_sums(self._summed_HLL), self._values_HR.shape[1] // 2),)


class _Table:
    """A lookup by position difference."""

    def __init__(self, values_HR: torch.Tensor, q_positions: torch.Tensor, k_positions: torch.Tensor) -> None:
        self._values_HR = values_HR
        self._q_positions, self._k_positions = q_positions.to(torch.int64), k_positions.to(torch.int64)
        self._summed_HR = torch.zeros_like(values_HR)

    def block(self, queries: slice, keys: slice) -> torch.Tensor:
        return self._values_HR[:, self._indices(queries, keys)]

    def collect(self, queries: slice, keys: slice, grad_scores: torch.Tensor) -> None:
        indices = self._indices(queries, keys).flatten().expand(len(grad_scores), -1)
        self._summed_HR.scatter_add_(1, indices, grad_scores.to(self._summed_HR.dtype).flatten(1))

    def gradients(self) -> tuple[torch.Tensor, ...]:
        return (self._summed_HR,)

    def _indices(self, queries: slice, keys: slice) -> torch.Tensor:
        reach = self._values_HR.shape[1] // 2
        difference = self._k_positions[keys] - self._q_positions[queries, None]
        return difference.clamp(-reach, reach) + reach


def diagonals(values_HR: torch.Tensor, length: int) -> torch.Tensor:
    """[H, 2 * length - 1]: the values of relative positions -(length - 1) .. length - 1, end values repeated."""
    missing = length - 1 - values_HR.shape[1] // 2
    if missing <= 0:
        return values_HR[:, -missing : values_HR.shape[1] + missing]
    return torch.cat([values_HR[:, :1].expand(-1, missing), values_HR, values_HR[:, -1:].expand(-1, missing)], dim=1)


def fold_diagonals(diagonals_HM: torch.Tensor, reach: int) -> torch.Tensor:
    """The transpose of `diagonals`: [H, 2 * reach + 1], far diagonals added to the end values."""
    missing = diagonals_HM.shape[1] // 2 - reach
    if missing <= 0:
        return torch.nn.functional.pad(diagonals_HM, (-missing, -missing))
    folded = diagonals_HM[:, missing:-missing].clone()
    folded[:, 0] += diagonals_HM[:, :missing].sum(1)
    folded[:, -1] += diagonals_HM[:, -missing:].sum(1)
    return folded


def toeplitz(diagonals_HM: torch.Tensor, length: int) -> torch.Tensor:
    """[H, length, length] with element [h, i, j] = diagonals_HM[h, j - i + length - 1]."""
    return diagonals_HM.unfold(1, length, 1).flip(1)


def diagonal_sums(matrix_HLL: torch.Tensor) -> torch.Tensor:
    """The transpose of `toeplitz`: [H, 2 * L - 1], the sum of each diagonal."""
    length = matrix_HLL.shape[1]
    shifted = torch.nn.functional.pad(matrix_HLL.flip(1), (0, length)).flatten(1)
    return shifted[:, : length * (2 * length - 1)].unflatten(1, (length, 2 * length - 1)).sum(1)
