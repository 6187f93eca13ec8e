"""MPNet's two streams, row by row from the paper: what each prediction sees, and that it never sees itself."""

import dataclasses

import pytest
import torch

from pipeline.batch import IGNORED_LABEL
from pipeline.model.two_streams import two_streams
from tests.recipes.flow.tracing import objective_of, small_config, untouched_parameters, views_of
from tests.recipes.test_golden import FIRST_WORD, sample

RATE = "corruption.select.rate=0.3"


def test_each_prediction_sees_the_shown_tokens_those_told_before_it_and_the_masks_from_its_own_on() -> None:
    view = views_of(small_config("mpnet", RATE), sample())["encoder"]
    streams = two_streams(view)
    bounds = streams.view.cu_seqlens.tolist()
    for n in range(view.num_sequences):
        own, rows = view.sequence(n), slice(bounds[n], bounds[n + 1])
        length = own.stop - own.start
        hidden = int((view.labels[own] != IGNORED_LABEL).sum())
        shown = length - hidden
        assert rows.stop - rows.start == length + 2 * hidden
        seen = streams.pattern.visible(rows, rows)
        masks, content, queries = (range(start, start + hidden) for start in (shown, length, length + hidden))
        for row in [*range(shown), *masks]:
            assert seen[row].nonzero().flatten().tolist() == [*range(shown), *masks]
        for place in range(hidden):
            told, to_come = content[:place], masks[place:]
            assert seen[queries[place]].nonzero().flatten().tolist() == [*range(shown), *to_come, *told]
            assert seen[content[place]].nonzero().flatten().tolist() == [
                *range(shown), *masks[place + 1 :], *told, content[place],
            ]  # fmt: skip


def test_content_rows_hold_the_originals_and_query_rows_what_stands_there_at_the_same_places() -> None:
    view = views_of(small_config("mpnet", RATE), sample())["encoder"]
    streams, labelled = two_streams(view), view.labels != IGNORED_LABEL
    made = streams.view
    hidden = torch.bincount(torch.bucketize(labelled.nonzero().flatten(), view.cu_seqlens[1:], right=True))
    content = streams.query_rows - torch.repeat_interleave(hidden, hidden)
    assert made.tokens[content].tolist() == view.labels[labelled].tolist()
    assert made.tokens[streams.query_rows].tolist() == view.tokens[labelled].tolist()
    assert made.positions[content].tolist() == made.positions[streams.query_rows].tolist()
    assert len(set(zip(made.sample_positions.tolist(), made.sample_rows.tolist(), strict=True))) == len(made.tokens)


def test_a_prediction_depends_on_no_token_that_comes_after_it_and_not_on_its_own() -> None:
    config = small_config("mpnet", RATE)
    objective, view = objective_of(config), views_of(config, sample())["encoder"]
    rows = (view.labels != IGNORED_LABEL).nonzero().flatten().tolist()
    first = [row for row in rows if row < view.sequence(0).stop]
    assert len(first) >= 3
    changed = view.labels.clone()
    changed[first[1]] = FIRST_WORD - 1  # another original in the middle of the order

    def states(labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return objective.label_states({"encoder": dataclasses.replace(view, labels=labels)})[0]

    before, after = states(view.labels), states(changed)
    same = [bool(torch.equal(one, other)) for one, other in zip(before, after, strict=True)]
    assert same[:2] == [True, True]  # told before it, and itself
    assert not any(same[2 : len(first)])
    assert all(same[len(first) :])  # the other document


@pytest.mark.parametrize("overrides", [(), ("model={architecture: bert, positions: {kind: learned}}",)])
def test_every_parameter_is_trained(overrides: tuple[str, ...]) -> None:
    config = small_config("mpnet", *overrides)
    assert not untouched_parameters(objective_of(config), views_of(config, sample()))
