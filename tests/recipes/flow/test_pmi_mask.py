"""The challenging decoder: important tokens are masks to it, and all it gets of the encoder is the vector."""

import torch

from pipeline.batch import IGNORED_LABEL
from tests.recipes.flow.tracing import (
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
