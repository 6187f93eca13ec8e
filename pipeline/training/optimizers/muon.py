"""Muon for the matrices of the layers, AdamW for all else.

    mean     = momentum x mean + (1 - momentum) x gradient
    update   = orthogonalised((1 - momentum) x gradient + momentum x mean), by five steps of Newton and Schulz
    weights  = weights - rate x (0.2 x sqrt(longer side) x update + decay x weights)

The factor gives the update the root mean square of AdamW's, so rate and decay are AdamW's (Liu et al. 2025, "Muon is
Scalable for LLM Training", arXiv:2502.16982, section 2.2; Jordan et al. 2024, kellerjordan.github.io/posts/muon).

Its products are in the precision of the run: bfloat16, as in the sources, or float32. Small singular values grow up to
485 times (3.4445^5), and with them what was rounded: in float32 to 1e-5 of the update, in bfloat16 to 8 %.

Invariant: a matrix is orthogonalised whole at every ZeRO stage, from the same numbers in the same order, so its update
is the same to the bit. Under ZeRO 1 and 2 most matrices lie whole on one rank, and only it works on them; those that
the border of two ranks cuts, under ZeRO 3 all, are put together by an all-reduce, and each rank that has a part of one
orthogonalises it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.training.optimizers.flat import Layout, Piece, first_state, update_each

MOMENTUM = 0.95
_STEPS, _COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
_LEAST_NORM = 1e-7


class Muon(torch.optim.AdamW):
    """Over parameters, or over flat tensors once `lay_out` has told what they hold; AdamW unless group["matrices"]."""

    def __init__(self, params: Iterable[Any], products: torch.dtype = torch.bfloat16, **options: Any) -> None:
        """`products` is the dtype of those that orthogonalise."""
        super().__init__(params, **options)
        self._products = products
        self._layout: Layout | None = None
        self._cut: dict[Tensor, list[int]] = {}

    def lay_out(self, layout: Layout) -> None:
        """What every flat tensor that is stepped holds. Collective, as steps are from now on."""
        if not layout.sharded:
            return
        self._layout = layout
        for flat, pieces in layout.pieces.items():  # the ranks' tensors have one order
            partial = torch.zeros(len(layout.shapes), dtype=torch.int64)
            for piece in pieces:
                partial[piece.parameter] = piece.stop - piece.start < layout.shapes[piece.parameter].numel()
            self._cut[flat] = layout.over_ranks(partial).nonzero().flatten().tolist()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of everything that has a gradient."""
        assert closure is None, "nobody computes the loss again here"
        groups = self.param_groups
        update_each((group for group in groups if group["matrices"]), self._update)
        self.param_groups = [group for group in groups if not group["matrices"]]
        super().step()
        self.param_groups = groups

    def _update(self, parameter: Tensor, group: Mapping[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state.update(first_state(parameter, ("exp_avg",)))
        state["exp_avg"].lerp_(gradient, 1.0 - MOMENTUM)
        wanted = gradient.lerp(state["exp_avg"], MOMENTUM)
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        for weights, update, shape in self._updates(parameter, wanted):
            rate = group["lr"] * 0.2 * max(shape) ** 0.5
            weights.add_(update, alpha=-rate)
        state["step"] += 1

    def _updates(self, parameter: Tensor, wanted: Tensor) -> Iterator[tuple[Tensor, Tensor, torch.Size]]:
        """Weights of this rank, what is added to them, and the shape of their matrix."""
        if self._layout is None:
            if parameter.ndim == 2:  # a flat tensor without a layout is one of DeepSpeed's trials at its start
                yield parameter, _orthogonal(wanted, self._products), parameter.shape
            return
        cut = self._cut[parameter]
        for piece in self._layout.pieces[parameter]:
            shape = self._layout.shapes[piece.parameter]
            if piece.parameter not in cut:
                update = _orthogonal(wanted[piece.start : piece.stop].view(shape), self._products)
                yield parameter[piece.start : piece.stop], update.reshape(-1), shape
        for number in cut:
            yield from self._update_of_cut(parameter, wanted, number)

    def _update_of_cut(
        self, parameter: Tensor, wanted: Tensor, number: int
    ) -> Iterator[tuple[Tensor, Tensor, torch.Size]]:
        assert self._layout is not None
        shape = self._layout.shapes[number]
        whole = torch.zeros(shape.numel(), dtype=wanted.dtype, device=wanted.device)
        own = [piece for piece in self._layout.pieces[parameter] if piece.parameter == number and _size(piece)]
        for piece in own:
            whole[piece.offset : piece.offset + _size(piece)] = wanted[piece.start : piece.stop]
        dist.all_reduce(whole)
        update = _orthogonal(whole.view(shape), self._products).reshape(-1) if own else whole
        for piece in own:
            yield parameter[piece.start : piece.stop], update[piece.offset : piece.offset + _size(piece)], shape


def _size(piece: Piece) -> int:
    return piece.stop - piece.start


def _orthogonal(matrix: Tensor, products: torch.dtype) -> Tensor:
    """About U V of the singular value decomposition U S V of a matrix, in that dtype."""
    tall = matrix.shape[0] > matrix.shape[1]
    wide = (matrix.T if tall else matrix).to(products)
    wide = wide / wide.norm().clamp(min=_LEAST_NORM)
    first, third, fifth = _COEFFICIENTS
    for _ in range(_STEPS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=third, alpha=fifth), wide, beta=first)
    return wide.T if tall else wide
