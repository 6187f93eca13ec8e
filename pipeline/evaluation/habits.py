"""How a model expects a text: what stands around it, how a gap is shown and filled, what makes it one vector.

A model is asked only in the way it was trained: one that has never seen a mask has no way to fill a gap.
"""

from dataclasses import dataclass, replace
from typing import Literal

from data_prep.tokenizer.special import SpecialTokens
from pipeline.config import RunConfig
from pipeline.corruption.config import CorruptionConfig, MixturePart
from pipeline.corruption.layout import FullReconstruction, InPlace, SentinelTargets
from pipeline.corruption.permuted import Permuted
from pipeline.corruption.replace import MaskPerSpan, SentinelPerSpan, TokenByToken
from pipeline.evaluation.model import Ids

Fills = Literal["masks", "sentinels", "whole"]
"""A mask for each token; a sentinel, after which the decoder writes the span; a mask, and the whole text written."""
Pooling = Literal["first", "mean"]
_TEXT_TO_TEXT = (SentinelTargets, FullReconstruction)  # layouts whose encoder view ends with eos
_MASK_HEADS = ("masked_lm", "masked_lm_pairs", "masked_permuted", "bottleneck", "condenser", "modes")


@dataclass(frozen=True)
class Habits:
    """The special tokens before and after a text [ids], and what the model does with it."""

    special: SpecialTokens
    head: tuple[int, ...]
    tail: tuple[int, ...]
    fills: Fills | None
    why_not: str
    """Why it fills no gaps, in words; empty where it does."""
    pooling: Pooling
    max_tokens: int
    """Of a text; what is longer is cut off."""
    bottleneck: bool = False
    """Whether a vector of a text was trained."""

    @classmethod
    def of_run(cls, config: RunConfig, special: SpecialTokens) -> "Habits":
        """As the run's corruption lays texts out."""
        part = _asked_part(config.corruption)
        mode = (special.spares[part.mode],) if isinstance(part, MixturePart) and part.mode is not None else ()
        ends = getattr(part.layout, "ends", False)
        written = config.model.layers.has_decoder and isinstance(part.layout, _TEXT_TO_TEXT)
        fills, why_not = _fills(config, part)
        return cls(
            special=special,
            head=(*mode, special.cls) if ends else mode,
            tail=(special.sep,) if ends else (special.eos,) if written else (),
            fills=fills,
            why_not=why_not,
            pooling="first" if config.pooling == "cls" else "mean",
            max_tokens=config.stream.window // config.stream.spans_per_piece,
            bottleneck=config.pooling is not None,
        )

    @classmethod
    def of_class(cls, name: str, special: SpecialTokens, max_tokens: int) -> "Habits":
        """As our recipes train a class of transformers, where nobody says which recipe it was."""
        text_to_text = name.startswith(("T5", "Bart"))
        fills: Fills | None = "sentinels" if name.startswith("T5") else "whole" if text_to_text else "masks"
        if name.startswith("Electra"):
            fills = None
        return cls(
            special=special,
            head=() if text_to_text else (special.cls,),
            tail=(special.eos,) if text_to_text else (special.sep,),
            fills=fills,
            why_not="" if fills else "its head tells which tokens were replaced, and no tokens",
            pooling="mean",
            max_tokens=max_tokens,
        )

    def without_head(self, why_not: str) -> "Habits":
        """Of the same model's encoder alone."""
        return replace(self, fills=None, why_not=why_not)

    def around(self, text: Ids) -> list[int]:
        """The encoder's ids of a text."""
        return [*self.head, *map(int, text[: self.max_tokens]), *self.tail]


def _asked_part(corruption: CorruptionConfig) -> CorruptionConfig | MixturePart:
    """The corruption itself, or of a mixture the first part."""
    return corruption.mixture[0] if corruption.mixture else corruption


def _fills(config: RunConfig, part: CorruptionConfig | MixturePart) -> tuple[Fills | None, str]:
    if config.model.layers.has_decoder:
        if isinstance(part.layout, SentinelTargets) and isinstance(part.replace, SentinelPerSpan):
            return "sentinels", ""
        if isinstance(part.layout, FullReconstruction) and isinstance(part.replace, MaskPerSpan):
            return "whole", ""
        return None, "its decoder was not trained to fill gaps"
    if config.model.layers.head != "masked":
        return None, "its head tells which tokens were replaced, and no tokens"
    kind = config.objective["kind"]
    if kind not in _MASK_HEADS or not isinstance(part.layout, InPlace | Permuted):
        return None, f"objective {kind} shows no masks to the encoder that is exported"
    if not isinstance(part.replace, TokenByToken) or not part.replace.mask:
        return None, "it was trained without masks (corruption.replace.mask is 0)"
    return "masks", ""
