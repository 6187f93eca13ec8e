"""RetroMAE, DupMAE, SEED-Encoder: of the encoder a decoder gets one vector, of the text what its rule shows it."""

from typing import Any

import pytest
import torch

from pipeline.batch import IGNORED_LABEL, Views
from pipeline.kernels.attention import IntervalPattern
from tests.recipes.flow.tracing import (
    objective_of,
    row_gradients,
    small_config,
    untouched_parameters,
    views_of,
    with_labels_only,
)
from tests.recipes.test_golden import FIRST_WORD, SPECIAL_TOKENS, sample

ENHANCED, WEAK = ("retromae", "dupmae"), ("seed_encoder", "seed_encoder_one_layer")
RECIPES = (*ENHANCED, *WEAK)
DECODING = "decoding"


def one_label(views: Views, row: int) -> Views:
    """The views with this label of the decoder's alone."""
    return {**views, "decoder": with_labels_only(views["decoder"], [row])}


def labelled_rows(views: Views, n: int) -> list[int]:
    """The rows of sequence n that the decoder is asked about."""
    rows = views["decoder"].sequence(n)
    return [row for row in range(rows.start, rows.stop) if views["decoder"].labels[row] != IGNORED_LABEL]


def encoder_gradients(objective: Any, views: Views) -> torch.Tensor:
    """[T]: the norm of the gradient of the decoder's loss at each of the encoder's last states."""
    states: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        states.append(output.detach().requires_grad_())
        return states[-1]

    handle = objective.model.encoder.register_forward_hook(keep)
    loss, _ = objective(views)[DECODING]
    handle.remove()
    return torch.autograd.grad(loss, states)[0].norm(dim=-1)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_decoder_gets_the_first_state_of_its_own_sequence_and_no_other(recipe: str) -> None:
    config = small_config(recipe)
    objective, views = objective_of(config), views_of(config, sample())
    for n in range(2):
        slot = views["encoder"].sequence(n).start
        gradients = encoder_gradients(objective, one_label(views, labelled_rows(views, n)[-1]))
        assert torch.nonzero(gradients).flatten().tolist() == [slot]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_vector_brings_all_of_its_text_to_the_decoder(recipe: str) -> None:
    config = small_config(recipe)
    objective, views = objective_of(config), views_of(config, sample())
    alone = one_label(views, labelled_rows(views, 0)[3])
    by_vector, _ = row_gradients(objective, objective.model.embedding, alone, DECODING)[:2]
    own = views["encoder"].sequence(0)
    assert (by_vector[own] > 0).all()
    assert not by_vector[own.stop :].any()


@pytest.mark.parametrize("recipe", ENHANCED)
def test_enhanced_decoding_reads_the_drawn_others_and_never_its_own_token(recipe: str) -> None:
    config = small_config(recipe)
    objective, views = objective_of(config), views_of(config, sample())
    view = views["decoder"]
    pattern = IntervalPattern.slot_and_others(view.cu_seqlens, len(view.tokens), objective.decoder.context.of(view))
    own = view.sequence(0)
    visible = pattern.visible(own, own)
    for row in labelled_rows(views, 0)[::4]:
        _, by_text = row_gradients(objective, objective.model.embedding, one_label(views, row), DECODING)[:2]
        expected = visible[row].clone()
        expected[0] = False  # the vector stands there, not [CLS]'s embedding
        assert (by_text[own] > 0).equal(expected)
        assert not by_text[own.stop :].any()
        assert not by_text[row]
        assert 0 < expected.sum() < own.stop - 2


@pytest.mark.parametrize("recipe", ENHANCED)
@torch.no_grad()
def test_another_own_token_leaves_every_bit_of_its_prediction(recipe: str) -> None:
    config = small_config(recipe)
    objective, views = objective_of(config), views_of(config, sample())
    for row in labelled_rows(views, 0)[::4]:
        alone = one_label(views, row)
        before = objective(alone)[DECODING][0]
        kept = alone["decoder"].tokens.clone()
        alone["decoder"].tokens[row] = FIRST_WORD - 1
        assert objective(alone)[DECODING][0].equal(before)
        alone["decoder"].tokens[:] = FIRST_WORD - 1
        assert not objective(alone)[DECODING][0].equal(before)
        alone["decoder"].tokens[:] = kept


@pytest.mark.parametrize("recipe", WEAK)
def test_a_weak_decoder_reads_its_window_and_the_vector(recipe: str) -> None:
    config = small_config(recipe)
    objective, views = objective_of(config), views_of(config, sample())
    decoder = config.objective["decoder"]
    reach = decoder["layers"] * (decoder["window"] - 1)  # rows before the one that predicts, over all layers
    for row in labelled_rows(views, 0)[::4]:
        _, by_text = row_gradients(objective, objective.model.embedding, one_label(views, row), DECODING)[:2]
        seen = torch.nonzero(by_text).flatten().tolist()
        assert seen == list(range(max(1, row - 1 - reach), row))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_parameter_is_trained_and_every_term_reaches_the_encoder(recipe: str) -> None:
    config = small_config(recipe)
    objective, views = objective_of(config), views_of(config, sample())
    assert not untouched_parameters(objective, views)
    for term in objective(views):
        missed = untouched_parameters(objective, views, term)
        assert all(name.startswith("decoder.") for name in missed), (term, missed)
        assert bool(missed) == (term != DECODING)


def test_a_masked_decoder_reads_all_of_its_text_as_the_masks_left_it() -> None:
    half = "{select: {kind: exactly_k, rate: 0.5}, replace: {kind: token_by_token, mask: 1.0, random: 0.0}}"
    config = small_config("retromae", f"corruption.second_draw={half}", "objective.decoder={kind: masked}")
    objective, views = objective_of(config), views_of(config, sample())
    view = views["decoder"]
    own, rows = view.sequence(0), labelled_rows(views, 0)
    assert (view.tokens[rows] == SPECIAL_TOKENS.mask).all()
    _, by_text = row_gradients(objective, objective.model.embedding, one_label(views, rows[3]), DECODING)[:2]
    assert torch.nonzero(by_text).flatten().tolist() == list(range(own.start + 1, own.stop))


def test_the_bag_of_words_asks_every_ordinary_state_for_the_original_tokens() -> None:
    config = small_config("dupmae", "model.num_layers=1")
    objective, views = objective_of(config), views_of(config, sample())
    encoder = views["encoder"]
    before = objective(views)["bag_of_words"][0]
    hidden = torch.nonzero(encoder.labels != IGNORED_LABEL).flatten()
    encoder.labels[hidden[0]] = FIRST_WORD - 1
    assert not objective(views)["bag_of_words"][0].equal(before)
    assert objective.counts(views)["bag_of_words"] == 2
