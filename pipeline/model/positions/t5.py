"""T5's relative positions: distances fall into buckets, exact near by and logarithmic far away; each bucket has one
learned bias per head, shared by all layers of a stack (Raffel et al. 2020, section 2.1).
"""

import math

import torch
from torch import nn

from pipeline.batch import Batch
from pipeline.kernels.attention import RelativeBias
from pipeline.model.config import ModelConfig
from pipeline.model.positions.scheme import Positions, relative_bias


def relative_position_bucket(
    relative: torch.Tensor, bidirectional: bool, num_buckets: int, max_distance: int
) -> torch.Tensor:
    """The bucket of each relative position (key's minus query's), int64 in 0 .. num_buckets - 1.

    Bidirectional: half of the buckets look back, half ahead. Otherwise all look back, and what lies ahead is bucket 0.
    """
    if bidirectional:
        num_buckets //= 2
        ahead = (relative > 0).to(torch.int64) * num_buckets
        distance = relative.abs()
    else:
        ahead = torch.zeros_like(relative, dtype=torch.int64)
        distance = (-relative).clamp(min=0)
    num_exact = num_buckets // 2
    # The far buckets' edges are float32 logarithms, as in T5's own code: another precision would move some edges.
    share = torch.log(distance.clamp(min=1).float() / num_exact) / math.log(max_distance / num_exact)
    far = (num_exact + (share * (num_buckets - num_exact)).to(torch.int64)).clamp(max=num_buckets - 1)
    return ahead + torch.where(distance < num_exact, distance.to(torch.int64), far)


class RelativePositions(Positions):
    """A stack's table of biases, [num_buckets, num_heads]."""

    buckets_R: torch.Tensor

    def __init__(self, config: ModelConfig, bidirectional: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(config.relative_attention_num_buckets, config.num_heads))
        reach = config.relative_attention_max_distance  # from there on a bucket does not change any more
        relative = torch.arange(-reach, reach + 1)
        buckets = relative_position_bucket(relative, bidirectional, config.relative_attention_num_buckets, reach)
        self.register_buffer("buckets_R", buckets, persistent=False)

    def bias(self, view: Batch) -> RelativeBias:
        """The bias of self-attention among the rows of `view`."""
        return relative_bias(self(), view)

    def forward(self) -> torch.Tensor:
        """The value of each head and relative position, [H, 2 * reach + 1] (a tensor: ZeRO-3 hangs its hooks on it)."""
        # float32 from here on: the gradients of all layers add up before they are rounded to the weight's dtype.
        values_RH = nn.functional.embedding(self.buckets_R, self.weight)
        return values_RH.to(torch.promote_types(values_RH.dtype, torch.float32)).t()
