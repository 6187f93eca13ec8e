"""MPNet's positions (Song et al. 2020): a learned vector at the inputs, and T5's bias by buckets in every layer."""

import torch

from pipeline.batch import Batch
from pipeline.model.config import ModelConfig
from pipeline.model.positions.absolute import Learned
from pipeline.model.positions.t5 import RelativePositions


class LearnedAndRelative(RelativePositions):
    """Both tables of one stack."""

    def __init__(self, config: ModelConfig, max_positions: int, bidirectional: bool) -> None:
        super().__init__(config, bidirectional)
        self.absolute = Learned(max_positions, config.d_model)

    def inputs(self, x_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """The inputs [T, W] plus the rows' vectors."""
        return self.absolute.inputs(x_TW, view)
