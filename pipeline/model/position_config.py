"""What `model.positions` may say: how a stack knows where its rows stand. One model per kind (no torch here)."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from data_prep.section import Positive, Section


class T5Positions(Section):
    """A learned bias per head and bucket of distances (Raffel et al. 2020); see `relative_attention_*`."""

    kind: Literal["t5"] = "t5"


class RotaryPositions(Section):
    """Queries and keys turned by angles that grow with the position (Su et al. 2021, RoPE)."""

    kind: Literal["rope"] = "rope"
    base: Annotated[float, Field(gt=1.0)] = 10_000.0
    fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0  # below 1, only the fastest pairs turn: p-RoPE
    # (Barbero et al. 2024, "Round and Round We Go!", section 6)
    local_base: Annotated[float, Field(gt=1.0)] | None = None  # of layers with local_attention; null: base


class AlibiPositions(Section):
    """Scores fall linearly with the distance, each head at its own slope (Press et al. 2021).

    In an encoder the distance counts both ways, so that a text and its mirror image look alike there.
    """

    kind: Literal["alibi"] = "alibi"


class FirePositions(Section):
    """A learned function of the distance, measured by how far a sequence reaches (Li et al. 2023, FIRE).

    An encoder measures by the whole sequence, and its function tells left from right by the sign of the distance.
    """

    kind: Literal["fire"] = "fire"
    width: Positive = 32  # of the function's hidden layer
    curvature: Annotated[float, Field(gt=0.0)] = 0.1  # c before training: how soon distances are told apart less
    threshold: Annotated[float, Field(gt=0.0)] = 512.0  # L before training: up to here a sequence is not interpolated


class BipePositions(Section):
    """Places within a sentence, absolutely, and distances in sentences (He et al. 2024, BiPE).

    The dataset needs the column `sents`.
    """

    kind: Literal["bipe"] = "bipe"
    within: Literal["learned", "sinusoidal"] = "sinusoidal"
    max_positions: Positive = 512  # of the learned table: the longest sentence
    between: Literal["rope", "alibi"] = "rope"
    base: Annotated[float, Field(gt=1.0)] = 10_000.0  # of rope


class LearnedPositions(Section):
    """One learned vector per position, added to the inputs (Devlin et al. 2018)."""

    kind: Literal["learned"] = "learned"
    max_positions: Positive = 512


class MPNetPositions(Section):
    """Learned vectors at the inputs and T5's buckets in every layer (Song et al. 2020, MPNet, appendix)."""

    kind: Literal["mpnet"] = "mpnet"
    max_positions: Positive = 512


class SinusoidalPositions(Section):
    """Fixed sines and cosines, added to the inputs (Vaswani et al. 2017, section 3.5)."""

    kind: Literal["sinusoidal"] = "sinusoidal"


class NoPositions(Section):
    """Nothing: only a causal mask tells places apart (Kazemnejad et al. 2023, NoPE)."""

    kind: Literal["none"] = "none"


def _bare_word(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


PositionConfig = Annotated[
    T5Positions
    | RotaryPositions
    | AlibiPositions
    | FirePositions
    | BipePositions
    | LearnedPositions
    | MPNetPositions
    | SinusoidalPositions
    | NoPositions,
    Field(discriminator="kind"),
    BeforeValidator(_bare_word),
]


def relative_part(scheme: PositionConfig) -> PositionConfig:
    """What is left of a scheme in a stack that continues states with places in them: nothing of added vectors."""
    if isinstance(scheme, MPNetPositions):
        return T5Positions()
    return NoPositions() if isinstance(scheme, LearnedPositions | SinusoidalPositions) else scheme
