"""AdamW whose step on each matrix is scaled by the root mean square of its weights, as Adafactor's is: safe for T5.

    rate of a matrix = learning rate x max(1e-3, RMS(weights before the step))

Weight decay stays decoupled, at the learning rate itself. Learning rates are relative: nanoT5 uses 2e-2.

Invariant: the RMS is that of the whole matrix at every ZeRO stage, where a rank holds pieces of matrices in a flat
partition: squares are summed by piece in float64, then over the ranks, in one all-reduce for each flat tensor.

Sources: Nawrot 2023, "nanoT5" (arXiv:2309.02373), its optimizer `adamwscale`; the scale is Shazeer and Stern 2018,
"Adafactor" (arXiv:1804.04235), section 8.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from pipeline.training.optimizers.flat import Layout, Piece, first_state, squares, update_each

SMALLEST_RMS = 1e-3


class RmsScaledAdamW(torch.optim.AdamW):
    """Over parameters, or over flat tensors once `lay_out` has told what they hold."""

    def __init__(self, params: Iterable[Any], **options: Any) -> None:
        super().__init__(params, **options)
        self._layout: Layout | None = None

    def lay_out(self, layout: Layout) -> None:
        """What every flat tensor that is stepped holds; steps are collective from now on."""
        if layout.sharded:
            self._layout = layout
            device = next(iter(layout.pieces)).device
            self._sizes = torch.tensor([shape.numel() for shape in layout.shapes], dtype=torch.float64, device=device)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of everything that has a gradient."""
        assert closure is None, "nobody computes the loss again here"
        update_each(self.param_groups, self._update)

    def _update(self, parameter: Tensor, group: Mapping[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state.update(first_state(parameter, ("exp_avg", "exp_avg_sq")))
        rates = group["lr"] * self._rms(parameter).clamp(min=SMALLEST_RMS)
        if group["weight_decay"]:
            parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        tensors: list[Any] = [parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"]]
        for piece in self._pieces(parameter):
            weights, gradient, mean, square = ([tensor.view(-1)[piece.start : piece.stop]] for tensor in tensors)
            adamw(
                weights, gradient, mean, square, [], [state["step"].clone()], fused=True, amsgrad=False, beta1=beta1,
                beta2=beta2, lr=rates[piece.parameter], weight_decay=0.0, eps=group["eps"], maximize=False,
            )  # fmt: skip
        state["step"] += 1

    def _pieces(self, parameter: Tensor) -> Sequence[Piece]:
        return self._layout.pieces[parameter] if self._layout else [Piece(0, parameter.numel(), 0, 0)]

    def _rms(self, parameter: Tensor) -> Tensor:
        """The root mean square of each matrix, [matrices] float32; of one that lies in other tensors, anything."""
        if self._layout is None:
            return squares(parameter.view(-1)).div(parameter.numel()).sqrt().float()[None]
        sums = torch.zeros_like(self._sizes)
        for piece in self._layout.pieces[parameter]:
            sums[piece.parameter] += squares(parameter[piece.start : piece.stop])
        return (self._layout.over_ranks(sums) / self._sizes).sqrt().float()
