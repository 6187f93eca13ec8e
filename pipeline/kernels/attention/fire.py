"""FIRE's bias (Li et al. 2023, "Functional Interpolation for Relative Positions"): a function of a normalised distance.

    x(i, j) = sign(i - j) log(c |i - j| + 1) / (log(c max(L, extent(i)) + 1) + epsilon)
    bias[h, i, j] = f_h(x(i, j))

over positions i of queries and j of keys. `extent` is what a query's distances are measured by, an O(T) array: its own
position where rows look back alone (the paper's causal form), the last position of its sequence where they look both
ways. There x has a sign, so that left and right differ; looking back, x is the paper's.

f_h is the paper's MLP. With one input and one hidden layer of ReLUs that is linear between `breaks`, which all heads
share: one intercept and one slope per head and piece. Piece s lies above s breaks; x on a break lies below it.

Shape suffixes: H heads, K breaks, S = K + 1 pieces, Tq queries.
"""

from dataclasses import dataclass, replace

import torch

EPSILON = 1e-6  # the paper's: nothing is divided by zero


@dataclass(frozen=True)
class FireBias:
    """The function of each head, and what distances are measured by. Gradients reach `pieces_2HS` and `shape_2`."""

    pieces_2HS: torch.Tensor  # intercepts and slopes, float32 (float64 for the reference in float64)
    breaks_K: torch.Tensor  # ascending, not differentiated: the function is continuous there
    shape_2: torch.Tensor  # c and L, both at least 0
    extents: torch.Tensor  # [Tq] integers
    q_positions: torch.Tensor | None = None  # [Tq]; None: a row's position is its index in its sequence
    k_positions: torch.Tensor | None = None  # [Tk]; likewise

    @property
    def values(self) -> tuple[torch.Tensor, ...]:
        """What gradients reach, in the order of `FireExpansion.gradients`."""
        return self.pieces_2HS, self.shape_2

    def of_rows(self, rows_K: torch.Tensor, indices_T: torch.Tensor) -> "FireBias":
        """Of self-attention among these rows alone; all rows have these `indices_T` in their sequences."""
        positions_K = (indices_T if self.q_positions is None else self.q_positions)[rows_K]
        return replace(self, extents=self.extents[rows_K], q_positions=positions_K, k_positions=positions_K)


def fire_distances(differences: torch.Tensor, extents: torch.Tensor, shape_2: torch.Tensor) -> torch.Tensor:
    """x [Tq, Tk] of position differences i - j [Tq, Tk] and extents [Tq], in the dtype of `shape_2`."""
    curvature, threshold = shape_2.unbind()
    extents = extents.to(shape_2.dtype)
    longest = torch.where(extents <= threshold, threshold, extents)
    norms = torch.log1p(curvature * longest) + EPSILON
    return differences.sign() * torch.log1p(curvature * differences.abs()) / norms[:, None]


class FireExpansion:
    """The bias of one attention call in plain torch, sequence by sequence (a `BiasExpansion`)."""

    def __init__(self, bias: FireBias, dtype: torch.dtype) -> None:
        self._bias = bias
        self._pieces_2HS, self._breaks_K = (x.detach().to(dtype) for x in (bias.pieces_2HS, bias.breaks_K))
        self._shape_2 = bias.shape_2.detach().to(dtype)
        self._grad_pieces, self._grad_shape = torch.zeros_like(self._pieces_2HS), torch.zeros_like(self._shape_2)

    def block(self, queries: slice, keys: slice) -> torch.Tensor:
        """The bias [H, Lq, Lk] of one sequence."""
        x = self._distances(queries, keys, self._shape_2)
        intercepts, slopes = self._pieces_2HS[..., self._places(x)]
        return intercepts + slopes * x

    def collect(self, queries: slice, keys: slice, grad_scores: torch.Tensor) -> None:
        """Add the gradient of one sequence's scores [H, Lq, Lk]."""
        with torch.enable_grad():
            shape_2 = self._shape_2.clone().requires_grad_()
            distances = self._distances(queries, keys, shape_2)
        x, grad = distances.detach(), grad_scores.to(self._shape_2.dtype)
        places = self._places(x)
        indices = places.flatten().expand(len(grad), -1)
        self._grad_pieces[0].scatter_add_(1, indices, grad.flatten(1))
        self._grad_pieces[1].scatter_add_(1, indices, (grad * x).flatten(1))
        grad_x = (grad * self._pieces_2HS[1][:, places]).sum(0)
        self._grad_shape += torch.autograd.grad(distances, shape_2, grad_x)[0]

    def gradients(self) -> tuple[torch.Tensor, ...]:
        """The gradients of the pieces and the shape, over all that was collected."""
        return self._grad_pieces, self._grad_shape

    def _places(self, x: torch.Tensor) -> torch.Tensor:
        return torch.searchsorted(self._breaks_K, x)

    def _distances(self, queries: slice, keys: slice, shape_2: torch.Tensor) -> torch.Tensor:
        i, j = _positions(self._bias.q_positions, queries), _positions(self._bias.k_positions, keys)
        extents = self._bias.extents[queries]
        return fire_distances(
            (i.to(extents.device)[:, None] - j.to(extents.device)).to(shape_2.dtype), extents, shape_2
        )


def _positions(positions: torch.Tensor | None, rows: slice) -> torch.Tensor:
    return torch.arange(rows.stop - rows.start) if positions is None else positions[rows].to(torch.int64)
