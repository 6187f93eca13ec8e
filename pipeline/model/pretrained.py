"""The model that a run trains and exports, whatever trains it: its embedding, its encoder, perhaps a decoder, its head.

Invariants: nothing passes between sequences; the first weights follow from (seed, parameter name) alone, whatever the
number of ranks; the number of parameters is `count_parameters`.
"""

from collections.abc import Mapping

import torch
from torch import nn

from data_prep.errors import SpanwrightError
from pipeline.batch import Batch
from pipeline.model.config import ModelConfig, padded_vocab_size
from pipeline.model.encoder import Encoder
from pipeline.model.heads import build_head
from pipeline.model.initialisation import initialise
from pipeline.model.streams import key_streams


class EncoderModel(nn.Module):
    """An encoder with the head of its architecture, initialised for the run with `seed`.

    `vocab_size` is the tokenizer's; the embedding pads it.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = padded_vocab_size(vocab_size)
        self.embedding = nn.Embedding(self.vocab_size, config.d_model)
        if config.layers.token_types:
            self.token_types = nn.Embedding(config.layers.token_types, config.d_model)
        self.encoder = Encoder(config)
        self._add_decoder()
        self.head = build_head(config, self.vocab_size, self.embedding.weight)
        initialise(self, config, seed)
        key_streams(self, seed)

    def _add_decoder(self) -> None:
        """An encoder-decoder does."""

    def embed(self, view: Batch) -> torch.Tensor:
        """The embedded rows [T, W], token types in them where the architecture has those."""
        x_TW = self.embedding(view.tokens)
        if not self.config.layers.token_types:
            return x_TW
        types = torch.zeros_like(view.tokens) if view.token_types is None else view.token_types
        return x_TW + self.token_types(types)

    def encode(self, view: Batch, taps: list[torch.Tensor] | None = None) -> torch.Tensor:
        """The encoder's hidden states [T, W]; each block's output is appended to `taps`."""
        return self.encoder.encode(self.embed(view), view, taps)

    @torch.no_grad()
    def load_parameters(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Copy `weights`, by parameter name, into this model; every parameter must be there, and no other."""
        parameters = dict(self.named_parameters())
        if weights.keys() != parameters.keys():
            wrong = sorted(weights.keys() ^ parameters.keys())
            raise SpanwrightError(f"these weights are not this model's: {wrong[0]} and {len(wrong) - 1} more differ")
        for name, parameter in parameters.items():
            if parameter.shape != weights[name].shape:
                raise SpanwrightError(
                    f"these weights are not this model's: {name} has shape {list(weights[name].shape)}, "
                    f"the model {list(parameter.shape)}"
                )
            parameter.copy_(weights[name])
