"""T5 v1.1 on flat batches: one embedding, an encoder, a decoder that reads it, a head over the vocabulary.

Invariants: nothing passes between sequences; the first weights follow from (seed, parameter name) alone, whatever the
number of ranks; the number of parameters is `count_parameters`.
"""

from collections.abc import Mapping

import torch
from torch import nn

from data_prep.errors import SpanwrightError
from pipeline.batch import Batch
from pipeline.model.config import ModelConfig, padded_vocab_size
from pipeline.model.decoder import Decoder
from pipeline.model.encoder import Encoder
from pipeline.model.heads import TokenHead
from pipeline.model.initialisation import initialise
from pipeline.model.streams import key_streams


class EncoderDecoder(nn.Module):
    """The whole model, initialised for the run with `seed`; `vocab_size` is the tokenizer's."""

    def __init__(self, config: ModelConfig, vocab_size: int, seed: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = padded_vocab_size(vocab_size)
        self.embedding = nn.Embedding(self.vocab_size, config.d_model)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.head = TokenHead(config, self.vocab_size, self.embedding.weight if config.tie_word_embeddings else None)
        initialise(self, config, seed)
        key_streams(self, seed)

    def encode(self, view: Batch) -> torch.Tensor:
        """The encoder's hidden states [T, W]."""
        return self.encoder.encode(self.embedding(view.tokens), view)

    def decode(self, view: Batch, memory_SW: torch.Tensor, memory_view: Batch) -> torch.Tensor:
        """The decoder's hidden states [T, W] given the encoder's `memory_SW` for `memory_view`."""
        return self.decoder.decode(self.embedding(view.tokens), view, memory_SW, memory_view)

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

    def set_activation_checkpointing(self, enabled: bool) -> None:
        """Keep only each block's input for backward and run its forward again there."""
        self.encoder.activation_checkpointing = self.decoder.activation_checkpointing = enabled
