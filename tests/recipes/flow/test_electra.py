"""Replaced tokens: what is counted as one, that no gradient passes a sample, and what each loss trains."""

import dataclasses

import pytest
import torch

from pipeline.batch import IGNORED_LABEL
from pipeline.kernels.philox import random_bits
from pipeline.model.generator import Sampler
from pipeline.model.streams import key_streams
from pipeline.objectives.token_detection import replaced_rows
from tests.recipes.flow.tracing import objective_of, row_gradients, small_config, untouched_parameters, views_of
from tests.recipes.test_golden import SPECIAL_TOKENS, sample

RATE = "corruption.select.rate=0.3"


def test_the_generators_loss_trains_the_generator_and_the_shared_embeddings_alone() -> None:
    config = small_config("electra", RATE)
    objective, views = objective_of(config), views_of(config, sample())
    trained = {name for name, _ in objective.named_parameters()} - untouched_parameters(objective, views, "generator")
    assert {name for name in trained if name.startswith("model.")} == {
        "model.embedding.weight", "model.token_types.weight", "model.encoder.positions.table.weight",
        "model.encoder.embedding_norm.weight", "model.encoder.embedding_norm.bias",
    }  # fmt: skip
    assert not any(name.startswith("generator.") for name in untouched_parameters(objective, views, "generator"))


def test_no_gradient_of_the_encoders_loss_reaches_the_generator_or_the_masked_text() -> None:
    config = small_config("electra", RATE)
    objective, views = objective_of(config), views_of(config, sample())
    untouched = untouched_parameters(objective, views, "token_detection")
    names = {name for name, _ in objective.named_parameters()}
    assert untouched == {name for name in names if name.startswith("generator.")}
    masked, filled = row_gradients(objective, objective.model.embedding, views, "token_detection")
    assert not masked.any()
    assert (filled[: views["encoder"].num_rows] > 0).all()


def test_the_encoder_never_reads_a_mask_and_the_generator_reads_nothing_that_was_hidden() -> None:
    config = small_config("electra", RATE)
    objective, views = objective_of(config), views_of(config, sample())
    read: list[torch.Tensor] = []
    objective.model.embedding.register_forward_hook(lambda module, inputs, output: read.append(inputs[0]))
    objective(views)
    masked, filled = read
    labels = views["encoder"].labels
    assert (masked[labels != IGNORED_LABEL] == SPECIAL_TOKENS.mask).all()
    assert torch.equal(masked[labels == IGNORED_LABEL], filled[labels == IGNORED_LABEL])
    assert not (filled[: views["encoder"].num_rows] == SPECIAL_TOKENS.mask).all()


@pytest.mark.parametrize("recipe", ["rts", "c_rts", "electra"])
def test_a_row_sees_all_of_its_document_and_nothing_of_another(recipe: str) -> None:
    config = small_config(recipe, RATE)
    objective, view = objective_of(config), views_of(config, sample())["encoder"]
    states: list[torch.Tensor] = []
    objective.model.head.register_forward_hook(lambda module, inputs, output: states.append(inputs[0]))
    given: list[torch.Tensor] = []

    def keep(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        given.append(output.detach().requires_grad_())
        return given[-1]

    objective.model.embedding.register_forward_hook(keep)
    objective({"encoder": view})
    first = view.sequence(0)
    for row in (first.start, first.stop - 1):
        seen = torch.autograd.grad(states[0][row].square().sum(), given[-1], retain_graph=True)[0].norm(dim=-1)
        assert (seen[first] > 0).all()
        assert not seen[first.stop :].any()


def test_every_parameter_is_trained_by_rts() -> None:
    config = small_config("rts", RATE)
    assert not untouched_parameters(objective_of(config), views_of(config, sample()))


def test_a_sample_that_is_the_original_replaced_nothing() -> None:
    view = views_of(small_config("rts", RATE), sample())["encoder"]
    assert view.labels is not None
    replaced = replaced_rows(view)
    assert 0 < replaced.sum() <= view.num_labels
    restored = dataclasses.replace(view, tokens=torch.where(view.labels != IGNORED_LABEL, view.labels, view.tokens))
    assert not replaced_rows(restored).any()


def test_samples_follow_the_distribution_and_depend_on_the_row_alone() -> None:
    view = views_of(small_config("electra"), sample())["encoder"]
    rows = torch.arange(view.num_rows)
    many = dataclasses.replace(
        view, sample_rows=torch.arange(20_000), sample_positions=torch.full((20_000,), 3), tokens=torch.zeros(20_000)
    )
    sampler = Sampler()
    key_streams(sampler, seed=5)
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    drawn = sampler(shares.log().expand(20_000, 5), many, torch.arange(20_000)).long()
    counts = torch.bincount(drawn, minlength=5) / 20_000
    assert (counts - shares).abs().max() < 0.012  # three and a half standard deviations of a share of 0.5
    assert counts[-1] == 0
    again = sampler(shares.log().expand(2, 5), many, torch.tensor([7, 19_999]))
    assert again.tolist() == drawn[[7, 19_999]].tolist()
    assert random_bits(sampler.key, view.sample_positions[rows], view.sample_rows[rows], 1).unique().numel() == len(
        rows
    )
