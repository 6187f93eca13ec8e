"""MAE-LM, 3ML: hidden tokens and masks never enter the encoder; the late layers see masks in their places."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.batch import IGNORED_LABEL
from tests.recipes.flow.tracing import (
    objective_of,
    row_gradients,
    small_config,
    untouched_parameters,
    views_of,
    with_labels_only,
    with_token,
)
from tests.recipes.test_golden import FIRST_WORD, SPECIAL_TOKENS, sample

RECIPES = ("mae_lm", "3ml")
HALF = "corruption.select.rate=0.5"


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_encoder_gets_what_is_not_hidden_at_its_places_and_no_mask(recipe: str) -> None:
    views, text = views_of(small_config(recipe, HALF), sample()), sample().tokens
    encoder, decoder = views["encoder"], views["decoder"]
    hidden = decoder.labels[: decoder.num_rows] != IGNORED_LABEL
    ends = np.isin(decoder.tokens[: decoder.num_rows].numpy(), [SPECIAL_TOKENS.cls, SPECIAL_TOKENS.sep])
    assert not hidden.numpy()[ends].any(), "[CLS] and [SEP] are always visible"
    whole = decoder.tokens[: decoder.num_rows].numpy().copy()
    whole[~ends] = text
    assert encoder.tokens[: encoder.num_rows].tolist() == whole[~hidden.numpy()].tolist()
    assert encoder.positions[: encoder.num_rows].equal(decoder.positions[: decoder.num_rows][~hidden])
    assert SPECIAL_TOKENS.mask not in encoder.tokens
    assert (decoder.tokens[: decoder.num_rows][hidden] == SPECIAL_TOKENS.mask).all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_another_hidden_token_changes_a_label_and_nothing_else(recipe: str) -> None:
    config = small_config(recipe, HALF)
    before = views_of(config, sample())
    first = before["decoder"].sequence(0)
    for place in torch.nonzero(before["decoder"].labels[first] != IGNORED_LABEL).squeeze(1).tolist():
        after = views_of(config, with_token(sample(), place - 1, FIRST_WORD - 1))  # [CLS] stands before the text
        assert after["encoder"].tokens.equal(before["encoder"].tokens)
        assert after["decoder"].tokens.equal(before["decoder"].tokens)
        assert np.flatnonzero(after["decoder"].labels != before["decoder"].labels).tolist() == [place]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_prediction_reads_visible_tokens_by_the_encoder_and_masks_by_the_late_layers(recipe: str) -> None:
    config = small_config(recipe, HALF)
    objective, views = objective_of(config), views_of(config, sample())
    whole, seen = views["decoder"], views["encoder"].sequence(0)
    hidden = whole.labels != IGNORED_LABEL
    own = whole.sequence(0)
    for row in torch.nonzero(hidden[own]).squeeze(1).tolist():
        alone = {**views, "decoder": with_labels_only(whole, [row])}
        by_encoder, by_mask = row_gradients(objective, objective.model.embedding, alone)
        assert (by_encoder[seen] > 0).all()
        assert not by_encoder[seen.stop :].any()
        assert (by_mask[own] > 0).equal(hidden[own])
        assert not by_mask[own.stop :].any()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_parameter_is_trained_but_the_unused_token_types(recipe: str) -> None:
    config = small_config(recipe)
    assert not untouched_parameters(objective_of(config), views_of(config, sample()))


def test_3ml_does_two_thirds_of_berts_work_in_its_layers() -> None:
    """12 layers on half of the rows and 2 on all, beside 12 on all (counted at width 64; heads left out)."""

    def work(recipe: str, *overrides: str) -> int:
        config = small_config(recipe, "model.num_layers=12", *overrides)
        objective, views = objective_of(config), views_of(config, sample())
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            objective.label_states(views)
        return counter.get_total_flops()

    share = work("3ml") / work("bert")
    corruption = small_config("3ml").corruption
    rows = corruption.max_rows(32, 4)
    assert share == pytest.approx((12 * rows["encoder"] / rows["decoder"] + 2) / 12)
    rows = corruption.max_rows(510, 1)  # the recipe's own window, of one document
    assert 0.66 < (12 * rows["encoder"] / rows["decoder"] + 2) / 12 < 0.68
