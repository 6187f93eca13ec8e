"""An encoder-decoder on flat batches (T5, BART): one embedding, an encoder, a decoder that reads it, one head."""

import torch

from pipeline.batch import Batch
from pipeline.model.config import ModelConfig
from pipeline.model.decoder import Decoder
from pipeline.model.pretrained import EncoderModel


class EncoderDecoder(EncoderModel):
    """The encoder's model with a decoder between encoder and head."""

    def _add_decoder(self) -> None:
        self.decoder = Decoder(self.config)

    def decode(self, view: Batch, memory_SW: torch.Tensor, memory_view: Batch) -> torch.Tensor:
        """The decoder's hidden states [T, W] given the encoder's `memory_SW` for `memory_view`."""
        return self.decoder.decode(self.embed(view), view, memory_SW, memory_view)


def build_model(config: ModelConfig, vocab_size: int, seed: int) -> EncoderModel:
    """The model of the architecture that `config` names."""
    return (EncoderDecoder if config.layers.has_decoder else EncoderModel)(config, vocab_size, seed)
