"""FIRE (Li et al. 2023): a bias that is a learned function of the distance, interpolated as sequences grow.

The formula, and its form for stacks that look both ways, are in `pipeline/kernels/attention/fire.py`. A stack learns
(all its layers share them, the paper's FIRE-S) c, the threshold L (as a multiplier, as in the paper's code) and a
perceptron with one input and one hidden layer of ReLUs. The kernel takes that as what it is, a function linear between
breaks. Its last layer has no bias of its own: softmax takes no notice of a constant.

Shape suffixes: U hidden units, H heads, S = U + 1 pieces.
"""

import torch
from torch import nn

from pipeline.batch import Batch
from pipeline.kernels.attention import FireBias
from pipeline.model.position_config import FirePositions
from pipeline.model.positions.scheme import Positions, are_contiguous


class Fire(Positions):
    """The bias of a stack with `num_heads` heads; `bidirectional` says whether rows see what is ahead of them."""

    def __init__(self, config: FirePositions, num_heads: int, bidirectional: bool) -> None:
        super().__init__()
        self.config, self.bidirectional = config, bidirectional
        self.hidden_weight = nn.Parameter(torch.empty(config.width))
        self.hidden_bias = nn.Parameter(torch.empty(config.width))
        self.output_weight = nn.Parameter(torch.empty(num_heads, config.width))
        self.curvature = nn.Parameter(torch.empty(1))
        self.threshold = nn.Parameter(torch.empty(1))

    def initial(self, name: str) -> tuple[float, float]:
        """Deviations of torch's own linear layers, uniform in +-1 / sqrt(inputs), as in the paper's code."""
        constants = {"curvature": self.config.curvature, "threshold": 1.0}
        inputs = {"output_weight": self.config.width}.get(name, 1)
        return (constants[name], 0.0) if name in constants else (0.0, (3 * inputs) ** -0.5)

    def bias(self, view: Batch) -> FireBias:
        """The bias of self-attention among the rows of `view`."""
        pieces_2HS, breaks_U, shape_2 = self()
        positions = None if are_contiguous(view) else view.positions
        extents = last_positions(view) if self.bidirectional else view.positions
        return FireBias(pieces_2HS, breaks_U, shape_2, extents, positions, positions)

    def forward(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The function of each head as pieces and breaks, and (c, L); float32 (ZeRO-3 hangs its hooks on tensors)."""
        wide = [x.to(torch.promote_types(x.dtype, torch.float32)) for x in self.parameters()]
        hidden_weight_U, hidden_bias_U, output_weight_HU, curvature_1, threshold_1 = wide
        shape_2 = torch.cat([curvature_1.abs(), threshold_1.abs() * self.config.threshold])
        return *piecewise(hidden_weight_U, hidden_bias_U, output_weight_HU), shape_2


def piecewise(
    weight_U: torch.Tensor, bias_U: torch.Tensor, output_HU: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """output @ relu(weight * x + bias) as intercepts and slopes [2, H, U + 1] between ascending breaks [U].

    A unit changes at x = -bias / weight: with a positive weight it works above, with a negative one below. Breaks get
    no gradient: moving one changes nothing, since the function is continuous.
    """
    breaks_U, order_U = (-bias_U / weight_U).nan_to_num(torch.inf).detach().sort()
    rank_U = torch.empty_like(order_U).scatter_(0, order_U, torch.arange(len(order_U), device=order_U.device))
    is_beyond_US = torch.arange(len(order_U) + 1, device=order_U.device) > rank_U[:, None]
    works_US = torch.where(weight_U[:, None] > 0, is_beyond_US, ~is_beyond_US)
    works_US = torch.where(weight_U[:, None] == 0, bias_U[:, None] > 0, works_US).to(output_HU.dtype)
    return torch.stack([(output_HU * bias_U) @ works_US, (output_HU * weight_U) @ works_US]), breaks_U


def last_positions(view: Batch) -> torch.Tensor:
    """[T]: the greatest position of each row's sequence; 0 in the tail."""
    num_rows = len(view.positions)
    rows = torch.arange(num_rows, device=view.positions.device, dtype=view.cu_seqlens.dtype)
    sequences = torch.searchsorted(view.cu_seqlens[1:].contiguous(), rows, right=True)
    greatest = view.positions.new_zeros(len(view.cu_seqlens)).scatter_reduce_(0, sequences, view.positions, "amax")
    return torch.where(rows < view.cu_seqlens[-1], greatest[sequences], 0)
