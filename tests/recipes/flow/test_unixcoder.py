"""UniXcoder: an [Enc] row sees its whole text, a [Dec] row what stands before it, an [E2D] row the text and that."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.tokenizer.special import SpecialTokens
from pipeline.batch import IGNORED_LABEL, Views
from pipeline.corruption.corruption import Corruption
from pipeline.objectives import build_objective
from pipeline.training.assembly import open_data
from tests.recipes.flow.tracing import influences, loss_at, with_row_token
from tests.recipes.small import WINDOW, small

ENC, DEC, E2D = SpecialTokens().spares[3:6]
OTHER_TOKEN = 777


@pytest.fixture(scope="module")
def objective_and_views(dataset: Path) -> tuple[Any, Views]:
    """A new small objective, and twelve windows: of every mode some."""
    config = small("unixcoder", dataset, "training.micro_batch=12", "training.global_batch=12")
    data = open_data(config)
    objective: Any = build_objective(config.objective, config.model, data.tokenizer.vocab_size, seed=0)
    return objective.eval(), data.micro_batches[0].to("cpu").views


def row_amid(views: Views, mode: int, token_type: int) -> tuple[slice, int]:
    """A sequence of this mode between others, and a row of this type with a label that has such rows on both sides."""
    view = views["encoder"]
    for n in range(1, view.num_sequences - 1):
        rows = view.sequence(n)
        of_type = (view.token_types[rows] == token_type) & (view.labels[rows] != IGNORED_LABEL)
        places = torch.nonzero(of_type).squeeze(1)
        if int(view.tokens[rows.start]) == mode and len(places) >= 3:
            return rows, rows.start + int(places[len(places) // 2])
    raise AssertionError("the windows hold a sequence of this mode")


@pytest.mark.parametrize(("mode", "token_type"), [(ENC, 0), (DEC, 1), (E2D, 1)])
def test_a_row_sees_what_its_mode_shows_it_and_nothing_else(
    objective_and_views: tuple[Any, Views], mode: int, token_type: int
) -> None:
    objective, views = objective_and_views
    rows, row = row_amid(views, mode, token_type)
    (seen,) = influences(objective, views, "encoder", row)
    expected = torch.zeros_like(seen)
    expected[rows.start : rows.stop if mode == ENC else row + 1] = True
    assert torch.equal(seen, expected)

    with torch.no_grad():
        loss = loss_at(objective, views, "encoder", row)
        for place in (rows.start + 1, row):
            assert loss_at(objective, with_row_token(views, "encoder", place, OTHER_TOKEN), "encoder", row) != loss
        unseen = [rows.start - 1, rows.stop] + ([row + 1] if mode != ENC else [])
        for place in unseen:
            assert loss_at(objective, with_row_token(views, "encoder", place, OTHER_TOKEN), "encoder", row) == loss


@torch.no_grad()
def test_the_text_of_an_encoder_decoder_sequence_is_read_without_its_targets(
    objective_and_views: tuple[Any, Views],
) -> None:
    objective, views = objective_and_views
    rows, row = row_amid(views, E2D, 1)
    text = rows.start + torch.nonzero(views["encoder"].token_types[rows] == 0).squeeze(1)
    before = objective._states(views)
    after = objective._states(with_row_token(views, "encoder", row, OTHER_TOKEN))
    assert len(text) > 3
    assert torch.equal(before[text], after[text])
    assert not torch.equal(before[row], after[row])
    moved = objective._states(with_row_token(views, "encoder", int(text[-1]), OTHER_TOKEN))
    assert (moved[text] != before[text]).any(-1).all()  # the text is read both ways


def test_labels_are_counted_and_summed_by_mode_and_a_batch_without_one_mode_gives_zero(
    objective_and_views: tuple[Any, Views],
) -> None:
    objective, views = objective_and_views
    terms = objective(views)
    assert {term: count for term, (_, count) in terms.items()} == objective.counts(views)
    assert all(count > 0 for _, count in terms.values())
    view = views["encoder"]
    only_targets = torch.where(view.token_types == 1, view.labels, IGNORED_LABEL)
    terms = objective({"encoder": dataclasses.replace(view, labels=only_targets)})
    assert terms["masked_lm"][1] == 0
    assert terms["masked_lm"][0].item() == 0.0
    terms["masked_lm"][0].backward()
    objective.zero_grad()


def test_identifiers_and_comments_are_cut_out_whole(dataset: Path) -> None:
    config = small("unixcoder", dataset)
    data = open_data(config)
    part = config.corruption.mixture[3]
    special = data.tokenizer.special
    maker = Corruption(part.corruption, special, data.tokenizer.vocab_size, WINDOW, config.stream.max_pieces, seed=0)
    samples = [data.stream.sample(position) for position in range(20)]
    decoder = maker.apply(samples).views["decoder"]
    written: list[list[int]] = []
    for token in decoder.labels[: decoder.num_rows].tolist():
        if token in special.sentinels:
            written.append([])
        elif token != special.eos:
            written[-1].append(token)
    cut = {
        tuple(tokens.tolist())
        for sample in samples
        for tokens in _spans(sample.tokens, sample.columns["spans"], sample.piece_offsets)
    }
    assert len(written) > 40
    assert all(tuple(span) in cut for span in written)


def _spans(tokens: Any, marks: Any, piece_offsets: Any) -> list[Any]:
    """The spans of a window, cut where its pieces end: 1 begins a span, 0 continues it, 2 is outside."""
    edges = {*piece_offsets.tolist()}
    spans, start = [], None
    for place in range(len(tokens) + 1):
        ends = place == len(tokens) or marks[place] != 0 or place in edges
        if ends:
            if start is not None:
                spans.append(tokens[start:place])
            start = None if place == len(tokens) or marks[place] == 2 else place
    return spans
