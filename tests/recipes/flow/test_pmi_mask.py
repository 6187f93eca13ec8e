"""The challenging decoder: important tokens are masks to it, and all it gets of the encoder is the vector."""

import numpy as np
import torch

from pipeline.batch import IGNORED_LABEL
from pipeline.corruption.corruption import Corruption
from pipeline.corruption.pieces import GivenSample
from tests.recipes.flow.tracing import (
    VOCAB_SIZE,
    objective_of,
    row_gradients,
    small_config,
    untouched_parameters,
    views_of,
    with_labels_only,
)
from tests.recipes.test_golden import SPECIAL_TOKENS, sample

DECODING = "decoding"


def test_a_prediction_sees_the_vector_and_the_decoders_own_text_and_no_other_document() -> None:
    config = small_config("pmi_mask")
    objective, views = objective_of(config), views_of(config, sample())
    decoder = views["decoder"]
    first = decoder.sequence(0)
    rows = [row for row in range(first.stop) if decoder.labels[row] != IGNORED_LABEL]
    assert all(decoder.tokens[row] == SPECIAL_TOKENS.mask for row in rows)
    alone = {**views, "decoder": with_labels_only(decoder, [rows[0]])}
    by_vector, by_text = row_gradients(objective, objective.model.embedding, alone, DECODING)[:2]
    assert (by_vector[views["encoder"].sequence(0)] > 0).all()
    assert not by_vector[views["encoder"].sequence(0).stop :].any()
    assert (by_text[first.start + 1 : first.stop] > 0).all()
    assert not by_text[first.stop :].any()


def test_without_the_vector_the_encoder_learns_nothing_of_the_decoders_loss() -> None:
    config = small_config("pmi_mask")
    objective, views = objective_of(config), views_of(config, sample())
    states: list[torch.Tensor] = []
    objective.model.encoder.register_forward_hook(lambda module, inputs, output: states.append(output))
    loss, _ = objective(views)[DECODING]
    (gradient,) = torch.autograd.grad(loss, states)
    slots = views["encoder"].cu_seqlens[:2].tolist()
    assert torch.nonzero(gradient.norm(dim=-1)).flatten().tolist() == slots
    assert not untouched_parameters(objective, views)


def test_the_decoders_masks_stand_at_important_tokens_and_the_encoders_anywhere() -> None:
    length, count = 32, 200
    weights = np.where(np.arange(length) % 2, 240, 16).astype(np.uint8)
    corruption = Corruption(small_config("pmi_mask").corruption, SPECIAL_TOKENS, VOCAB_SIZE, length, 1, seed=3)
    tokens = np.full(length, VOCAB_SIZE - 1)
    samples = [GivenSample(p, tokens, np.array([0, length]), {"weight": weights}) for p in range(count)]
    views = corruption.apply(samples).views

    def share_of_important(view: str) -> float:
        chosen = views[view].labels[: count * (length + 2)].reshape(count, length + 2)[:, 1:-1] != IGNORED_LABEL
        return float(chosen[:, 1::2].sum() / chosen.sum())

    assert abs(share_of_important("encoder") - 0.5) < 0.06  # 2,000 draws: five standard deviations
    assert share_of_important("decoder") > 0.8
