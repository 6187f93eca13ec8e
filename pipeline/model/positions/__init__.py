"""Position schemes: one file each, chosen by `model.positions` (see `pipeline.model.position_config`)."""

from pipeline.model.config import ModelConfig
from pipeline.model.position_config import (
    AlibiPositions,
    BipePositions,
    FirePositions,
    LearnedPositions,
    MPNetPositions,
    PositionConfig,
    RotaryPositions,
    SinusoidalPositions,
    T5Positions,
)
from pipeline.model.positions.absolute import Learned, Sinusoidal
from pipeline.model.positions.alibi import Alibi
from pipeline.model.positions.bipe import Bipe
from pipeline.model.positions.fire import Fire
from pipeline.model.positions.mpnet import LearnedAndRelative
from pipeline.model.positions.rotary import Rotary
from pipeline.model.positions.scheme import Positions, Rotation
from pipeline.model.positions.t5 import RelativePositions

__all__ = ["Positions", "Rotation", "build_positions"]


def build_positions(scheme: PositionConfig, config: ModelConfig, bidirectional: bool) -> Positions:
    """The scheme of one stack of the model `config`; `bidirectional` says whether rows see what is ahead of them."""
    match scheme:
        case T5Positions():
            return RelativePositions(config, bidirectional)
        case RotaryPositions():
            return Rotary(scheme, config.d_kv)
        case AlibiPositions():
            return Alibi(config.num_heads, config.randomized_positions or 0)
        case FirePositions():
            return Fire(scheme, config.num_heads, bidirectional)
        case BipePositions():
            return Bipe(scheme, config)
        case LearnedPositions():
            return Learned(scheme.max_positions, config.d_model)
        case MPNetPositions():
            return LearnedAndRelative(config, scheme.max_positions, bidirectional)
        case SinusoidalPositions():
            return Sinusoidal()
        case _:
            return Positions()
