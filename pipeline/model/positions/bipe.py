"""BiPE (He et al. 2024, "Two Stones Hit One Bird"): a row's place in its segment, and the distance in segments.

Positions are [T, 2]: the segment's number, and the place in it. Segments are sentences
(pipeline/corruption/segments.py). A vector for the place is added to the inputs; RoPE or ALiBi sees the segments'
numbers alone. So longer texts bring no places that were not seen in training, only more segments.
"""

import dataclasses

import torch

from pipeline.batch import Batch
from pipeline.kernels.attention import Bias
from pipeline.model.config import ModelConfig
from pipeline.model.position_config import BipePositions, RotaryPositions
from pipeline.model.positions.absolute import Learned, Sinusoidal
from pipeline.model.positions.alibi import Alibi
from pipeline.model.positions.rotary import Rotary
from pipeline.model.positions.scheme import Positions, Rotation

SEGMENT, PLACE = 0, 1


class Bipe(Positions):
    """Both levels of one stack."""

    def __init__(self, scheme: BipePositions, config: ModelConfig) -> None:
        super().__init__()
        learned = scheme.within == "learned"
        self.within = Learned(scheme.max_positions, config.d_model) if learned else Sinusoidal()
        rotary = RotaryPositions(base=scheme.base)
        self.between = Rotary(rotary, config.d_kv) if scheme.between == "rope" else Alibi(config.num_heads, 0)

    def inputs(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """The inputs [T, W] plus the vectors of the rows' places in their segments."""
        return self.within.inputs(x_TW, _level(view, PLACE))

    def rotation(self, view: Batch, local: bool = False) -> Rotation | None:
        """Angles of the segments' numbers."""
        return self.between.rotation(_level(view, SEGMENT))

    def bias(self, view: Batch) -> Bias | None:
        """The bias by the distance of segments."""
        return self.between.bias(_level(view, SEGMENT))


def _level(view: Batch, level: int) -> Batch:
    assert view.positions.dim() == 2, "a stack with two-level positions is given them: see RunConfig.segmented_views"
    return dataclasses.replace(view, positions=view.positions[:, level])
