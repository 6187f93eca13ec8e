"""What turns hidden states into predictions of tokens."""

import torch
from torch import nn

from pipeline.kernels.bag_of_words import bag_of_words_sum
from pipeline.kernels.cross_entropy import linear_cross_entropy_sum
from pipeline.model.config import ModelConfig
from pipeline.model.norm import build_norm


class TokenHead(nn.Module):
    """Logits over the vocabulary: states times the embedding's own matrix, or one of the head's.

    In T5 a tied head scales the states by d_model ** -0.5 first (its embedding is drawn with variance 1).
    """

    def __init__(self, config: ModelConfig, vocab_size: int, tied_to: torch.Tensor | None) -> None:
        super().__init__()
        own = nn.Parameter(torch.empty(vocab_size, config.d_model)) if tied_to is None else tied_to
        self.weight: torch.Tensor = own
        self.scale = config.d_model**-0.5 if tied_to is not None and config.architecture == "t5" else 1.0

    def forward(
        self,
        x_TW: torch.Tensor,
        labels_T: torch.Tensor | None = None,
        z_loss: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> torch.Tensor:
        """Logits [T, V] of states [T, W]; with labels [T], the sum of their cross entropy instead."""
        if labels_T is None:
            return nn.functional.linear(x_TW * self.scale, self.weight)
        return linear_cross_entropy_sum(x_TW * self.scale, self.weight, labels_T, z_loss, label_smoothing)


class MaskedHead(nn.Module):
    """BERT's: norm(gelu(dense(states))) times the embedding's matrix, plus each token's bias (Devlin et al. 2019)."""

    def __init__(self, config: ModelConfig, vocab_size: int, tied_to: torch.Tensor) -> None:
        super().__init__()
        self.dense = nn.Linear(config.d_model, config.d_model, bias=config.layers.biases)
        self.norm = build_norm(config)
        self.weight: torch.Tensor = tied_to
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(
        self,
        x_TW: torch.Tensor,
        labels_T: torch.Tensor | None = None,
        z_loss: float = 0.0,
        label_smoothing: float = 0.0,
        bags: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits [T, V] of states [T, W]; with labels [T], the sum of their cross entropy instead.

        With `bags` [N + 1], boundaries of sequences, the labels of each are one bag of words (kernels/bag_of_words).
        """
        x_TW = self.transform(x_TW)
        if labels_T is None:
            return nn.functional.linear(x_TW, self.weight, self.bias)
        if bags is not None:
            return bag_of_words_sum(x_TW, self.weight, self.bias, labels_T, bags)
        return linear_cross_entropy_sum(x_TW, self.weight, labels_T, z_loss, label_smoothing, self.bias)

    def transform(self, x_TW: torch.Tensor) -> torch.Tensor:
        """What the embedding's matrix is multiplied with [T, W]."""
        return self.norm(nn.functional.gelu(self.dense(x_TW)))


class DetectionHead(nn.Module):
    """ELECTRA's: a logit per row, positive where its token was replaced: score(gelu(dense(states)))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.d_model, config.d_model, bias=config.layers.biases)
        self.score = nn.Linear(config.d_model, 1, bias=config.layers.biases)

    def forward(self, x_TW: torch.Tensor, replaced_T: torch.Tensor | None = None) -> torch.Tensor:
        """Logits [T] of states [T, W]; given which were replaced, bool [T], the sum of their binary cross entropy."""
        logits_T = self.score(nn.functional.gelu(self.dense(x_TW))).squeeze(-1)
        if replaced_T is None:
            return logits_T
        logits_T = logits_T.to(torch.promote_types(logits_T.dtype, torch.float32))
        return nn.functional.binary_cross_entropy_with_logits(logits_T, replaced_T.to(logits_T.dtype), reduction="sum")


def build_head(
    config: ModelConfig, vocab_size: int, embedding_VW: torch.Tensor
) -> TokenHead | MaskedHead | DetectionHead:
    """The head of the model's architecture, tied to its embedding unless the config says otherwise."""
    if config.layers.head == "detection":
        return DetectionHead(config)
    if config.layers.head == "masked":
        return MaskedHead(config, vocab_size, embedding_VW)
    return TokenHead(config, vocab_size, embedding_VW if config.tie_word_embeddings else None)
