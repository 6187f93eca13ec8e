"""Decoders that know of a text one vector, the encoder's state of its first row, and what their rule lets them see.

All get the decoder view's text through the encoder's own embedding, with the vector in its first row, and share
nothing else with the encoder. Invariant: of the encoder's states only the first row's of the same sequence has any
influence.
"""

import torch
from torch import nn

from pipeline.batch import Batch
from pipeline.kernels.attention import IntervalPattern, Keep
from pipeline.kernels.attention.patterns import row_indices
from pipeline.model.config import ModelConfig
from pipeline.model.late_layers import LateLayers
from pipeline.model.pretrained import EncoderModel
from pipeline.model.streams import Drawing


class BottleneckDecoder(nn.Module):
    """A stack under the vector; `offset` rows after a state stands the token that it is asked about."""

    offset = 0

    def __init__(self, config: ModelConfig, num_layers: int) -> None:
        super().__init__()
        self.layers = LateLayers(config, num_layers)

    def forward(self, model: EncoderModel, states_TW: torch.Tensor, view: Batch) -> torch.Tensor:
        """The hidden states [T, W] of `view`, whose sequences begin where those of the encoder's `states_TW` do."""
        indices_T = row_indices(view.cu_seqlens, len(states_TW))
        embedded_TW = model.encoder.inputs(model.embed(view), view)
        text_TW = torch.where((indices_T == 0)[:, None], states_TW, embedded_TW)
        return self.decode(model, text_TW, indices_T, view)

    def decode(self, model: EncoderModel, text_TW: torch.Tensor, indices_T: torch.Tensor, view: Batch) -> torch.Tensor:
        """The states of `text_TW`, whose rows have these `indices_T` in their sequences: here they see all of it."""
        return self.layers.see_all(text_TW, view)


class WeakDecoder(BottleneckDecoder):
    """Left to right, and short-sighted: a row sees the vector, itself and as many rows before it as make up `window`.

    Lu et al. 2021 (SEED-Encoder): the next token from the vector and the last `window` tokens, in each layer.
    """

    offset = 1

    def __init__(self, config: ModelConfig, num_layers: int, window: int) -> None:
        super().__init__(config, num_layers)
        self.window = window

    def decode(self, model: EncoderModel, text_TW: torch.Tensor, indices_T: torch.Tensor, view: Batch) -> torch.Tensor:
        """See the class."""
        pattern = IntervalPattern.window(view.cu_seqlens, len(text_TW), before=self.window - 1, slot=True)
        return self.layers(text_TW, view, pattern)


class EnhancedDecoder(BottleneckDecoder):
    """One layer in which each row asks with the vector and its place, and reads its own sample of the other tokens.

    Xiao et al. 2022 (RetroMAE), section 3.3: never its own token, always the vector, any other with probability
    `visible`.
    """

    def __init__(self, config: ModelConfig, visible: float) -> None:
        super().__init__(config, 1)
        self.context = Context(visible)

    def decode(self, model: EncoderModel, text_TW: torch.Tensor, indices_T: torch.Tensor, view: Batch) -> torch.Tensor:
        """See the class."""
        rows_T = torch.arange(len(text_TW), device=text_TW.device)
        vectors_TW = text_TW.index_select(0, rows_T - indices_T.clamp(min=0))
        queries_TW = model.encoder.inputs(vectors_TW, view)
        pattern = IntervalPattern.slot_and_others(view.cu_seqlens, len(text_TW), self.context.of(view))
        return self.layers(queries_TW, view, pattern, source_TW=text_TW)


class Context(Drawing):
    """The draw of the tokens that each row may read."""

    stream = "enhanced_decoding"

    def __init__(self, visible: float) -> None:
        super().__init__()
        self.visible = visible

    def of(self, view: Batch) -> Keep:
        """The draw for the rows of `view`."""
        return Keep(self.visible, self.key, view.sample_rows, view.sample_positions)
