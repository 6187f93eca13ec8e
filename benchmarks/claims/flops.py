"""FLOPs of a training step of two recipes, by arithmetic: matrix products and attention, forward and backward.

Forward of a row in a layer: 2 FLOPs for each weight of its matrices. Attention: 4 for each pair of rows and each column
of the heads (scores, and the sum of values). The head: its square matrix, and the embedding's, for each label. Backward
costs twice the forward. Norms, activations and the optimizer are left out: they are small, and alike.
"""

import torch

from pipeline.batch import Batch, Views
from pipeline.config import RunConfig
from pipeline.model.config import ModelConfig, padded_vocab_size


def training_flops(config: RunConfig, views: Views, vocab_size: int) -> int:
    """FLOPs of forward and backward of one micro-batch, for objectives masked_lm and masked_autoencoder."""
    model, kind = config.model, config.objective["kind"]
    assert kind in ("masked_lm", "masked_autoencoder"), "the claims count no others"
    forward = model.num_layers * _layer(model, views["encoder"])
    labelled = views["encoder"]
    if kind == "masked_autoencoder":
        labelled = views["decoder"]
        forward += config.objective["late_layers"] * _layer(model, labelled)
    forward += labelled.num_labels * 2 * model.d_model * (padded_vocab_size(vocab_size) + model.d_model)
    return 3 * forward


def _layer(model: ModelConfig, view: Batch) -> int:
    inner = model.num_heads * model.d_kv
    weights = 4 * model.d_model * inner + 2 * model.d_model * model.d_ff
    pairs = int(torch.as_tensor(view.cu_seqlens).diff().long().square().sum())
    return 2 * weights * view.num_rows + 4 * inner * pairs
