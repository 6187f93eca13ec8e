import pytest
import torch

from pipeline.batch import IGNORED_LABEL, Views
from pipeline.model.config import ModelConfig
from pipeline.objectives import build_objective
from pipeline.objectives.denoising import Objective

VOCAB = 128
CONFIG = ModelConfig(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=2)


def build(**changes: object) -> Objective:
    objective = build_objective({"kind": "denoising"}, CONFIG.model_copy(update=changes), VOCAB, seed=1)
    assert isinstance(objective, Objective)
    return objective


def split(views: Views, encoder_stop: int, decoder_stop: int, view) -> list[Views]:
    """The first sequence alone, and the second alone."""

    def part(name: str, rows: slice) -> dict:
        whole = views[name]
        labels = None if whole.labels is None else [whole.labels[rows].tolist()]
        return view([whole.tokens[rows].tolist()], labels=labels)

    encoder_end, decoder_end = views["encoder"].num_rows, views["decoder"].num_rows
    return [
        {"encoder": part("encoder", slice(0, encoder_stop)), "decoder": part("decoder", slice(0, decoder_stop))},
        {
            "encoder": part("encoder", slice(encoder_stop, encoder_end)),
            "decoder": part("decoder", slice(decoder_stop, decoder_end)),
        },
    ]


def test_the_loss_is_the_sum_over_labels_and_adds_up_over_documents(random_views, view) -> None:
    objective = build()
    views = random_views([20, 11], [7, 4], VOCAB, seed=0)
    (total, count) = objective(views)["denoising"]
    parts = [objective(one)["denoising"] for one in split(views, 20, 7, view)]
    assert (count, [part[1] for part in parts]) == (11, [7, 4])
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, parts[0][0] + parts[1][0], rtol=1e-6, atol=0)


def test_counts_come_from_the_data_and_match_the_forwards(random_views) -> None:
    objective = build()
    views = random_views([5, 0, 9], [3, 0, 6], VOCAB, seed=1)
    assert objective.counts(views) == {"denoising": 9} == {name: n for name, (_, n) in objective(views).items()}


def test_a_row_without_a_label_adds_nothing(random_views) -> None:
    objective = build()
    views = random_views([12], [6], VOCAB, seed=2)
    labels = views["decoder"].labels
    assert labels is not None
    whole = objective(views)["denoising"][0]
    labels[5] = IGNORED_LABEL  # the last labelled row: no later row reads it
    shorter, count = objective(views)["denoising"]
    assert count == 5
    assert shorter < whole


def test_an_untrained_model_is_about_as_good_as_guessing(random_views) -> None:
    views = random_views([60] * 4, [20] * 4, VOCAB, seed=3)
    total, count = build()(views)["denoising"]
    guess = torch.log(torch.tensor(float(VOCAB)))
    assert guess - 0.5 < total / count < guess + 1.5


@pytest.mark.parametrize("tie", [True, False])
def test_every_parameter_gets_a_gradient(tie: bool, random_views) -> None:
    objective = build(tie_word_embeddings=tie)
    objective(random_views([30, 8], [9, 5], VOCAB, seed=4))["denoising"][0].backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_predictions_stand_where_labels_do_and_are_the_models_best(random_views) -> None:
    objective = build()
    views = random_views([14], [6], VOCAB, seed=5)
    labels = views["decoder"].labels
    assert labels is not None
    labels[2] = IGNORED_LABEL
    predicted = objective.predict(views)
    assert (predicted == IGNORED_LABEL).tolist() == (labels == IGNORED_LABEL).tolist()
    labels.copy_(predicted)
    best = objective(views)["denoising"][0]
    labels[0] = (labels[0] + 1) % VOCAB
    assert best < objective(views)["denoising"][0]


def test_it_learns_a_copying_task_in_a_few_steps(random_views) -> None:
    objective = build()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    views = random_views([10, 6], [8, 4], VOCAB, seed=6)
    losses = []
    for _ in range(30):
        total, count = objective(views)["denoising"]
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
        losses.append(total.item() / count)
    assert losses[-1] < 0.1 * losses[0]


def test_bf16_weights_train_with_a_float32_loss(random_views) -> None:
    objective = build().bfloat16()
    total, _ = objective(random_views([40], [12], VOCAB, seed=7))["denoising"]
    total.backward()
    assert total.dtype == torch.float32
    full = build()(random_views([40], [12], VOCAB, seed=7))["denoising"][0]
    assert abs(total.item() / full.item() - 1) < 0.02  # bf16 has 8 bits of mantissa
