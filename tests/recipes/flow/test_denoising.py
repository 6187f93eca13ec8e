"""Encoder-decoders that denoise: a decoder row sees its document's encoder rows, all of them, and no later target."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.batch import Views
from pipeline.objectives import build_objective
from pipeline.training.assembly import open_data
from tests.recipes.flow.tracing import influences, loss_at, with_row_token
from tests.recipes.small import small

RECIPES = ("t5_span", "bart", "prefix_lm", "ul2")
OTHER_TOKEN = 777


def objective_and_views(recipe: str, dataset: Path) -> tuple[Any, Views]:
    """A new small objective, and six windows."""
    config = small(recipe, dataset, "training.micro_batch=6", "training.global_batch=6")
    data = open_data(config)
    objective: Any = build_objective(config.objective, config.model, data.tokenizer.vocab_size, seed=0)
    return objective.eval(), data.micro_batches[0].to("cpu").views


def middle_row(views: Views) -> tuple[int, int]:
    """A sequence with neighbours on both sides, and a row amid its targets."""
    decoder = views["decoder"]
    lengths = decoder.cu_seqlens.diff()[1 : decoder.num_sequences - 1]
    n = 1 + int(lengths.argmax())
    assert lengths.max() >= 3, "a sequence with a row before it and a row after it"
    return n, int(decoder.cu_seqlens[n]) + int(lengths.max()) // 2


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_target_depends_on_its_documents_source_and_the_targets_before_it_and_on_nothing_else(
    recipe: str, dataset: Path
) -> None:
    objective, views = objective_and_views(recipe, dataset)
    encoder, decoder = views["encoder"], views["decoder"]
    n, row = middle_row(views)
    by_encoder, by_decoder = influences(objective, views, "decoder", row)

    expected = torch.zeros_like(by_encoder)
    expected[encoder.sequence(n)] = True
    assert torch.equal(by_encoder, expected)
    expected = torch.zeros_like(by_decoder)
    expected[decoder.sequence(n).start : row + 1] = True
    assert torch.equal(by_decoder, expected)


@pytest.mark.parametrize("recipe", RECIPES)
@torch.no_grad()
def test_another_token_changes_the_loss_exactly_where_it_may(recipe: str, dataset: Path) -> None:
    objective, views = objective_and_views(recipe, dataset)
    n, row = middle_row(views)
    loss = loss_at(objective, views, "decoder", row)

    def changes(view: str, place: int) -> bool:
        return not torch.equal(
            loss, loss_at(objective, with_row_token(views, view, place, OTHER_TOKEN), "decoder", row)
        )

    source, targets = views["encoder"].sequence(n), views["decoder"].sequence(n)
    may = [("encoder", source.start), ("encoder", source.stop - 1), ("decoder", targets.start), ("decoder", row)]
    assert [changes(*place) for place in may] == [True] * len(may)
    may_not = [
        ("encoder", source.start - 1),
        ("encoder", source.stop),
        ("decoder", targets.start - 1),
        ("decoder", row + 1),
    ]
    assert [changes(*place) for place in may_not] == [False] * len(may_not)
