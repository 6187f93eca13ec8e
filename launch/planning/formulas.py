"""The formulas of a plan, each with its source. Pure; bytes, FLOPs and seconds.

Shapes: R_e, R_d rows of encoder and decoder per sample, K targets per sample, d model width, a = heads x d_kv,
f feed-forward width, m its matrices (3 gated, 2 plain), V the padded vocabulary, P parameters, N ranks.
"""

import math
from typing import NamedTuple

from pipeline.model.config import ModelConfig, middle_layers, padded_vocab_size

BF16, FP32 = 2, 4
BACKWARD = 2  # times the forward: one product for the input's gradient, one for the weight's (Kaplan et al. 2020, 2.1)


class Shape(NamedTuple):
    """Rows of one sample, all static."""

    encoder_rows: int
    decoder_rows: int
    targets: int


def linear_flops(model: ModelConfig, vocab_size: int, shape: Shape, kept_share: float = 1.0) -> int:
    """FLOPs of a sample's forward in matrix products with weights: 2 per weight and row (Kaplan et al. 2020, 2.1).

    `kept_share` is that of the middle layers under `training.random_ltd`.
    """
    d, a, f = model.d_model, model.num_heads * model.d_kv, model.d_ff
    m = 2 if model.layers.feed_forward == "gelu" else 3
    encoder = sum(_rows_by_layer(shape.encoder_rows, model.num_layers, kept_share)) * (4 * d * a + m * d * f)
    decoder = sum(_rows_by_layer(shape.decoder_rows, model.decoder_layers, kept_share)) * (6 * d * a + m * d * f)
    cross = shape.encoder_rows * model.decoder_layers * 2 * d * a  # keys and values of the encoder's rows
    head = shape.targets * d * (padded_vocab_size(vocab_size) + (d if model.layers.head == "masked" else 0))
    return 2 * (encoder + decoder + cross + head)


def attention_flops(model: ModelConfig, shape: Shape, kept_share: float = 1.0) -> int:
    """FLOPs of a sample's forward in scores and their sums, if its window is one document (packed ones need less).

    As pipeline/kernels/attention/flops.py counts them: by the pairs that see each other.
    """
    a = model.num_heads * model.d_kv
    encoder = sum(rows**2 for rows in _rows_by_layer(shape.encoder_rows, model.num_layers, kept_share))
    decoder = sum(
        rows * (rows + 1) // 2 + rows * shape.encoder_rows
        for rows in _rows_by_layer(shape.decoder_rows, model.decoder_layers, kept_share)
    )
    return 4 * a * (encoder + decoder)


def forward_flops(model: ModelConfig, vocab_size: int, shape: Shape, kept_share: float = 1.0) -> int:
    """Of a sample's forward."""
    return linear_flops(model, vocab_size, shape, kept_share) + attention_flops(model, shape, kept_share)


def _rows_by_layer(rows: int, num_layers: int, kept_share: float) -> list[int]:
    middle = middle_layers(num_layers)
    return [rows] * (num_layers - middle) + [math.ceil(rows * kept_share)] * middle


def moment_bytes(model: ModelConfig, parameters: int, optimizer: str) -> int:
    """What the optimizer keeps besides the masters, 32 bits each (docs/optimizers.md); in a checkpoint it is as much,
    but that of a schedule-free optimizer has its average in place of the masters.
    """
    if optimizer == "muon":
        a, m = model.num_heads * model.d_kv, 2 if model.layers.feed_forward == "gelu" else 3
        layers = model.num_layers + model.decoder_layers
        hidden = model.d_model * (layers * (4 * a + m * model.d_ff) + model.decoder_layers * 4 * a)
        return 2 * FP32 * parameters - FP32 * hidden
    return {"lion": 1, "schedule_free": 3}.get(optimizer, 2) * FP32 * parameters


def state_bytes(parameters: int, largest: int, stage: int, ranks: int, moments: int | None = None) -> int:
    """Bytes per rank of weights, gradients, masters and moments (default: 8 per parameter), by ZeRO stage.

    18 bytes per parameter are shared from stage 2 on: gradients in 16 and 32 bits (2 + 4), masters (4), moments (8);
    weights in 16 bits (2) from stage 3 on. Rajbhandari et al. 2020 (arXiv:1910.02054), section 5, with the 32-bit
    gradients that DeepSpeed adds; equal to deepspeed's estimate_zero{2,3}_model_states_mem_needs.
    """
    kept = 2 * FP32 * parameters if moments is None else moments
    if stage == 0:
        return (BF16 + 10) * parameters + kept
    if stage == 1:
        return (BF16 + BF16) * parameters + (8 * parameters + kept) // ranks
    if stage == 2:
        return BF16 * parameters + (10 * parameters + kept) // ranks
    return 2 * BF16 * largest + (10 * parameters + kept) // ranks


def activation_bytes(model: ModelConfig, shape: Shape, checkpointed: bool) -> int:
    """Bytes that a sample's forward keeps for its backward, in bf16.

    Per layer and row, what each operation's backward reads (counted like Korthikanti et al. 2022, arXiv:2205.05198,
    section 4.1, without scores and dropout masks: neither is stored here): norm and its output before attention (2 d)
    and feed-forward (2 d), queries, keys, values and their sum (4 a), and m + 1 matrices of width f. With checkpointing
    only a layer's input (d) stays, and one layer is rebuilt at a time.
    """
    d, a, f = model.d_model, model.num_heads * model.d_kv, model.d_ff
    m = 2 if model.layers.feed_forward == "gelu" else 3
    encoder_layer = shape.encoder_rows * (4 * d + 4 * a + (m + 1) * f)
    cross = shape.decoder_rows * (2 * d + 2 * a) + shape.encoder_rows * 2 * a
    decoder_layer = shape.decoder_rows * (4 * d + 4 * a + (m + 1) * f) + cross
    if checkpointed:
        kept = d * (model.num_layers * shape.encoder_rows + model.decoder_layers * shape.decoder_rows)
        return BF16 * (kept + max(encoder_layer, decoder_layer if model.decoder_layers else 0))
    return BF16 * (model.num_layers * encoder_layer + model.decoder_layers * decoder_layer)


def link_bytes(parameters: int, stage: int, ranks: int, accumulation: int) -> float:
    """Bytes that each rank sends per step (Rajbhandari et al. 2020, section 7; a ring sends (N - 1)/N of a tensor).

    Stages 0 and 1: gradients once a step, as reduce-scatter and all-gather (2 P). Stage 2: gradients of every
    micro-batch (P each), weights once. Stage 3: weights twice and gradients once for every micro-batch.
    """
    share = (ranks - 1) / ranks
    tensors = {0: 2.0, 1: 2.0, 2: accumulation + 1.0, 3: 3.0 * accumulation}[stage]
    return share * tensors * BF16 * parameters


def largest_layer(model: ModelConfig, vocab_size: int) -> int:
    """Parameters of the largest single module, which ZeRO-3 gathers whole."""
    inner = model.num_heads * model.d_kv
    return model.d_model * max(padded_vocab_size(vocab_size), model.d_ff, inner)


def checkpoint_bytes(model: ModelConfig, parameters: int, optimizer: str = "adamw") -> int:
    """Masters and moments, 32 bits each."""
    moments = moment_bytes(model, parameters, optimizer)
    return moments if optimizer == "schedule_free" else FP32 * parameters + moments
