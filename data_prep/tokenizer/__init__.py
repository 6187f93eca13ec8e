"""Text to token ids and back, lossless. `train` makes a model, `tokenizer` uses it, `special` has the reserved ids."""

from data_prep.tokenizer.special import SpecialTokens
from data_prep.tokenizer.tokenizer import Tokenizer

__all__ = ["SpecialTokens", "Tokenizer"]
